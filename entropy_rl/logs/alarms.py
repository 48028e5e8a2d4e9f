"""Alarms on a run, each with its evidence, the knobs that bear on it, and what they cost.

Thresholds are on what the run still does, not on a level of entropy: entropy that falls while reward rises is what
the law speaks of, and no alarm. Changes are over the last third of the steps, slope times span, with 95 % intervals
from the block bootstrap of `laws.bootstrap`, which knows that neighbouring points are correlated. Costs are those of
our own table of controls (docs/results/controls.md: one small model, one task, 400 steps, paired by seed and problem).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropy_rl.laws import bootstrap
from entropy_rl.logs.points import Points
from entropy_rl.logs.records import Record

LEAST = 8  # points in the last third for a statement about it
LEVEL, DRAWS = 0.95, 400
MOST = 300  # stretches
SPENT = 0.15  # of the entropy at the start: below it a collapse may be meant
RISEN = 1.5  # times the least entropy so far, and by RISEN_NATS: an explosion
RISEN_NATS = 0.1
STILL = 0.1  # of the gain of the run: a rise above it over the last third is no plateau
CLIPPED, CUT_OFF, NO_VARIANCE, GAP = 0.2, 0.25, 0.8, 0.05  # shares, and nats a token
NEAR_LIMIT = 0.9  # of the longest response: mean lengths above it are against the limit

# Alarm -> the knobs for it and what they cost.
KNOBS = {
    "collapse": "what holds entropy: clip_cov (pass@16 +.081, pass@1 -.051), entropy_target (+.062, -.022), "
    "entropy_adaptive (+.060, -.018); grpo_slow, two thirds of the learning rate (+.055, +.034); clip_higher, kl_cov "
    "and an entropy bonus ended where GRPO does",
    "explosion": "a lower entropy coefficient or target, a lower upper clip bound (clip_higher), a lower learning rate "
    "(two thirds: pass@1 +.034); where the sampler is not the learner, importance_cap",
    "plateau": "dynamic sampling (dapo: pass@1 +.091 for two to three times the rollouts), harder problems, a lower "
    "learning rate (+.034); or stop here",
    "overfit": "stop at the best evaluation; more problems; kl_reference (pass@16 +.038, pass@1 unchanged), a lower "
    "learning rate (+.034)",
    "clipping": "fewer updates on a rollout, a lower learning rate (pass@1 +.034); wider bounds (clip_higher) changed "
    "neither pass@1 nor pass@16",
    "length": "a higher limit (costs rollout time in proportion), masking or penalising what is cut off",
    "zero_variance": "dynamic sampling (dapo: pass@1 +.091 for two to three times the rollouts), problems nearer to "
    "what is solved half of the time, more responses a prompt",
    "sampler_gap": "importance_cap=2 (a forward pass more), the same number format and kernels in sampler and learner, "
    "fewer updates on a rollout",
    "spent": "a new run with another control or model: what is left is less than was asked for",
}


@dataclasses.dataclass(frozen=True)
class Alarm:
    """`name` (a key of KNOBS), the step where it is seen, a sentence of evidence, the knobs and their cost."""

    name: str
    step: float
    evidence: str
    knobs: str


def find(points: Points, law: Mapping[str, Any], *, stop_left: float | None = None, seed: int = 0) -> list[Alarm]:
    """The alarms of a run as it stands.

    Args:
      points: of the run.
      law: its row of law.json (`analyse.analyse`): what is left is taken from it.
      stop_left: raise "spent" where by exp and by a line no more reward than this is left, in units of R.
    """
    rng = np.random.default_rng(seed)
    now = float(max(points.step[-1], points.entropy_step[-1]))
    R = _late(points.step, points.R)
    rise = _change(*R, rng) if R else None
    found = {
        "collapse": _collapse(points, rise),
        "explosion": _explosion(points, rise, rng),
        "plateau": _plateau(points, rise, law),
        "overfit": _overfit(points, rise, rng),
        "clipping": _share(points, "clip fraction", CLIPPED, "of tokens are clipped"),
        "length": _length(points),
        "zero_variance": _share(points, "zero-variance share", NO_VARIANCE, "of groups have equal rewards"),
        "sampler_gap": _gap(points),
        "spent": _spent(law, stop_left),
    }
    return [Alarm(name, now, text, KNOBS[name]) for name, text in found.items() if text]


def _late(step: NDArray, value: NDArray) -> tuple[NDArray, NDArray] | None:
    """The last third of the steps, if it has enough points."""
    late = step >= step[0] + (step[-1] - step[0]) * 2 / 3
    return (step[late], value[late]) if late.sum() >= LEAST else None


def _change(step: NDArray, value: NDArray, rng: np.random.Generator) -> tuple[float, float]:
    """Interval of the change over a window, slope times span; of long ones means of at most MOST stretches count."""
    if len(value) > MOST:
        places = np.arange(0, len(value), -(-len(value) // MOST))
        sizes = np.diff(np.append(places, len(value)))
        step, value = np.add.reduceat(step, places) / sizes, np.add.reduceat(value, places) / sizes
    if np.ptp(value) == 0:
        return 0.0, 0.0
    X = np.stack([(step - step.mean()) / np.ptp(step), np.ones_like(value)], 1)
    low, high = bootstrap.resample(X, value, np.eye(2)[:1], rng, level=LEVEL, draws=DRAWS).interval()
    return float(low[0]), float(high[0])


def _ends(value: NDArray) -> tuple[float, float]:
    """Medians of the first and of the last tenth, at least three values of each."""
    k = max(3, len(value) // 10)
    return float(np.median(value[:k])), float(np.median(value[-k:]))


def _moved(rise: tuple[float, float] | None) -> str:
    if rise is None:
        return "too few scores to say what reward does"
    return f"reward moved by {rise[0]:+.3g} to {rise[1]:+.3g} over the last third of the run"


def _collapse(points: Points, rise: tuple[float, float] | None) -> str | None:
    first, last = _ends(points.entropy_H)
    if last > SPENT * first or rise is None or rise[0] > 0:
        return None
    return f"entropy fell from {first:.3g} to {last:.3g} nats ({last / first:.0%} is left), and {_moved(rise)}"


def _explosion(points: Points, rise: tuple[float, float] | None, rng: np.random.Generator) -> str | None:
    H = points.entropy_H
    k = min(max(3, len(H) // 20), len(H))
    total = np.cumsum(np.append(0.0, H))
    smooth = (total[k:] - total[:-k]) / k
    least, last = float(smooth.min()), float(smooth[-1])
    late = _late(points.entropy_step, H)
    if last < RISEN * least or last < least + RISEN_NATS or late is None or (rise is not None and rise[0] > 0):
        return None
    if _change(*late, rng)[0] <= 0:
        return None
    seen = [role for role in ("truncated share", "clip fraction", "length") if role in points.signals]
    beside = "".join(f"; {role} {_recent(points, role):.2g}" for role in seen)
    return f"entropy rose from {least:.3g} to {last:.3g} nats and goes on, and {_moved(rise)}{beside}"


def _plateau(points: Points, rise: tuple[float, float] | None, law: Mapping[str, Any]) -> str | None:
    first, last = _ends(points.R)
    gain = abs(last - first)
    if rise is None or rise[1] > STILL * gain or rise[0] < -STILL * gain or gain == 0:
        return None
    left = law.get("headroom")
    by = f"; by exp {left['left']:.3g} [{left['interval'][0]:.3g}, {left['interval'][1]:.3g}] is left" if left else ""
    return f"{_moved(rise)}, of {gain:.3g} gained in all{by}"


def _overfit(points: Points, rise: tuple[float, float] | None, rng: np.random.Generator) -> str | None:
    if not points.held_out or "training" not in points.signals or rise is None or rise[1] >= 0:
        return None
    name, record = points.signals["training"]
    late = _late(record.step, record.value)
    if late is None:
        return None
    low, high = _change(*late, rng)
    if low <= 0:
        return None
    rose = f"{name} rose by {low:.3g} to {high:.3g} over the last third"
    return f"{rose}, and {points.score} moved by {rise[0]:+.3g} to {rise[1]:+.3g}"


def _recent(points: Points, role: str) -> float:
    record: Record = points.signals[role][1]
    return float(record.value[-max(3, len(record.value) // 10) :].mean())


def _share(points: Points, role: str, most: float, what: str) -> str | None:
    if role not in points.signals or (share := _recent(points, role)) <= most:
        return None
    if role == "clip fraction" and share > 1:
        return None
    return f"{points.signals[role][0]}: {share:.0%} {what}, above {most:.0%}"


def _length(points: Points) -> str | None:
    if text := _share(points, "truncated share", CUT_OFF, "of responses are cut off"):
        return text
    if "length" not in points.signals or "longest" not in points.signals:
        return None
    mean, longest = _recent(points, "length"), float(points.signals["longest"][1].value.max())
    if mean < NEAR_LIMIT * longest:
        return None
    return f"{points.signals['length'][0]}: {mean:.4g} tokens on average, of {longest:.4g} at most"


def _gap(points: Points) -> str | None:
    if "sampler gap" not in points.signals:
        return None
    name, record = points.signals["sampler gap"]
    first, last = _ends(np.abs(record.value))
    if last <= GAP:
        return None
    return f"{name}: {last:.3g} between sampler and learner, above {GAP} nats a token (it began at {first:.3g})"


def _spent(law: Mapping[str, Any], stop_left: float | None) -> str | None:
    if stop_left is None or (left := remaining(law)) is None:
        return None
    if max(left["exp"][2], left["linear"][0]) > stop_left:
        return None
    return (
        f"reward left is {left['exp'][0]:.3g} [{left['exp'][1]:.3g}, {left['exp'][2]:.3g}] by exp and "
        f"{left['linear'][0]:.3g} by a line, {stop_left:g} was asked for"
    )


def remaining(law: Mapping[str, Any]) -> dict[str, tuple[float, ...]] | None:
    """Reward left: by exp (value, low, high), by a line (value,); None where no law is allowed."""
    if "headroom" not in law or any(sign["forbids"] for sign in law["signs"]):
        return None
    h, curves = law["headroom"], law["curves"]
    return {"exp": (h["left"], *h["interval"]), "linear": (curves["linear"]["a"] * h["H_now"],)}
