"""Scripts: one verb per file, each with run(config, workdir)."""
