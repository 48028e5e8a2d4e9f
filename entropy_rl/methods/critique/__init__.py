"""Critiques: words about an attempt (a critic gives a number: models/, losses/value.py)."""
