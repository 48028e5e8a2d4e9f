"""Rollouts, objectives, optimiser, updates and checkpoints."""
