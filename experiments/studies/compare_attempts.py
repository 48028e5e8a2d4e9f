"""The columns of experiments.compare for attempts: runs of train_rl, and of self_train, whose steps are rounds.

Per control, means over its seeds:

    pass@1, pass@k   of the last evaluation, unbiased; k is config.k, or all attempts where there are fewer
    peak, area       of the pass@1 curve of evals.jsonl: its maximum, which is high by the noise of an evaluation, and
                     its mean over steps (trapezoids)
    distinct         different right solutions a problem, in as many attempts as the last evaluation makes
    coverage         share of problems with a right attempt among those, for each level
    entropy          policy/entropy_sequence (nats a token) over the last tenth of the steps
    classes          as distinct, the order of steps forgotten (evaluate.per_problem), where config.more asks for it
    ms a step        time/rollout + time/learn, mean over the steps but the first, which compiles; cost is its ratio to
                     the baseline's, and means little unless the runs had the same cores and no others beside them

config.more has further ones, of all levels or one: pass@32 pass@1/level5 coverage classes distinct/level3; or a key of
metrics.jsonl, such as rollout/length: its mean over the last tenth of the steps, with intervals over seeds alone;
rollout/length:first is that over the first tenth, :rise the last less the first, :mean over all steps (of an entropy
the area under its curve, per step). `retries/no critique` and so on are what experiments.critique_scores has in a
folder `retries,<control>,seed=<k>`. –: some run has no such key. `after/0.1` is the pass@1 that came after
policy/entropy_sequence first was below 0.1 nats: what stopping there would have lost.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from entropy_rl import metrics
from entropy_rl.errors import InputError
from entropy_rl.evaluate import pass_at_k
from entropy_rl.tables import span, table
from experiments.lib import runs
from experiments.lib.runs import first, less

FILE, POSITIVE = "table", ("k",)
RETRIES = "retries,"  # before the name of a run: experiments.critique_scores of its policy


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: its last evaluation, problem by problem, and numbers of its course."""

    path: Path
    task: str
    step: int
    attempts: int
    problems: tuple[tuple[str, int], ...]  # (id, level)
    right: np.ndarray  # i64[P]
    distinct: np.ndarray  # i64[P]
    classes: np.ndarray | None  # i64[P]
    course: dict[str, float]
    curve: np.ndarray  # f64[2, steps], entropy and pass@1 at each step, straight between evaluations
    logged: dict[str, float]  # means over the last tenth of the steps, the first, their difference; retries
    made_by: dict[str, str]


def read(folder: str | os.PathLike | None) -> tuple[dict[str, dict[int, Run]], list[str]]:
    """({control: {seed: run}} of the finished runs, a line for each other folder), by name and seed.

    Raises:
      InputError: no folder, no run in it, the same seed twice, or a run whose files are not what they should be.
    """
    found, others = runs.find(folder)
    for arm in [arm for arm in found if arm.startswith(RETRIES)]:  # read with the run that they are of
        del found[arm]
    others = [name for name in others if not name.startswith(RETRIES)]
    notes = []
    if others:
        some = " ".join(others[:3]) + (f" and {len(others) - 3} others" if len(others) > 3 else "")
        notes.append(f"{some}: not compared, as the name is not <control>,seed=<k>")
    return runs.finished(found, lambda path, seed: read_run(path, seed, notes.append)), notes


def read_run(path: Path, seed: int, say: Callable[[str], None]) -> Run | None:
    """The run in the folder `path`; None where it is not finished, which `say` is told.

    Raises:
      InputError: its files are not those of a run with this seed.
    """
    if not ((path / runs.CONFIG).exists() and (path / metrics.METRICS).exists()):
        say(f"{path.name}: not started")
        return None
    about = runs.identify(path, seed)
    steps, wanted = about.get("rounds", about.get("steps")), about.get("eval.last.problems", 0)
    data = metrics.read(path, say=say)
    if not wanted:
        say(f"{path.name}: left out, as it ran without a last evaluation (config.eval.last.problems)")
        return None
    if len(data.problems) < wanted:
        evaluated = f"{len(data.problems)} of {wanted} problems of the last evaluation"
        say(f"{path.name}: not finished, {len(data.metrics)} of {steps} steps and {evaluated}")
        return None
    try:
        return _run(about, data)
    except KeyError as e:
        raise InputError(f"{path / metrics.PROBLEMS} has a row without {e}: repair or remove that run") from e
    except InputError as e:
        raise InputError(f"{path}: {e}") from e


