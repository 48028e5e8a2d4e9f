"""An entropy that was summed over a sequence and not averaged over its tokens: found by how it moves with length.

verl aggregates the entropy that it logs as it does its loss. With loss_agg_mode=seq-mean-token-sum-norm that is
sum over tokens / longest response, so H x length / cap in place of H; with seq-mean-token-sum it is H x length. From
one step to the next, then, ln of what is logged moves with ln of the mean length, with slope 1 and little else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from entropy_rl.logs import trainers
from entropy_rl.logs.records import Record

AGGREGATED = {"verl", "rLLM", "tunix"}  # trainers that aggregate the entropy that they log as the loss
LEAST = 20  # steps with both
MOST_NATS = 14.0  # the log of the largest vocabularies is below
SLOPE = 0.35  # how far from 1 the slope may be
SURE = 5.0  # standard errors from 0
BETTER = 2.0  # ratio of squared errors above which it is said
VARIES = 1.2  # longest over shortest mean length, below which it makes no difference


class Scaled(NamedTuple):
    """The slope of ln H on ln length, its standard error, and what to multiply the logged entropy by, or None."""

    slope: float
    error: float
    factor: NDArray | None
    summed: bool


def scaled(H: NDArray, length: NDArray, cap: float | None) -> Scaled | None:
    """Whether an entropy goes with the length of responses, and how to undo it.

    Args:
      H, length: [n] at the same steps, in order.
      cap: the longest response that was allowed, tokens; None where it is not known.

    Returns:
      None for an entropy per token; else the evidence, and [n] factors where the scale is known: 1 / length for a sum
      over tokens (nothing below MOST_NATS could be one), cap / length for one that was divided by the cap.
    """
    good = (H > 0) & (length > 0)
    if good.sum() < LEAST:
        return None
    y, x = np.diff(np.log(H[good])), np.diff(np.log(length[good]))
    x, y = x - x.mean(), y - y.mean()
    if x.std() < 1e-3:
        return None
    slope = float(x @ y / (x @ x))
    error = float(np.sqrt(((y - slope * x) ** 2).sum() / max(len(x) - 2, 1) / (x @ x)))
    if abs(slope - 1) > SLOPE or slope < SURE * error:
        return None
    summed = bool(np.median(H) > MOST_NATS)
    factor = 1 / length if summed else cap / length if cap else None
    if factor is not None and not 0 <= np.nanmax(H * factor) < MOST_NATS:
        factor = None
    return Scaled(slope, error, factor, summed)


def explained(H: NDArray, length: NDArray, R: NDArray) -> float:
    """How much better a score goes with H / length than with H: ratio of the squared errors of two parabolas, [n] each.

    A hint and no proof, as a score may go with the length itself. 1 where there are too few points, or lengths do not
    vary enough to make a difference.
    """
    good = (H > 0) & (length > 0)
    if good.sum() < LEAST or length[good].max() < VARIES * length[good].min() or np.ptp(R[good]) == 0:
        return 1.0
    errors = []
    for x in (H[good], H[good] / length[good]):
        x = (x - x.mean()) / max(x.std(), 1e-300)
        X = np.stack([np.ones_like(x), x, x * x], 1)
        errors.append(float(((R[good] - X @ np.linalg.lstsq(X, R[good], rcond=None)[0]) ** 2).sum()))
    return errors[0] / max(errors[1], 1e-300)


def per_token(
    h: Record,
    r: Record,
    signals: dict[str, tuple[str, Record]],
    trainer: str | None,
    entropy: str,
    limit: float | None,
    said: list[str],
) -> tuple[Record, str]:
    """The entropy record per token, and its estimator; where it was scaled by length that is said, and undone.

    Args:
      h, r: entropy and score.
      signals: as `Points.signals`.
      trainer: a row of TRAINERS, or None; only some can scale it.
      entropy: name of the entropy.
      limit: longest response allowed, tokens, from the user: 0 leaves the entropy as it is, None takes the longest that
        was logged, if more than one response was cut there; then only `scaled` undoes, which a score alone cannot.
      said: gets a sentence where something is to be said.
    """
    estimator = trainers.estimator(trainer, entropy)
    if trainer not in AGGREGATED or "length" not in signals or limit == 0:
        return h, estimator
    name, length = signals["length"]
    there = np.isin(h.step, length.step)
    L = length.value[length.at(h.step[there])]
    cap = limit
    if cap is None and "longest" in signals:
        longest = signals["longest"][1].value
        cap = float(longest.max()) if (longest == longest.max()).sum() > 1 else None
    H, at = h.value[there], h.step[there]
    found = scaled(H, L, cap)
    if found is None:
        shared = np.isin(r.step, at)
        places = np.searchsorted(at, r.step[shared])
        better = explained(H[places], L[places], r.value[shared])
        if better < BETTER:
            return h, estimator
        what = f"{entropy} MAY BE SCALED BY LENGTH: the score goes far better with {entropy} / {name}"
        what += f" (squared errors {min(better, 1e6):.3g} times as small)"
        if limit is None:  # where length and score rise together it is so too, whatever the entropy is
            said.append(
                f"{what}; if loss_agg_mode is seq-mean-token-sum-norm, --config.length_limit=TOKENS (the longest "
                "response allowed) undoes it; with token-mean there is nothing to undo"
            )
            return h, estimator
        said.append(f"{what}: undone, times {limit:g} / length, as for loss_agg_mode=seq-mean-token-sum-norm")
        return Record(at, H * limit / L), f"{estimator}, of seq-mean-token-sum-norm times {limit:g} / length"
    mode = "seq-mean-token-sum" + ("" if found.summed else "-norm")
    evidence = (
        f"{entropy} IS SCALED BY LENGTH: ln of it moves with ln of {name} with slope {found.slope:.2f} +- "
        f"{found.error:.2f} (1 for loss_agg_mode={mode}, 0 for token-mean)"
    )
    if found.factor is None:
        said.append(
            f"{evidence}: these are no nats per token, and the ceiling is wrong; give --config.length_limit=TOKENS "
            "(the longest response allowed), by which it is undone, or log with token-mean"
        )
        return h, f"{estimator}, scaled by length ({mode})"
    by = "divided by the length" if found.summed else f"times {cap:g} / length"
    said.append(f"{evidence}: undone, {by}")
    return Record(at, H * found.factor), f"{estimator}, of {mode} {by}"
