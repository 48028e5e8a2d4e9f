"""Rewards from the confidence of answers (RLSF), CoT-decoding, calibration."""