def _run(about: runs.Run, data: metrics.Run) -> Run:
    rows = sorted(data.problems, key=lambda row: str(row["id"]))
    same = {(row["step"], row["task"], row["n"]) for row in rows}
    if len(same) > 1 or len({row["id"] for row in rows}) < len(rows):
        raise InputError(f"{metrics.PROBLEMS} is not one evaluation of different problems: repair or remove that run")
    ((step, task, attempts),) = same
    steps, curve = metrics.eval_series(data.evals, task, "pass@1")
    taken, entropy = metrics.series(data.metrics, "policy/entropy_sequence")
    seconds = sum(metrics.series(data.metrics, key)[1] for key in ("time/rollout", "time/learn"))
    course = {
        "peak": curve.max(),
        "area": np.trapezoid(curve, steps) / np.ptp(steps) if np.ptp(steps) else curve.mean(),
        "entropy": entropy[-tenth(entropy) :].mean(),
        "ms": 1e3 * (seconds[1:] if len(seconds) > 1 else seconds).mean(),
    }
    return Run(
        path=about.path,
        task=task,
        step=step,
        attempts=attempts,
        problems=tuple((row["id"], row["level"]) for row in rows),
        right=np.array([row["right"] for row in rows]),
        distinct=np.array([row["distinct"] for row in rows]),
        classes=np.array([row["classes"] for row in rows]) if "classes" in rows[0] else None,
        course={k: float(v) for k, v in course.items()},
        curve=np.stack([entropy, np.interp(taken, steps, curve)]),
        logged=logged(data.metrics) | retried(about.path),
        made_by=about.made_by,
    )


