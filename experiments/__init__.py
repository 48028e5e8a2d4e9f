"""Scripts: one verb per file, each with run(config, workdir)."""

import sys

if sys.argv[:1] == ["-m"]:
    # Started as `python -m experiments.<verb>`, and nothing has imported jax yet: memory settings that come after it
    # reach only part of its threads, and an update then takes a fifth more CPU-seconds.
    from experiments.lib.process import setup_process

    setup_process()
