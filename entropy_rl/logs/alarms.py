"""Alarms on a run, each with its evidence, the knobs that bear on it, and what they cost.

Thresholds are on what the run still does, not on a level of entropy: entropy that falls while reward rises is what
the law speaks of, and no alarm. Changes are over the last third of the steps, or where this has too few points over the
last LEAST, slope times span, with 95 % intervals from the block bootstrap of `laws.bootstrap`, which knows that
neighbouring points are correlated. Where the reward in training says more precisely what reward does, it counts, unless
the score falls. Costs are those of our own table of controls (docs/results/controls.md: one small model, one task, 400
steps, paired by seed and problem).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from entropy_rl.laws import bootstrap
from entropy_rl.logs import columns
from entropy_rl.logs.points import Points
from entropy_rl.logs.records import Record

LEAST = 8  # points in the last third for a statement about it, or in a longer part
LONGEST = 0.6  # of the steps: such a part
EARNED = 0.25  # of what training gains: held-out gains that are surely less are missed
LEVEL, DRAWS = 0.95, 400
MOST = 300  # stretches
SPENT = 0.15  # of the entropy at the start: below it a collapse may be meant
RISEN = 1.5  # times the least entropy so far, and by RISEN_NATS: an explosion
RISEN_NATS = 0.1
STILL = 0.1  # of the gain of the run: a rise above it over the last third is no plateau
CLIPPED, CUT_OFF, GAP = 0.2, 0.25, 0.05  # shares, and nats a token
NO_VARIANCE = 2 / 3  # share of groups: each that has a gradient costs three
NEAR_LIMIT = 0.9  # of the longest response: mean lengths above it are against the limit
GROWN = 1.5  # times the length at the start
FAR = 0.5  # nats a token from the reference
SPIKE, SPIKES, STRETCHES = 10, 3, 20  # times the median of its twentieth of the run; how many of them
BY_FORMAT, SUM_OF = 0.5, 0.8  # share of the gain in reward; R2 of reward on its components, to be their sum

# Alarm -> the knobs for it and what they cost.
KNOBS = {
    "collapse": "what holds entropy: clip_cov (pass@16 +.081, pass@1 -.051), entropy_target (+.062, -.022), "
    "entropy_adaptive (+.060, -.018); grpo_slow, two thirds of the learning rate (+.055, +.034); clip_higher, kl_cov "
    "and an entropy bonus ended where GRPO does",
    "explosion": "a lower entropy coefficient or target, a lower upper clip bound (clip_higher), a lower learning rate "
    "(two thirds: pass@1 +.034); where the sampler is not the learner, importance.name=token_cap",
    "plateau": "dynamic sampling (dapo: pass@1 +.091 for two to three times the rollouts), harder problems, a lower "
    "learning rate (+.034); or stop here",
    "overfit": "stop at the best evaluation; more problems; kl_reference (pass@16 +.038, pass@1 unchanged), a lower "
    "learning rate (+.034)",
    "clipping": "fewer updates on a rollout, a lower learning rate (pass@1 +.034); wider bounds (clip_higher) changed "
    "neither pass@1 nor pass@16",
    "length": "a higher limit (costs rollout time in proportion), masking or penalising what is cut off",
    "kl": "kl_reference (pass@16 +.038, pass@1 unchanged) or a higher coefficient of it, a lower learning rate (two "
    "thirds: pass@1 +.034)",
    "gradient": "clipping of the gradient's norm (no row in the table), a lower learning rate (two thirds: pass@1 "
    "+.034); the batches of these steps",
    "format": "a lower weight of the reward for the format, or its end once it is learnt (no row in the table)",
    "zero_variance": "dynamic sampling (dapo: pass@1 +.091 for two to three times the rollouts), problems nearer to "
    "what is solved half of the time, more responses a prompt",
    "sampler_gap": "importance.name=token_cap (a forward pass more), the same number format and kernels in sampler and "
    "learner, fewer updates on a rollout",
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
    rise = _change(Record(points.step, points.R), rng)
    reward = rise
    if "training" in points.signals and (rise is None or rise.high >= 0):
        name, record = points.signals["training"]
        told = _change(record, rng)
        reward = min(filter(None, (rise, told and told._replace(what=name))), key=_Change.blur, default=None)
    unearned = _unearned(points, rng)
    found = {
        "collapse": _collapse(points, reward),
        "explosion": _explosion(points, reward, rng),
        "plateau": _plateau(reward, law),
        "overfit": _overfit(points, rise, rng) or unearned,
        "clipping": _share(points, "clip fraction", CLIPPED, "of tokens are clipped"),
        "length": _length(points, unearned, rng),
        "kl": _kl(points, reward, rng),
        "gradient": _gradient(points),
        "format": _format(points),
        "zero_variance": _share(points, "zero-variance share", NO_VARIANCE, "of groups have equal rewards")
        or _unmixed(points),
        "sampler_gap": _gap(points),
        "spent": _spent(law, stop_left),
    }
    return [Alarm(name, now, text, KNOBS[name]) for name, text in found.items() if text]


class _Change(NamedTuple):
    """Interval of a change late in a run; the share of the steps that it is over, of what it is, the whole run's."""

    low: float
    high: float
    over: float
    what: str = "reward"
    gain: float = 0.0

    def blur(self) -> float:
        """Width of the interval as a share of the gain."""
        return (self.high - self.low) / abs(self.gain) if self.gain else np.inf

    def __str__(self) -> str:
        part = "all" if self.over > 0.99 else f"the last {self.over:.0%}"
        return f"{self.low:+.3g} to {self.high:+.3g} over {part} of the run"


