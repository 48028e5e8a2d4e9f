"""One decoder-only Transformer, and presets of it."""
