"""The parts of an RL run, made from its config."""