def _late(step: NDArray, value: NDArray, share: float) -> tuple[NDArray, NDArray] | None:
    """The last `share` of the steps, or the last LEAST points, if these are not too much of the run."""
    begin, span = step[0], step[-1] - step[0]
    late = step - begin >= span * (1 - share - 1e-9)
    if late.sum() < LEAST:
        late = np.arange(len(step)) >= len(step) - LEAST
    if late.sum() < LEAST or step[late][0] < begin + span * (1 - max(share, LONGEST)):
        return None
    return step[late], value[late]


def _change(record: Record, rng: np.random.Generator, share: float = 1 / 3) -> _Change | None:
    """The change over the last `share` of a run, slope times span; of many points the means of MOST stretches count."""
    late = _late(record.step, record.value, share)
    if late is None:
        return None
    step, value = late
    over, gain = float(np.ptp(step) / np.ptp(record.step)), _gain(record.value)
    if len(value) > MOST:
        places = np.arange(0, len(value), -(-len(value) // MOST))
        sizes = np.diff(np.append(places, len(value)))
        step, value = np.add.reduceat(step, places) / sizes, np.add.reduceat(value, places) / sizes
    if np.ptp(value) == 0:
        return _Change(0.0, 0.0, over, gain=gain)
    X = np.stack([(step - step.mean()) / np.ptp(step), np.ones_like(value)], 1)
    low, high = bootstrap.resample(X, value, np.eye(2)[:1], rng, level=LEVEL, draws=DRAWS).interval()
    return _Change(float(low[0]), float(high[0]), over, gain=gain)


def _gain(value: NDArray) -> float:
    first, last = _ends(value)
    return last - first


def _ends(value: NDArray) -> tuple[float, float]:
    """Medians of the first and of the last tenth, at least three values of each."""
    k = max(3, len(value) // 10)
    return float(np.median(value[:k])), float(np.median(value[-k:]))


def _moved(rise: _Change | None) -> str:
    return "too few scores to say what reward does" if rise is None else f"{rise.what} moved by {rise}"


def _collapse(points: Points, rise: _Change | None) -> str | None:
    first, last = _ends(points.entropy_H)
    if last > SPENT * first or rise is None or rise.low > 0:
        return None
    return f"entropy fell from {first:.3g} to {last:.3g} nats ({last / first:.0%} is left), and {_moved(rise)}"


def _explosion(points: Points, rise: _Change | None, rng: np.random.Generator) -> str | None:
    H = points.entropy_H
    k = min(max(3, len(H) // 20), len(H))
    total = np.cumsum(np.append(0.0, H))
    smooth = (total[k:] - total[:-k]) / k
    least, last = float(smooth.min()), float(smooth[-1])
    if last < RISEN * least or last < least + RISEN_NATS or (rise is not None and rise.low > 0):
        return None
    late = _change(Record(points.entropy_step, H), rng)
    if late is None or late.low <= 0:
        return None
    seen = [role for role in ("truncated share", "clip fraction", "length") if role in points.signals]
    beside = "".join(f"; {role} {_recent(points.signals[role][1]):.2g}" for role in seen)
    return f"entropy rose from {least:.3g} to {last:.3g} nats and goes on, and {_moved(rise)}{beside}"


def _plateau(rise: _Change | None, law: Mapping[str, Any]) -> str | None:
    gain = abs(rise.gain) if rise is not None else 0.0
    if gain == 0 or rise.high > STILL * gain or rise.low < -STILL * gain:
        return None
    left = law.get("headroom")
    by = f"; by exp {left['left']:.3g} [{left['interval'][0]:.3g}, {left['interval'][1]:.3g}] is left" if left else ""
    return f"{_moved(rise)}, of {gain:.3g} gained in all{by}"


def _overfit(points: Points, rise: _Change | None, rng: np.random.Generator) -> str | None:
    if not points.held_out or "training" not in points.signals or rise is None or rise.high >= 0:
        return None
    name, record = points.signals["training"]
    rose = _change(record, rng)
    if rose is None or rose.low <= 0:
        return None
    return f"{name} moved by {rose}, and {points.score} by {rise}"


def _unearned(points: Points, rng: np.random.Generator) -> str | None:
    """Over all of the run: training gains, and of that surely little on held-out data; both are fractions."""
    if not points.held_out or "training" not in points.signals:
        return None
    name, record = points.signals["training"]
    if any(min(x) < 0 or max(x) > 1 for x in (points.R, record.value)) or len(points.R) < LEAST:
        return None
    rose, held = _change(record, rng, 1.0), _change(Record(points.step, points.R), rng, 1.0)
    if rose is None or held is None or rose.low <= 0 or held.high > EARNED * rose.low:
        return None
    return f"{name} moved by {rose}, and {points.score} by {held}"


def _recent(record: Record) -> float:
    return float(record.value[-max(3, len(record.value) // 10) :].mean())


def _share(points: Points, role: str, most: float, what: str) -> str | None:
    if role not in points.signals or role == "clip fraction" and _recent(points.signals[role][1]) > 1:
        return None
    return _surely(*points.signals[role], most, what)


def _surely(name: str, record: Record, most: float, what: str) -> str | None:
    """The mean of the last tenth, where it is above by two standard errors (from neighbours' differences)."""
    share = _recent(record)
    late = np.diff(record.value[-max(LEAST, len(record.value) // 3) :])
    error = float(np.sqrt(np.mean(late**2) / 2 / max(3, len(record.value) // 10))) if len(late) else 0.0
    if share - 2 * error <= most:
        return None
    return f"{name}: {share:.0%} (standard error {100 * error:.1g}) {what}, above {most:.0%}"


def _unmixed(points: Points) -> str | None:
    """No variance where the log has the share of groups with both rewards, or those of all and of none solved."""
    found = [points.signals.get(role) for role in ("mixed share", "none solved", "all solved")]
    name, record = "", None
    if found[0]:
        name, record = f"1 - {found[0][0]}", Record(found[0][1].step, 1 - found[0][1].value)
    elif all(found[1:]) and np.array_equal(found[1][1].step, found[2][1].step):
        name = f"{found[1][0]} + {found[2][0]}"
        record = Record(found[1][1].step, found[1][1].value + found[2][1].value)
    if record is None or record.value.min() < -1e-6 or record.value.max() > 1 + 1e-6:  # counts
        return None
    return _surely(name, record, NO_VARIANCE, "of groups have equal rewards")


def _length(points: Points, unearned: str | None, rng: np.random.Generator) -> str | None:
    if text := _share(points, "truncated share", CUT_OFF, "of responses are cut off"):
        return text
    if "length" not in points.signals:
        return None
    name, record = points.signals["length"]
    if "longest" in points.signals:
        mean, longest = _recent(record), float(points.signals["longest"][1].value.max())
        if mean >= NEAR_LIMIT * longest:
            return f"{name}: {mean:.4g} tokens on average, of {longest:.4g} at most"
    first, last = _ends(record.value)
    grew = _change(record, rng)
    if unearned is None or last < GROWN * first or grew is None or grew.low <= 0:
        return None
    return f"{name} grew from {first:.4g} to {last:.4g} and goes on; {unearned}"


def _kl(points: Points, rise: _Change | None, rng: np.random.Generator) -> str | None:
    """Far from the reference and on the way, for nothing."""
    if "reference kl" not in points.signals or rise is None or rise.low > 0:
        return None
    name, record = points.signals["reference kl"]
    first, last = _ends(record.value)
    grew = _change(record, rng)
    if last < FAR or grew is None or grew.low <= 0:
        return None
    return f"{name} grew from {first:.3g} to {last:.3g} and goes on, and {_moved(rise)}"


def _gradient(points: Points) -> str | None:
    """Steps whose gradient is far above those around it."""
    if "gradient" not in points.signals:
        return None
    name, record = points.signals["gradient"]
    parts = np.array_split(np.arange(len(record.value)), min(STRETCHES, -(-len(record.value) // LEAST)))
    usual = np.concatenate([np.full(len(part), np.median(record.value[part])) for part in parts])
    high = record.value > SPIKE * usual
    if high.sum() < SPIKES or not (usual > 0).all():
        return None
    most = float((record.value / usual).max())
    return f"{name} is above {SPIKE} times the median around it in {high.sum()} steps ({most:.3g} times at most)"


def _format(points: Points) -> str | None:
    """A reward that is a sum of components, more than half of whose gain is of those that are no score."""
    parts = [pair for role, pair in points.signals.items() if role.startswith("component ")]
    if len(parts) < 2 or "reward sum" not in points.signals:
        return None
    name, total = points.signals["reward sum"]
    if any(not np.array_equal(record.step, total.step) for _, record in parts) or len(total.step) < LEAST * len(parts):
        return None
    X = np.stack([record.value for _, record in parts] + [np.ones(len(total.step))], 1)
    weights, *_ = np.linalg.lstsq(X, total.value, rcond=None)
    if np.var(total.value - X @ weights) > (1 - SUM_OF) * np.var(total.value):
        return None
    gains = {part: w * _gain(record.value) for (part, record), w in zip(parts, weights)}
    whole = sum(gains.values())
    by_format = sum(gain for part, gain in gains.items() if columns.kind(part) is None)
    if whole <= 0 or by_format <= BY_FORMAT * whole:
        return None
    said = ", ".join(f"{part} {gain:+.3g}" for part, gain in gains.items())
    return f"{by_format / whole:.0%} of what {name} gained is for the format: {said}"


def _gap(points: Points) -> str | None:
    if "sampler gap" not in points.signals:
        return None
    name, record = points.signals["sampler gap"]
    first, last = _ends(np.abs(record.value))
    if last <= GAP:
        return None
    unit = "in probability" if {"prob", "probs"} & set(columns.words(name)) else "nats a token"
    return f"{name}: {last:.3g} between sampler and learner, above {GAP} {unit} (it began at {first:.3g})"


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
