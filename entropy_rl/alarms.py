"""Alarms on the policy's entropy: they say what they saw, once each, and leave the run alone."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass
class EntropyAlarm:
    """Watches the law's H (`policy/entropy_sequence`) against its value at the first step.

    Attributes:
      collapse: share of the first value below which the entropy counts as collapsed.
      explosion: multiple of the first value above which it counts as exploded.
      first: the first value, nats; None before any.
      raised: names of alarms that went off already.
    """

    collapse: float
    explosion: float
    first: float | None = None
    raised: list[str] = dataclasses.field(default_factory=list)

    def observe(self, step: int, entropy: float, reward: float) -> str | None:
        """A message the first time a bound is passed, else None."""
        if self.first is None:
            self.first = entropy
        share = entropy / self.first if self.first else float("inf") if entropy else 1.0
        kind = "collapse" if share < self.collapse else "explosion" if share > self.explosion else None
        if kind is None or kind in self.raised:
            return None
        self.raised.append(kind)
        return (
            f"entropy {kind} at step {step}: {entropy:.4g} nats a token, {share:.0%} of the {self.first:.4g} at the "
            f"start; reward {reward:.3g}"
        )
