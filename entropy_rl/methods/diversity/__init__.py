"""Rewards for diverse responses (DARLING)."""
