"""Workers of experiments/bench_peers.py, one a project."""
