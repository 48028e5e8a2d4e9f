"""Whether a free-form answer is right: what a response commits to, exact values, and sympy behind hard limits."""
