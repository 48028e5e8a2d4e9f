"""Policy losses and their aggregation: arrays in, arrays out."""
