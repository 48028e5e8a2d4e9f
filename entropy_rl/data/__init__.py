"""Where problems come from: rows of files, frozen datasets, and the order in which a run meets them."""
