"""Sampling: warp logits, decode over slots, drive requests through them."""
