"""How often the law's intervals hold the truth: curves planted with autocorrelated noise, fitted, and counted.

    python -m experiments.coverage --config=configs/laws/coverage.py --workdir=OUT

Prints a table, and writes it to OUT/coverage.md and OUT/coverage.json. Each row plants `config.curves` curves: H falls
from 0.3 to 0.03 nats as most runs' does, R is the curve plus AR(1) noise with autocorrelation rho; `noise` is its
standard deviation in units of R. A row with several runs gives each run an offset and a slope of its own, `spread`
times the noise, and asks for the law that they are a sample of (laws/pool.py). Beside each row stands what intervals of
independent residuals cover, where there is one run.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray
from scipy.special import ndtri

from entropy_rl import files, tables
from entropy_rl.errors import lookup
from entropy_rl.laws import bootstrap, pool
from entropy_rl.laws.bootstrap import Intervals
from entropy_rl.laws.curves import CURVES, Curve
from entropy_rl.laws.fit import fit, jacobian
from experiments.lib import checks, launch

# a, b and shape of the planted curves: what runs on Countdown look like
TRUTH = {
    **{name: (1.2, 1.8) for name in ("exp", "linear", "quadratic")},
    "sqrt": (0.8, 0.9),
    "log": (0.2, 0.3),
    "exp_rate": (1.2, 0.7, 3.0),
    "sigmoid": (0.5, 0.75, 0.1, 1.2),  # the middle as a share of the run
    "power": (0.5, 0.9, 0.3),
}


def run(config: ConfigDict, workdir: str | os.PathLike) -> list[dict[str, Any]]:
    """Simulates all rows; returns what is in coverage.json.

    Raises:
      InputError: a curve that is none, a number out of range.
    """
    checks.whole(config, 10, "curves")
    checks.positive(config, "noise", "spread")
    checks.seed(config)
    rows = []
    singles = itertools.product(config.points, config.rho, ["exp"])
    others = itertools.product([config.points[0]], [config.rho[-1]], config.others)
    print(_line(["curve", "runs", "n", "rho", "a", "b", "ceiling", "naive a"]))
    for n, rho, name in [*singles, *others]:
        rows.append(single(name, n, rho, config))
        print(_line(rows[-1].values()), flush=True)
    for size, rho in itertools.product(config.runs, config.rho):
        rows.append(several(size, config.points[0], rho, config))
        print(_line(rows[-1].values()), flush=True)
    workdir = Path(workdir)
    files.write(workdir / "coverage.md", tables.table(rows[0], (row.values() for row in rows)) + "\n")
    files.write(workdir / "coverage.json", json.dumps(rows, indent=2) + "\n")
    return rows


def single(name: str, n: int, rho: float, config: ConfigDict) -> dict[str, Any]:
    """Coverage in % over curves of one run each."""
    curve, x, truth = plant(name, n)
    rng = np.random.default_rng([config.seed, n, round(100 * rho)])
    clean, hits, naive = curve.predict(x, *truth), [], []
    for noise in ar1(rng, rho, config.curves, n):
        R = clean + config.noise * noise
        found = bootstrap.intervals(curve, x, R, rng, level=config.level, draws=config.draws)
        hits.append(held(found, curve, truth))
        naive.append(naive_holds(curve, x, R, truth, config.level))
    return _row(name, 1, n, rho, hits) | {"naive a": round(100 * float(np.mean(naive)), 1)}


def several(size: int, n: int, rho: float, config: ConfigDict) -> dict[str, Any]:
    """The same over sets of `size` runs, for intervals over runs."""
    curve, x, truth = plant("exp", n)
    rng = np.random.default_rng([config.seed, size, n, round(100 * rho)])
    hits = []
    for _ in range(config.curves):
        own = np.array(truth) + config.spread * config.noise * rng.standard_normal((size, len(truth)))
        noise = ar1(rng, rho, size, n)
        runs = [(x, curve.predict(x, *of) + config.noise * e, None) for of, e in zip(own, noise)]
        hits.append(held(pool.intervals(curve, runs, rng, level=config.level, draws=config.draws), curve, truth))
    return _row("exp", size, n, rho, hits) | {"naive a": "-"}


def plant(name: str, n: int) -> tuple[Curve, NDArray, tuple[float, ...]]:
    """A curve, where it is measured, and its true coefficients."""
    curve, truth = lookup(CURVES, name, "curve"), TRUTH[name]
    if curve.x == "H":
        return curve, 0.3 * 0.1 ** (np.arange(n) / (n - 1)), truth
    shape = (value * n if s.name == "mid" else value for s, value in zip(curve.shape, truth[2:]))
    return curve, np.arange(1.0, n + 1), (*truth[:2], *shape)


def ar1(rng: np.random.Generator, rho: float, rows: int, n: int) -> NDArray:
    """[rows, n] of e_t = rho e_{t-1} + sqrt(1 - rho^2) N(0, 1), step by step: not the code that is tested."""
    e = rng.standard_normal((n, rows))
    for t in range(1, n):
        e[t] = rho * e[t - 1] + np.sqrt(1 - rho**2) * e[t]
    return e.T


def held(found: Intervals, curve: Curve, truth: tuple[float, ...]) -> list[bool]:
    """Whether the intervals of a, b, ceiling hold the truth."""
    a, b = truth[:2]
    pairs = ((found.a, a), (found.b, b), (found.ceiling, curve.ceiling(a, b)))
    return [low <= value <= high for (low, high), value in pairs]


def naive_holds(curve: Curve, x: NDArray, R: NDArray, truth: tuple[float, ...], level: float) -> bool:
    """Whether the interval of a that takes residuals for independent holds it."""
    found = fit(curve, x, R)
    J = jacobian(curve, x, found)
    sigma = np.sqrt(np.sum((R - found.predict(curve, x)) ** 2) / (len(x) - J.shape[1]))
    half = ndtri((1 + level) / 2) * sigma * np.linalg.norm(np.linalg.pinv(J)[0])
    return bool(abs(found.a - truth[0]) <= half)


def _row(name: str, runs: int, n: int, rho: float, hits: list[list[bool]]) -> dict[str, Any]:
    a, b, ceiling = (round(100 * float(share), 1) for share in np.mean(hits, 0))
    if not np.isfinite(CURVES[name].end):
        ceiling = "-"
    return {"curve": name, "runs": runs, "n": n, "rho": rho, "a": a, "b": b, "ceiling": ceiling}


def _line(cells) -> str:
    return tables.text_line(cells, [10], "r")


if __name__ == "__main__":
    launch.main(run)
