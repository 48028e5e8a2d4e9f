"""The page's figures, from the numbers that verdicts keep for them."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from entropy_rl import figures
from entropy_rl.laws.curves import CURVES
from experiments.claims.page import QUESTION, Verdicts

Plots = list[dict[str, Any]]


def verdicts(verdicts: Verdicts) -> Figure:
    """Counts of tests for, against and open."""
    shown = [(claim, found) for claim, found in verdicts if claim.id != QUESTION]
    figure = Figure(figsize=(9, 0.36 * len(shown) + 0.8), layout="constrained")
    ax = figure.subplots()
    counts = [collections.Counter(test.outcome for test in found.criteria) for _, found in shown]
    place, left = np.arange(len(shown)), np.zeros(len(shown))
    for outcome, colour in (("for", figures.BLUE), ("against", figures.VERMILLION), ("open", "0.8")):
        width = np.array([count[outcome] for count in counts], float)
        ax.barh(place, width, left=left, color=colour, label=outcome, height=0.7)
        left += width
    for y, (total, (_, found)) in enumerate(zip(left, shown)):
        ax.text(total + 0.15, y, found.verdict, va="center", fontsize="small")
    ax.set_yticks(place, [claim.text if len(claim.text) < 60 else claim.text[:57] + "..." for claim, _ in shown])
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.set_xlim(0, max(left.max(), 1) * 1.22)
    ax.set_xlabel("tests")
    ax.legend(frameon=False, fontsize="small", loc="upper right")
    ax.spines[["top", "right"]].set_visible(False)
    return figure


def law(plots: Plots) -> Figure:
    """Score against entropy, a panel for each kind of start."""
    figure, axes = _panels(len(plots), 3.4)
    for ax, of in zip(axes, plots):
        H, R = np.asarray(of["H"]), np.asarray(of["R"])
        ax.plot(H, R, ".", color=figures.BLUE, ms=3, alpha=0.5)
        grid = np.linspace(H.min(), H.max(), 100)
        ax.plot(grid, CURVES["exp"].predict(grid, of["a"], of["b"]), color=figures.VERMILLION, lw=1.8, label="exp")
        ax.set(title=of["name"], xlabel="policy entropy H (nats per token)", ylabel="held-out pass@1")
        ax.title.set_fontsize("medium")
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def ceiling(plots: Plots) -> Figure:
    """Differences of pass@1 and pass@k against the ratio of entropies, a panel a study."""
    studies = list(dict.fromkeys(point["study"] for point in plots))
    figure, axes = _panels(len(studies), 3.6)
    for ax, study in zip(axes, studies):
        points = [point for point in plots if point["study"] == study and np.isfinite(point["pass@1"][1])]
        x = [point["ratio"] for point in points]
        for key, colour in (("pass@1", figures.VERMILLION), ("pass@k", figures.BLUE)):
            value, low, high = np.array([point[key] for point in points]).T
            label = key if key == "pass@1" else f"pass@{points[0]['k']}"
            errors = np.maximum(np.stack([value - low, high - value]), 0)
            ax.errorbar(x, value, errors, fmt="o", ms=4, lw=1, color=colour, label=label)
        ax.axhline(0, color=figures.GREY, lw=1, ls="--")
        ax.set(
            title=study, xlabel="entropy at the end, times the plain arm's", ylabel="less the plain arm's", xscale="log"
        )
        ticks = [t for t in (0.5, 0.7, 1, 1.5, 2, 3, 5, 10) if min(x) * 0.9 <= t <= max(x) * 1.1]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.minorticks_off()
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def critique_entropy(plots: Plots) -> Figure:
    """Differences of ln entropy to the plain arm, arm by arm."""
    studies = list(dict.fromkeys(point["study"] for point in plots))
    figure, axes = _panels(len(studies), 0.5 + 0.24 * max(sum(p["study"] == s for p in plots) for s in studies))
    for ax, study in zip(axes, studies):
        points = [point for point in plots if point["study"] == study]
        figures.intervals(ax, [point["arm"] for point in points], [point["span"] for point in points], reference=0.0)
        ax.set(title=study, xlabel="ln entropy at the end, less the plain arm's")
    return figure


def selects(plots: Plots) -> Figure:
    """pass@k of start and end."""
    figure, axes = _panels(len(plots), 3.2)
    for ax, of in zip(axes, plots):
        for key, colour in (("start", figures.GREY), ("end", figures.BLUE)):
            label = key if key == "start" else of["arm"]
            ax.plot(of["ks"], of[key], "o-" if len(of["ks"]) < 10 else "-", color=colour, ms=3.5, label=label)
        ax.set_xscale("log", base=2)
        ax.set(title=of["study"], xlabel="k", ylabel="held-out pass@k")
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def bottleneck(plots: Plots) -> Figure:
    """What is not solved: problems without a right attempt, and right attempts that are rare."""
    studies = list(dict.fromkeys(point["study"] for point in plots))
    figure, axes = _panels(len(studies), 1.3 + 0.34 * max(sum(p["study"] == s for p in plots) for s in studies))
    for ax, study in zip(axes, studies):
        points = [point for point in plots if point["study"] == study]
        place = np.arange(len(points))
        coverage, selection = (np.array([point[key] for point in points]) for key in ("coverage", "selection"))
        ax.barh(place, coverage, color=figures.VERMILLION, label="coverage gap: no attempt is right")
        ax.barh(place, selection, left=coverage, color=figures.BLUE, label="selection gap: right ones are rare")
        ax.set_yticks(place, [point["arm"] for point in points])
        ax.set_ylim(len(points) - 0.5, -0.5)
        ax.set(title=f"{study}, {points[0]['k']} attempts", xlabel="1 − pass@1")
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    return figure


FIGURES: dict[str, Callable[[Plots], Figure]] = {
    "law": law,
    "ceiling": ceiling,
    "critique_entropy": critique_entropy,
    "selects": selects,
    "bottleneck": bottleneck,
}


def _panels(count: int, height: float) -> tuple[Figure, list]:
    columns, height = min(count, 3), max(height, 2.2)
    rows = -(-count // columns)
    figure = Figure(figsize=(4.4 * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for ax in axes[count:]:
        ax.axis("off")
    return figure, axes[:count]
