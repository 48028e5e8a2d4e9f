"""From measured checkpoints (experiments/dual.py) to the matrix: what changes which side, with paired intervals.

Rows of the training side are controls less the baseline at the last checkpoint; those of the test side are budgets less
the plain response, in the baseline's policies at their last checkpoint. Columns are the same for both where they can
be: on the test side "entropy" and "pass@8" are those of the answers after the budget, as no test-time knob changes the
policy. Inflation is the change of an entropy from the plain response to the last round.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from entropy_rl.errors import InputError, nearest
from entropy_rl.laws import bootstrap, paired
from entropy_rl.methods.budget import dilution

Ways = dict[str, dict[str, dict[str, Any]]]
Spans = dict[str, dict[str, Any]]
KEPT = ("accuracy", "pass@8", "surprise", "answer_entropy", "within", "token_entropy", "tokens")
TRAINING = ("entropy", "pass@1", "pass@8", "plain_surprise", "inflation", "retry_inflation", "repeat_inflation")
TRAINING = (*TRAINING, "answer_inflation", "gain", "retry_gain", "within_change")
TEST = ("token_entropy", "accuracy", "pass@8", "surprise", "answer_entropy", "within")
SPREADS: dict[str, Callable[..., np.ndarray]] = {"by": lambda h: h, "by exp(2 H) of": dilution.spread_of}
TITLES = {
    **{"entropy": "token entropy", "token_entropy": "token entropy", "accuracy": "accuracy", "pass@1": "pass@1"},
    **{"pass@8": "pass@8", "plain_surprise": "answer entropy, plain", "surprise": "answer entropy"},
    **{"answer_entropy": "entropy over answers", "within": "variance within a problem"},
    **{"inflation": "its inflation, wait", "retry_inflation": "its inflation, retry"},
    **{"repeat_inflation": "its inflation, repeat"},
    **{"answer_inflation": "inflation over answers, wait", "gain": "accuracy change, wait"},
    **{"retry_gain": "accuracy change, retry", "within_change": "change of variance within, wait"},
}


def summary(
    read: Sequence[dict[str, Any]], *, baseline: str, level: float, draws: int, seed: int, chains: int
) -> dict[str, Any]:
    """What dual.json says, of the rows {"run", "step", "ways", "training_entropy"}, that of the start first.

    Raises:
      InputError: there are runs, but none of the baseline with the last step.
    """
    start, *rest = read
    points: dict[str, dict[int, dict[int, dict[str, Any]]]] = {}  # control, seed, step
    for row in rest:
        control, number = row["run"].rsplit(",seed=", 1)
        points.setdefault(control, {}).setdefault(int(number), {})[row["step"]] = row
    last = max((row["step"] for row in rest), default=0)
    ends = {
        control: {s: steps[last]["ways"] for s, steps in sorted(seeds.items()) if last in steps}
        for control, seeds in points.items()
    }
    ends = {control: seeds for control, seeds in ends.items() if seeds}
    if rest and baseline not in ends:
        raise InputError(
            f"no run of baseline {baseline!r}{nearest(baseline, ends)} with step {last}: there are {[*ends]}"
        )
    base = ends.get(baseline, {0: start["ways"]})

    def less(x: Iterable[Any], y: Iterable[Any]) -> dict[str, Any]:
        rng = np.random.default_rng(seed)  # anew: an interval does not depend on what else is compared
        return dataclasses.asdict(paired.difference([*x], [*y], rng, level=level, draws=max(draws, 100)))

    training: dict[str, Spans] = {}
    for control, seeds in ends.items():
        both = [s for s in seeds if s in base]
        other = [start["ways"]] * len(both) if control == baseline else [base[s] for s in both]
        name = f"{baseline} less the start" if control == baseline else control
        table = lambda ways, key: [columns(w)[key] for w in ways]  # noqa: E731
        if both:
            training[name] = {k: less(table([seeds[s] for s in both], k), table(other, k)) for k in TRAINING}
    at_start = knobs({0: start["ways"]}, less)
    return {
        "baseline": baseline,
        "last": last,
        "chains": chains,
        "problems": len(start["ways"]["plain"]["0"]["accuracy"]),
        "level": level,
        "rounds": max(map(int, start["ways"]["wait"])),
        "curves": curves(start, points, chains),
        "training": dict(sorted(training.items(), key=lambda item: not item[0].startswith(baseline))),
        "test": knobs(base, less),
        "test at the start": at_start if rest else {},
        "checkpoints": [checkpoint(row) for row in read],
        "correlation": correlations([checkpoint(row) for row in rest], level, draws, seed),
        "dilution": dilutions(read, last, level, seed),
    }


def columns(ways: Ways) -> dict[str, np.ndarray]:
    """TRAINING of one policy, f[P] each; changes are from the plain response to the last round."""
    names = ("plain", "wait", "retry", "repeat")
    plain, end, retry, repeat = (
        {k: np.array(v) for k, v in ways[way][max(ways[way], key=int)].items()} for way in names
    )
    return {
        "entropy": plain["token_entropy"],
        "pass@1": plain["accuracy"],
        "pass@8": plain["pass@8"],
        "plain_surprise": plain["surprise"],
        "inflation": end["surprise"] - plain["surprise"],
        "retry_inflation": retry["surprise"] - plain["surprise"],
        "repeat_inflation": repeat["surprise"] - plain["surprise"],
        "answer_inflation": end["answer_entropy"] - plain["answer_entropy"],
        "gain": end["accuracy"] - plain["accuracy"],
        "retry_gain": retry["accuracy"] - plain["accuracy"],
        "within_change": end["within"] - plain["within"],
    }


def knobs(policies: dict[int, Ways], less: Callable[..., dict[str, Any]]) -> dict[str, Spans]:
    """{knob: {measure: its difference to the plain response}}, and accuracy less majority at equal tokens."""
    out: dict[str, Spans] = {}
    of = [*policies.values()]
    for way, budgets in of[0].items():
        for budget in budgets if way != "plain" else ():
            if way == "majority" and budget == "1":
                continue  # the plain response
            here, plain = [w[way][budget] for w in of], [w["plain"]["0"] for w in of]
            row = {k: less([x[k] for x in here], [y[k] for y in plain]) for k in TEST if k in here[0]}
            row["tokens"] = float(np.mean([x["tokens"] for x in here]))
            votes = [at_equal_tokens(w["majority"], float(np.mean(x["tokens"]))) for w, x in zip(of, here)]
            if way != "majority" and all(v is not None for v in votes):
                row["less majority"] = less([x["accuracy"] for x in here], votes)
            out[f"{way} {budget}"] = row
    return out


def at_equal_tokens(votes: dict[str, dict[str, Any]], tokens: float, key: str = "accuracy") -> np.ndarray | None:
    """`key` f[P] of votes that cost `tokens` a problem, between two sizes linearly; None outside their costs."""
    sizes = sorted(votes, key=int)
    accuracy = np.array([votes[n][key] for n in sizes])
    cost = np.array([np.mean(votes[n]["tokens"]) for n in sizes])
    if not cost[0] <= tokens <= cost[-1]:
        return None
    at = np.clip(np.searchsorted(cost, tokens), 1, len(cost) - 1)
    share = (tokens - cost[at - 1]) / (cost[at] - cost[at - 1])
    return (1 - share) * accuracy[at - 1] + share * accuracy[at]


def checkpoint(row: dict[str, Any]) -> dict[str, Any]:
    """Means over problems of a checkpoint, and the entropy that its training logged."""
    means = {k: float(v.mean()) for k, v in columns(row["ways"]).items()}
    return {"run": row["run"], "step": row["step"], "training_entropy": row["training_entropy"], **means}


def curves(start: dict[str, Any], points: dict[str, Any], chains: int) -> dict[str, Any]:
    """{control: {step: {way: {budget: means over seeds and problems, variance between problems}}}}."""

    def means(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for way, budgets in rows[0]["ways"].items():
            for budget in budgets:
                cells = [row["ways"][way][budget] for row in rows]
                values = {k: float(np.mean([c[k] for c in cells])) for k in KEPT if k in cells[0]}
                if "within" in values:
                    spread = np.mean([np.var(c["accuracy"], ddof=1) for c in cells])
                    values["between"] = float(spread) - values["within"] / chains
                out.setdefault(way, {})[budget] = {k: round(v, 5) for k, v in values.items()}
        return out

    out = {"start": {"0": means([start])}}
    for control, seeds in points.items():
        steps = sorted({step for of in seeds.values() for step in of})
        out[control] = {str(s): means([of[s] for of in seeds.values() if s in of]) for s in steps}
    return out


def correlations(rows: Sequence[dict[str, Any]], level: float, draws: int, seed: int) -> dict[str, Any]:
    """{measure: {"all", "within": correlation with training entropy, [value, low, high], "n" checkpoints, "runs"}}.

    "within" takes each run's mean off both, so that only the course of a run counts. Intervals are percentiles of a
    bootstrap over whole runs; None where there are fewer than three runs.
    """
    rows = [row for row in rows if row["training_entropy"] is not None]
    names = sorted({row["run"] for row in rows})
    out: dict[str, Any] = {}
    if len(names) < 3:
        return out
    x = np.array([row["training_entropy"] for row in rows])
    members = [np.array([i for i, row in enumerate(rows) if row["run"] == name]) for name in names]
    for key in TRAINING[3:]:
        y = np.array([row[key] for row in rows])
        out[key] = {"n": len(rows), "runs": len(names)}
        for name, (a, b) in {"all": (x, y), "within": (centred(x, members), centred(y, members))}.items():

            def of(which, a=a, b=b):
                rows = np.concatenate([members[i] for i in which])
                return correlation(a[rows], b[rows])

            rng = np.random.default_rng(seed)
            out[key][name] = bootstrap.percentiles(of, len(names), rng, level=level, draws=draws)
    return out


def centred(values: np.ndarray, members: Sequence[np.ndarray]) -> np.ndarray:
    """Values less the mean of their run."""
    out = values.copy()
    for rows in members:
        out[rows] -= values[rows].mean()
    return out


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's; NaN where one of them does not vary."""
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 1e-12 else float("nan")