def tenth(values) -> int:
    """A tenth of so many values, 1 at least."""
    return max(1, len(values) // 10)


def logged(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means over the last tenth of the steps, the first (key:first), their difference (key:rise), and over all steps
    (key:mean), of the keys with a / in them, where they are there."""
    n = tenth(rows)
    last, start, whole = (
        {k: np.mean([r[k] for r in some if k in r]) for k in {k for r in some for k in r if "/" in k}}
        for some in (rows[-n:], rows[:n], rows)
    )
    both = last.keys() & start.keys()
    last |= {f"{k}:mean": mean for k, mean in whole.items()}
    return last | {f"{k}:first": start[k] for k in both} | {f"{k}:rise": last[k] - start[k] for k in both}


def retried(run: Path) -> dict[str, float]:
    """`retries/WAY`: share of failed attempts that came right, of the scores.json of the run's retries; else nothing.

    Raises:
      InputError: a damaged scores.json.
    """
    path = run.with_name(RETRIES + run.name) / "scores.json"
    if not path.exists():
        return {}
    try:
        return {f"retries/{way}": value[0] for way, value in json.loads(path.read_text())["repaired"].items()}
    except (ValueError, KeyError, TypeError, IndexError) as e:
        raise InputError(f"{path} has no repaired attempts: remove {path.parent}, or make it again") from e


def alike(found: dict[str, dict[int, Run]], baseline: str) -> None:
    """InputError unless all runs made the same number of attempts at the same problems after the same step."""
    first, *rest = [one for seeds in (found[baseline], *found.values()) for one in seeds.values()]
    for other in rest:
        for what, a, b in (
            ("task", first.task, other.task),
            ("last step", first.step, other.step),
            ("number of attempts a problem", first.attempts, other.attempts),
            ("number of problems", len(first.problems), len(other.problems)),
        ):
            if a != b:
                raise InputError(
                    f"{first.path} and {other.path} cannot be compared: their {what} is {a} and {b}; move one of them "
                    "elsewhere"
                )
        if alone := sorted(set(first.problems) - set(other.problems)):
            raise InputError(
                f"{first.path} and {other.path} cannot be compared: they have different problems, as only the first "
                f"has {alone[0][0]} of level {alone[0][1]}; move one of them elsewhere"
            )


def compare(found: dict[str, dict[int, Run]], config: ConfigDict) -> dict[str, Any]:
    """What table.json says, as plain Python numbers.

    Raises:
      InputError: runs of other problems, attempts or steps; a column of config.more that is none.
    """
    baseline, more = config.baseline, tuple(config.more)
    alike(found, baseline)
    one = next(iter(found[baseline].values()))
    k = min(config.k, one.attempts)
    levels = np.array([n for _, n in one.problems])
    there = np.unique(levels).tolist()
    hardest = f"coverage/level{there[-1]}"
    known = {key for seeds in found.values() for run in seeds.values() for key in run.logged}

    def cells(run: Run) -> dict[str, np.ndarray]:
        """Per problem, in their order."""
        values = {"pass@1": run.right / run.attempts, f"pass@{k}": pass_at_k(run.attempts, run.right, k)}
        values["distinct"] = run.distinct
        values |= {f"coverage/level{n}": (run.right > 0)[levels == n] for n in there}
        return values | {key: column(run, key, known) for key in more}

    values = {c: {s: cells(run) for s, run in seeds.items()} for c, seeds in found.items()}
    cost = np.mean([run.course["ms"] for run in found[baseline].values()])
    seeds = {c: [s for s in found[baseline] if s in found[c]] for c in found}  # those that a difference is over
    arms = sum(bool(seeds[c]) for c in found if c != baseline) if config.together else 1
    each = config.copy_and_resolve_references()  # of one interval; as many draws beyond its ends as without others
    each.update(level=1 - (1 - config.level) / max(arms, 1), draws=config.draws * max(arms, 1))
    controls = {}
    for control in first(found, baseline):
        by_seed = {
            s: {key: float(v.mean()) for key, v in of.items()} | found[control][s].course
            for s, of in values[control].items()
        }
        row = {key: float(np.mean([of[key] for of in by_seed.values()])) for key in next(iter(by_seed.values()))}
        row |= {"cost": float(row["ms"] / cost), "by_seed": {str(s): of for s, of in by_seed.items()}}
        if control != baseline and (both := seeds[control]):
            row["difference"] = {"seeds": both}
            for key in dict.fromkeys(("pass@1", f"pass@{k}", "distinct", hardest, *more)):
                there_too = all(np.isfinite(values[c][s][key]).all() for c in (control, baseline) for s in both)
                row["difference"][key] = less(values, control, baseline, key, each) if there_too else None
        controls[control] = {"seeds": list(found[control])} | row
    return {
        "baseline": baseline,
        "task": one.task,
        "step": one.step,
        "attempts": one.attempts,
        "k": k,
        "more": list(more),
        "problems": {str(n): int((levels == n).sum()) for n in there},  # of each level
        **{key: config[key] for key in ("level", "draws", "seed", "together")},
        "level_of_each": each.level,
        "controls": controls,
        **circumstances(found),
        "runs": str(config.runs),
        "notes": unpaired(found, baseline),
    }


def circumstances(found: dict[str, dict[int, Run]]) -> dict[str, list[str]]:
    """All commits and devices."""
    made_by = [run.made_by for seeds in found.values() for run in seeds.values()]
    return {key: sorted({of[key] for of in made_by}) for key in ("git_commit", "device")}


def column(run: Run, key: str, known: Collection[str] = ()) -> np.ndarray:
    """Values by problem, of all or of those of a level: pass@k, coverage, distinct or classes, and /level<n>; of a key
    that was logged, one value, NaN where other runs alone have it (`known`).

    Raises:
      InputError: another key, a k above the attempts, a level that is not there, or classes that the run has not.
    """
    if key in run.logged or key in known:
        return np.array([run.logged.get(key, np.nan)])
    if gate := re.fullmatch(r"after/(\d+\.?\d*)", key):
        return np.array([after(run.curve, float(gate[1]))])
    parts = re.fullmatch(r"(?:pass@([1-9]\d*)|(coverage|distinct|classes))(?:/level(\d+))?", key)
    if not parts:
        raise InputError(
            f"config.more has {key!r}: give pass@<k>, coverage, distinct or classes, and /level<n> or not, or a key of "
            f"{metrics.METRICS}, or after/<nats>"
        )
    k, name, level = parts.groups()
    if k:
        values = pass_at_k(run.attempts, run.right, int(k))
    else:
        values = {"coverage": run.right > 0, "distinct": run.distinct, "classes": run.classes}[name]
    if values is None:
        raise InputError(f"{run.path}: {metrics.PROBLEMS} has no classes: leave {key!r} out of config.more")
    of = np.array([level is None or n == int(level) for _, n in run.problems])
    if not of.any():
        raise InputError(f"config.more has {key!r}, and no problem has that level: leave it out")
    return values[of]


def after(curve: np.ndarray, gate: float) -> float:
    """The last pass@1 less that of the first step whose entropy is below `gate`, nats; 0 where none is: Run.curve."""
    entropy, right = curve
    below = np.flatnonzero(entropy < gate)
    return float(right[-1] - right[below[0]]) if len(below) else 0.0


def unpaired(found: dict[str, dict[int, Run]], baseline: str) -> list[str]:
    """Lines about the seeds that some controls, or the baseline, have and the other has not."""
    lacks: dict[str, list[str]] = {}
    for control, seeds in found.items():
        missing = ", ".join(str(s) for s in found[baseline] if s not in seeds)
        alone = ", ".join(str(s) for s in seeds if s not in found[baseline])
        if missing:
            lacks.setdefault(f"without a finished run of seed {missing}, which {baseline} has", []).append(control)
        if alone:
            lacks.setdefault(f"with a seed that {baseline} has not, {alone}", []).append(control)
    return [f"{', '.join(who)}: {what}; it is not in the differences" for what, who in lacks.items()]


def markdown(out: dict[str, Any]) -> str:
    """The two tables and what is to be known with them."""
    k, there = out["k"], list(out["problems"])
    plain = {"pass@1": "pass@1", "peak": "peak", "area": "area", f"pass@{k}": f"pass@{k}", "distinct": "distinct"}
    plain |= {f"coverage/level{n}": f"coverage, level {n}" for n in there}
    plain |= {key: key.replace("/", ", ").replace("level", "level ") for key in out["more"] if key not in plain}
    rows = []
    for control, row in out["controls"].items():
        numbers = [f"{row[key]:.3f}" if np.isfinite(row[key]) else "–" for key in plain]
        last = (f"{row['entropy']:.4f}", f"{row['ms']:.0f}", f"{row['cost']:.2f}")
        rows.append([control, len(row["seeds"]), *numbers, *last])
    lines = [table(["control", "seeds", *plain.values(), "entropy", "ms a step", "cost"], rows, "lr")]
    differences = {c: row["difference"] for c, row in out["controls"].items() if "difference" in row}
    count = 0
    if differences:
        keys = [key for key in next(iter(differences.values())) if key != "seeds"]
        lines += ["", f"Differences to {out['baseline']}, {out['level']:.0%} intervals:", ""]
        rows = []
        for control, row in differences.items():
            of = [row[key] for key in keys]
            seeds = ", ".join(map(str, row["seeds"])) + ("" if of[0]["seeds_resampled"] else " (problems only)")
            rows.append([control, seeds, *map(span, of)])
            count += len(of)
        lines.append(table(["control", "seeds", *(plain[key] for key in keys)], rows, "lr"))
    problems = ", ".join(f"{number} of level {n}" for n, number in out["problems"].items())
    lines += ["", f"{out['task']} after {out['step']} steps: {problems}, {out['attempts']} attempts at each."]
    if differences:
        draws = out["draws"] * (len(differences) if out["together"] else 1)
        how = f"each by itself: of these {count} about {count * (1 - out['level']):.0f} miss the truth."
        if out["together"]:
            how = f"together for the {len(differences)} of a column (Bonferroni, each at {out['level_of_each']:.2%})."
        lines.append(f"Intervals are over seeds and problems ({draws} draws, laws/paired.py), {how}")
        if any(not d["pass@1"]["seeds_resampled"] for d in differences.values()):
            lines.append("(problems only): a single seed, so the interval says nothing about other seeds.")
    lines.append(f"Runs of commit {', '.join(out['git_commit'])} on {', '.join(out['device'])}.")
    notes = [f"- {note}" for note in out["notes"]]
    return "\n".join([*lines, "", *notes] if notes else lines)
