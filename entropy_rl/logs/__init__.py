"""Readers of training logs: this project's and other trainers'."""
