"""Entropy of the policy: records of it, theory of its change, controllers of coefficients."""
