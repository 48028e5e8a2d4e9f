"""What scripts share: launching, building from a config, evaluation, tables."""
