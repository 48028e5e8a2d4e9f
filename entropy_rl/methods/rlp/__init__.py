"""Reinforcement learning pretraining (RLP)."""
