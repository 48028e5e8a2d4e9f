"""Arrays in, drawings on a matplotlib Axes out; `matplotlib.figure.Figure().subplots()` gives one, no pyplot.

Colours: Okabe & Ito's palette and viridis, which readers with any colour vision can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from entropy_rl.laws.curves import CURVES
from entropy_rl.laws.scaling import Scaling

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
    curves: Sequence[str] = ("exp", "linear"),
) -> None:
    """Reward against entropy, fitted curves, the ceiling with its interval (after Cui et al. 2025, Fig. 1).

    Args:
      H: [n] entropy, nats per token.
      R: [n] reward.
      step: [n], the colour of the points.
      analysis: from `laws.analyse.analyse` or `together`.
      score: label of the y axis.
      curves: names of those in H that are drawn, each with its band where the analysis has one.
    """
    H, R = np.asarray(H, float), np.asarray(R, float)
    points = ax.scatter(H, R, c=np.asarray(step, float), cmap="viridis", s=22, linewidths=0, zorder=3)
    ax.figure.colorbar(points, ax=ax, label="step", pad=0.02)
    grid = np.linspace(0, H.max() * 1.03, 200)
    for name, (colour, style) in zip(curves, _CURVE_STYLES):
        c = analysis["curves"][name]
        label = f"{name}: a = {c['a']:.3g}, b = {c['b']:.3g}, R² = {c['r2']:.3f}"
        with np.errstate(divide="ignore"):  # a curve without a ceiling begins at the next place
            y = CURVES[name].predict(grid, c["a"], c["b"], *c["shape"].values())
        ax.plot(grid, y, style, color=colour, lw=1.8, label=label)
        if "band" in c:
            ax.fill_between(c["band"]["x"], c["band"]["low"], c["band"]["high"], color=colour, alpha=0.12, lw=0)
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


def residuals(
    ax: Axes,
    H: ArrayLike,
    R: ArrayLike,
    step: ArrayLike,
    analysis: dict[str, Any],
    *,
    curves: Sequence[str] = ("exp", "linear"),
) -> None:
    """What the curves leave over, against the step: a curve that fits leaves no pattern.

    Args:
      H, R, step: [n], as in `law`. analysis: of the same points. curves: names of those in H.
    """
    H, R, step = (np.asarray(x, float) for x in (H, R, step))
    ax.axhline(0, color=GREY, lw=1)
    for name, (colour, _), marker in zip(curves, _CURVE_STYLES, "os^d"):
        c = analysis["curves"][name]
        left = R - CURVES[name].predict(H, c["a"], c["b"], *c["shape"].values())
        ax.plot(step, left, marker, ms=3.5, color=colour, alpha=0.7, label=f"{name}: rmse {c['rmse']:.2g}", lw=0)
    ax.set_xlabel("step")
    ax.set_ylabel("score less curve")
    ax.legend(frameon=False, fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)


def coefficients(
    ax: Axes, N: ArrayLike, values: ArrayLike, spans: ArrayLike, line: Scaling, *, label: str, colour: str = BLUE
) -> None:
    """A law's coefficient against the number of parameters (after Cui et al. 2025, Fig. 7).

    Args:
      N: [m] parameters. values: [m] coefficients. spans: [m, 2] their intervals.
      line: the fit to them; its interval for a new model is drawn too.
    """
    N, values, spans = (np.asarray(x, float) for x in (N, values, spans))
    ax.set_xscale("log")
    grid = np.geomspace(N.min() / 1.5, N.max() * 2.5, 100)
    height, low, high = np.array([line.predict(n) for n in grid]).T
    ax.plot(grid, height, color=GREY, lw=1.5)
    ax.fill_between(grid, low, high, color=GREY, alpha=0.15, lw=0)
    errors = np.maximum(np.stack([values - spans[:, 0], spans[:, 1] - values]), 0)
    ax.errorbar(N, values, errors, fmt="o", ms=5, color=colour, capsize=3)
    ax.set_xlabel("parameters N")
    ax.set_ylabel(label)
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


def seeds(
    ax: Axes,
    curves: Sequence[tuple[ArrayLike, ArrayLike]],
    *,
    colour: str = BLUE,
    style: str = "-",
    label: str | None = None,
) -> None:
    """The runs of one setting: a thin line a seed, a thick one for their mean, a dot at its end.

    Args:
      curves: (x, y) of each seed, [n] both, whose places belong together: the same steps, in order. The mean is over
        seeds in x as well as in y, as far as the shortest of them goes, so that y may be drawn against any x.
      style: of the thick line.
      label: of the thick line.
    """
    for x, y in curves:
        ax.plot(x, y, color=colour, lw=0.7, alpha=0.4)
    n = min(len(x) for x, _ in curves)
    x, y = np.mean([[np.asarray(values, float)[:n] for values in curve] for curve in curves], axis=0)
    ax.plot(x, y, style, color=colour, lw=1.8, label=label)
    ax.plot(x[-1:], y[-1:], "o", color=colour, ms=4)
    ax.spines[["top", "right"]].set_visible(False)


def histogram(ax: Axes, edges: ArrayLike, counts: ArrayLike, *, colour: str = BLUE, label: str | None = None) -> None:
    """Shares of values in bins that are even in the logarithm, with a bin at 0 or on either side of it.

    The height of a bin is its share and not a density. Of the bin that begins or lies at 0 the axis makes one as wide
    as a factor of 10.

    Args:
      edges: [n + 1], ascending, from 0 or symmetric about it.
      counts: [n].
    """
    edges, counts = np.asarray(edges, float), np.asarray(counts, float)
    smallest = edges[edges > 0].min()
    ax.set_xscale("symlog", linthresh=smallest, linscale=1.0 if edges[0] >= 0 else 0.5)
    ax.stairs(counts / counts.sum(), edges, color=colour, fill=True, alpha=0.25)
    ax.stairs(counts / counts.sum(), edges, color=colour, lw=1.5, label=label)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylabel("share of tokens")
    ax.spines[["top", "right"]].set_visible(False)


def reliability(ax: Axes, tables: dict[str, Sequence[dict[str, Any]]]) -> None:
    """Accuracy against confidence in bins: a confidence that means what it says lies on the diagonal.

    Args:
      tables: label -> rows of calibration.reliability; bins without an answer are left out, and areas are shares of
        answers.
    """
    ax.plot([0, 1], [0, 1], color=GREY, lw=1, label="confidence = accuracy")
    for (label, rows), (colour, style), marker in zip(tables.items(), _CURVE_STYLES, "os^d"):
        some = [row for row in rows if row["count"]]
        x, y, n = (np.array([row[key] for row in some], float) for key in ("confidence", "accuracy", "count"))
        ax.plot(x, y, style, color=colour, lw=1)
        ax.scatter(x, y, s=20 + 180 * n / n.sum(), color=colour, marker=marker, alpha=0.8, lw=0, label=label)
    ax.set_xlim(0, 1.02)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("confidence")
    ax.set_ylabel("share right")
    ax.legend(frameon=False, fontsize="small")
    ax.spines[["top", "right"]].set_visible(False)


def measured(
    ax: Axes,
    prediction: ArrayLike,
    measurement: ArrayLike,
    *,
    slope: float | None = 1.0,
    colour: str = BLUE,
) -> None:
    """Measured against predicted values, and the line where the one is `slope` times the other.

    Args:
      prediction, measurement: [n], in the same unit.
      slope: of the line through 0; None: no line.
    """
    for line in (ax.axhline, ax.axvline):
        line(0, color="0.85", lw=1, zorder=0)
    if slope is not None:
        ax.axline((0, 0), slope=slope, color=GREY, lw=1, zorder=1)
    ax.scatter(prediction, measurement, s=14, color=colour, linewidths=0, alpha=0.7, zorder=2)
    ax.set_xlabel("predicted")
    ax.set_ylabel("measured")
    ax.spines[["top", "right"]].set_visible(False)


def ranking(
    ax: Axes, names: Sequence[str], values: ArrayLike, *, reference: float | None = None, colour: str = BLUE
) -> None:
    """Bars from top to bottom in the order given.

    Args:
      names: of n rows.
      values: [n].
      reference: where a dashed line is drawn.
    """
    place = np.arange(len(names))
    ax.barh(place, values, color=colour, height=0.75)
    if reference is not None:
        ax.axvline(reference, color=GREY, lw=1, ls="--")
    ax.set_yticks(place, names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.spines[["top", "right"]].set_visible(False)


def intervals(
    ax: Axes, names: Sequence[str], spans: ArrayLike, *, reference: float | None = None, colour: str = BLUE
) -> None:
    """Values with their intervals from top to bottom in the order given.

    Args:
      names: of n rows.
      spans: [n, 3] value, low, high; infinite ends are not drawn.
      reference: where a dashed line is drawn.
    """
    place, spans = np.arange(len(names)), np.asarray(spans, float).reshape(-1, 3)
    errors = np.abs(spans[:, 1:] - spans[:, :1]).T
    ax.errorbar(spans[:, 0], place, xerr=np.where(np.isfinite(errors), errors, 0), fmt="o", ms=4, lw=1.2, color=colour)
    if reference is not None:
        ax.axvline(reference, color=GREY, lw=1, ls="--")
    ax.set_yticks(place, names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.spines[["top", "right"]].set_visible(False)


def responses(
    ax: Axes, words: Sequence[Sequence[str]], values: Sequence[ArrayLike], *, limit: float | None = None
) -> AxesImage:
    """Texts word by word, a row each, every word on the colour of its value.

    Args:
      words: of each text.
      values: of the words of each text, of 0 or more.
      limit: value of the last colour; None: the largest.

    Returns:
      The image, for a colour bar.
    """
    table = np.full((len(words), max(map(len, words))), np.nan)
    for row, of in zip(table, values, strict=True):
        row[: len(of)] = of
    limit = np.nanmax(table) if limit is None else limit
    image = ax.imshow(table, cmap="viridis", vmin=0, vmax=limit, aspect="auto")
    for i, text in enumerate(words):
        for j, word in enumerate(text):
            bright = table[i, j] > 0.6 * limit
            ax.text(j, i, word, ha="center", va="center", color="black" if bright else "white", fontsize="small")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    return image