def dilutions(read: Sequence[dict[str, Any]], last: int, level: float, seed: int) -> dict[str, Any]:
    """The Gaussian model fitted to accuracy against the spread that budgets give, one point a budget and checkpoint.

    {set: {"fit", "best", "why"}}; sets: over all checkpoints, or the last ones only, where training no longer changes
    accuracy beside spread; by either entropy of answers, itself or as the variance that a Gaussian of it has. "why"
    says what could not be fitted or identified.
    """
    out: dict[str, Any] = {}
    for name, rows in {"all checkpoints": read, "last checkpoints": [r for r in read if r["step"] == last]}.items():
        cells = [(r["run"], c) for r in rows for w, of in r["ways"].items() if w != "majority" for c in of.values()]
        accuracy, runs = [float(np.mean(c["accuracy"])) for _, c in cells], np.array([run for run, _ in cells])
        for key, of in ((k, of) for k in ("surprise", "answer_entropy") for of in SPREADS):
            spread = SPREADS[of](np.array([float(np.mean(c[key])) for _, c in cells]))
            about = out[f"{name}, {of} {TITLES[key]}"] = {"spreads": [float(spread.min()), float(spread.max())]}
            try:
                about["fit"] = dataclasses.asdict(dilution.fit(spread, accuracy))
                best = dilution.interval(spread, accuracy, runs, np.random.default_rng(seed), level=level, draws=100)
                about |= {"best": dataclasses.asdict(best), "why": best.why}
            except InputError as e:
                about["why"] = str(e)
    return out
