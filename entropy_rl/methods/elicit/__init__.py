"""Elicitation of hidden reasoning: steering vectors and sparse autoencoders."""
