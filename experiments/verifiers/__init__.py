"""Pairs, junk and peers that verifiers are checked with."""
