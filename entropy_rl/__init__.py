"""Entropy dynamics in RL for reasoning language models."""
