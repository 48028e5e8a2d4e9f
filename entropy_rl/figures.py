"""Arrays in, drawings on a matplotlib Axes out; `matplotlib.figure.Figure().subplots()` gives one, no pyplot.

Colours: Okabe & Ito's palette and viridis, which readers with any colour vision can tell apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from entropy_rl.laws.curves import CURVES

BLUE, VERMILLION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
_CURVE_STYLES = [(VERMILLION, "-"), (BLUE, "--"), (GREEN, "-."), (GREY, ":")]


def law(
    ax: Axes,
    H: ArrayLike,
    R: ArrayLike,
    step: ArrayLike,
    analysis: dict[str, Any],
    *,
    score: str = "reward R",
) -> None:
    """Reward against entropy, fitted curves, the ceiling with its interval (after Cui et al. 2025, Fig. 1).

    Args:
      H: [n] entropy, nats per token.
      R: [n] reward.
      step: [n], the colour of the points.
      analysis: from `laws.compare.analyse`; every curve in it is drawn, and the ceiling of exp.
      score: label of the y axis.
    """
    H, R = np.asarray(H, float), np.asarray(R, float)
    points = ax.scatter(H, R, c=np.asarray(step, float), cmap="viridis", s=22, linewidths=0, zorder=3)
    ax.figure.colorbar(points, ax=ax, label="step", pad=0.02)
    grid = np.linspace(0, H.max() * 1.03, 200)
    for (name, c), (colour, style) in zip(analysis["curves"].items(), _CURVE_STYLES):
        label = f"{name}: a = {c['a']:.3g}, b = {c['b']:.3g}, $R^2$ = {c['r2']:.3f}"
        ax.plot(grid, CURVES[name].predict(grid, c["a"], c["b"]), style, color=colour, lw=1.8, label=label)
    low, high = analysis["interval"]["ceiling"]
    ceiling = analysis["ceiling"]
    label = f"ceiling {ceiling:.3g}, {analysis['interval']['level']:.0%} interval {low:.3g} to {high:.3g}"
    ax.errorbar(
        [0.0], [ceiling], [[max(0.0, ceiling - low)], [max(0.0, high - ceiling)]],
        fmt="D", ms=6, color=VERMILLION, mfc="white", mew=1.5, elinewidth=1.8, capsize=5, clip_on=False,
        zorder=4, label=label,
    )  # fmt: skip
    ax.set_xlim(0, grid[-1])
    ax.set_xlabel("policy entropy H (nats per token)")
    ax.set_ylabel(score)
    ax.legend(frameon=False, fontsize="small", loc="best")
    ax.spines[["top", "right"]].set_visible(False)


def entropy_and_reward(
    ax: Axes,
    step: ArrayLike,
    H: ArrayLike,
    eval_step: ArrayLike,
    R: ArrayLike,
    *,
    score: str = "reward R",
) -> Axes:
    """Entropy (left axis) and reward (right axis) over training.

    Args:
      step, H: [n] entropy record, nats per token.
      eval_step, R: [m] reward record.
      score: label of the right axis.

    Returns:
      The right axis.
    """
    right = ax.twinx()
    ax.plot(step, H, color=BLUE, lw=1.8)
    # the reward is evaluated now and then: marks show where
    right.plot(eval_step, R, "o-", color=VERMILLION, lw=1.4, ms=3.5)
    ax.set_ylim(bottom=0)
    ax.set_xlabel("step")
    for axis, label, colour, side in (
        (ax, "policy entropy H (nats per token)", BLUE, "left"),
        (right, score, VERMILLION, "right"),
    ):
        axis.set_ylabel(label, color=colour)
        axis.tick_params(axis="y", colors=colour)
        axis.spines["top"].set_visible(False)
        axis.spines[side].set_color(colour)
    ax.spines["right"].set_visible(False)
    right.spines["left"].set_visible(False)
    return right
