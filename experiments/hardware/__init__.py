"""Chips, compiled programs and benchmarks."""
