"""Does 20 % generalise? The table of a share sweep, level by level, and where the forks of its policies are.

    python -m experiments.forking --config=configs/forking.py --config.runs=FOLDER --workdir=OUT

FOLDER is the --workdir of a part of configs/sweeps/forking.py: runs of train_rl on one task, in folders
`share=0.2,seed=0`, with a last evaluation and checkpoints along the way. Writes OUT/forking.json and OUT/forking.md.

    table      per arm, over all problems and over those of each level: pass@1 and pass@k of the last evaluation, and
               their differences to the baseline, paired by seed and problem (laws/paired.py); entropy over the last
               tenth of the steps, paired by seed
    policies   per arm and checkpoint, and for the start as step 0, means over seeds of, on responses of that policy:
      overlap    of its own forks with the start's, both policies reading the same tokens (arXiv:2506.01939, 2.2): of
                 the start's ceil(x n) tokens of highest entropy the part that is among the policy's, for shares x. Two
                 draws that know nothing of each other overlap in x
      mass       the part of all entropy that is in the top x of tokens
      effective  (sum H)^2 / (n sum H^2): 1 where all tokens are equally uncertain, 1 / n where one is
      levels     per level, of the forks at share `top` of the whole sample: the part of its tokens that are forks, of
                 its decisions and of its format (task.decisions, where known), and by place in the response

What it leaves out: the paper's overlaps are of a long run of a large model on its evaluation problems; how it drew the
responses is not said there. Forks are decided over the whole sample here, not batch by batch.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl import files, tables
from entropy_rl.errors import InputError
from entropy_rl.evaluate import attempt_all, pass_at_k
from entropy_rl.laws import paired
from entropy_rl.losses.weights import top_entropy
from entropy_rl.models.scoring import token_scores
from entropy_rl.training import checkpoints, collect
from entropy_rl.training.rollouts import Rollout
from experiments.lib import build, checks, launch, runs, workdirs
from experiments.lib.evaluation import BATCH
from experiments.lib.policies import load_policy
from experiments.studies import compare_attempts as compare

FILE = "forking"


def run(config: ConfigDict, workdir: str | os.PathLike) -> dict[str, Any]:
    """Compares, measures checkpoints, writes both files and prints the latter; returns what is in forking.json.

    Raises:
      InputError: no runs, or such as cannot be compared (experiments/compare.py); a value out of range.
    """
    checks.positive(config, "k", "problems", "samples")
    checks.seed(config)
    shares = tuple(config.shares)
    for share in (*shares, config.top):
        if not 1e-4 <= share <= 1:
            raise InputError(f"config.shares={shares}, config.top={config.top}: give shares from 0.0001 to 1")
    found, notes = compare.read(config.runs)
    if config.baseline not in found:
        raise InputError(f"{config.runs} has no finished run of {config.baseline!r}: of {', '.join(found) or 'none'}")
    compare.alike(found, config.baseline)
    about = {"seed": config.seed, "level": config.level, "draws": config.draws}
    result = {"baseline": config.baseline, "top": config.top, "shares": shares}
    result["table"] = table(found, config.baseline, k=config.k, **about)
    how = {key: config[key] for key in ("split", "problems", "samples", "top", "seed")} | {"shares": shares}
    starts: dict[Any, dict[str, Any]] = {}  # which runs of one seed share

    def measure(path: Path, step: int) -> dict[str, Any]:
        if step:
            return policy(path, step, **how)
        of = runs.identify(path)
        start = of.get("init"), of.get("model.path"), of.seed
        if start not in starts:
            starts[start] = policy(path, 0, **how)
        return starts[start]

    result["policies"] = {arm: policies([one.path for one in seeds.values()], measure) for arm, seeds in found.items()}
    result |= {"notes": notes, **compare.circumstances(found)}

    workdirs.report(Path(workdir), FILE, files.rounded(result, 5), markdown(result))
    return result


def table(
    found: dict[str, dict[int, compare.Run]], baseline: str, *, k: int, seed: int, level: float, draws: int
) -> dict[str, Any]:
    """{arm: {"all" or a level: {metric: {"mean", "difference"}}}}; `seed`, `level`, `draws` are of the intervals."""
    first = next(iter(found[baseline].values()))
    levels = np.array([n for _, n in first.problems])
    k = min(k, first.attempts)
    groups = {"all": np.ones(len(levels), bool)}
    if len(set(levels.tolist())) > 1:
        groups |= {f"level{n}": levels == n for n in np.unique(levels)}

    def cells(one: compare.Run) -> dict[str, np.ndarray]:
        return {"pass@1": one.right / one.attempts, f"pass@{k}": pass_at_k(one.attempts, one.right, k)}

    def entry(x: dict[int, np.ndarray], y: dict[int, np.ndarray]) -> dict[str, Any]:
        """Of values by seed, an arm's and the baseline's."""
        out: dict[str, Any] = {"mean": float(np.mean([v.mean() for v in x.values()]))}
        if x is not y and (d := paired.over_seeds(x, y, np.random.default_rng(seed), level=level, draws=draws)):
            out["difference"] = d
        return out

    values = {arm: {s: cells(one) for s, one in seeds.items()} for arm, seeds in found.items()}
    entropy = {arm: {s: np.array([one.course["entropy"]]) for s, one in seeds.items()} for arm, seeds in found.items()}
    out: dict[str, Any] = {}
    for arm in runs.first(found, baseline):
        out[arm] = {}
        for group, select in groups.items():
            by = {
                m: {a: {s: v[m][select] for s, v in values[a].items()} for a in (arm, baseline)}
                for m in ("pass@1", f"pass@{k}")
            }
            out[arm][group] = {m: entry(of[arm], of[baseline]) for m, of in by.items()}
        out[arm]["all"]["entropy"] = entry(entropy[arm], entropy[baseline])
    return out


def policies(paths: list[Path], measure) -> dict[str, dict[str, Any]]:
    """{step: means over the runs of what `measure(path, step)` says}, of the checkpoints that all runs have."""
    there = sorted(set.intersection(*(set(checkpoints.steps(path)) for path in paths))) if paths else []
    if there and all(began(runs.identify(path).config) for path in paths):
        there = [0, *there]
    return {str(step): mean([measure(path, step) for path in paths]) for step in there}


def began(config: dict[str, Any]) -> bool:
    """Whether a run started from another's policy or from a folder's, and not from random weights."""
    return bool(config.get("init") or config["model"].get("path"))


def policy(
    path: Path,
    step: int,
    *,
    split: str,
    problems: int,
    samples: int,
    shares: tuple[float, ...],
    top: float,
    seed: int,
) -> dict[str, Any]:
    """What a checkpoint's forks are, on responses of its own; step 0 is the policy that the run started from."""
    config = ConfigDict(runs.identify(path).config)
    task = build.task(config, split=split, size=problems)
    mesh, key = build.mesh(config), jax.random.key(seed)
    load = functools.partial(load_policy, config, mesh=mesh, vocab_size=task.tokenizer.vocab_size)
    start = load(config.init or None)
    model, params = load(path, step=step, key="runs") if step else start
    noise = jax.random.fold_in(key, config.seed)  # another one for each run
    groups = attempt_all(model, params, task, noise, samples=samples, **build.sampling(config, task, mesh))
    length = task.prompt_length + task.response_length
    rollout = collect.to_rollout(groups, length=length, pad_id=task.tokenizer.pad_id)
    base = scores(*start, rollout, BATCH * samples) if step else rollout.entropy
    decisions = task.decisions(rollout.tokens, rollout.mask)
    level = np.repeat([g.problem.level for g in groups], samples)
    return describe(rollout.mask, rollout.entropy, base, decisions, level, shares, top)


def scores(model, params, rollout: Rollout, rows: int) -> np.ndarray:
    """f32[B, T] entropies of another policy at the same tokens, `rows` at a time; 0 outside the mask."""
    score, out = _score(model), np.zeros_like(rollout.entropy)
    for at in range(0, len(out), rows):
        part = slice(at, at + rows)
        out[part] = score(params, rollout.tokens[part], rollout.mask[part])["entropy"]
    return np.where(rollout.mask, out, 0.0)


@functools.lru_cache(maxsize=4)
def _score(model):
    return jax.jit(token_scores(model))  # compiled once, however many policies are measured


def forks(mask: np.ndarray, h: np.ndarray, share: float) -> np.ndarray:
    """bool[B, T]: the tokens that the weight `top_entropy` learns from."""
    return np.asarray(top_entropy(mask, entropy=h, frac=share)) > 0


def describe(
    mask: np.ndarray,
    h: np.ndarray,
    base: np.ndarray,
    decisions: np.ndarray | None,
    level: np.ndarray,
    shares: tuple[float, ...],
    top: float,
) -> dict[str, Any]:
    """What `policies` of forking.json says of one policy.

    Args:
      mask: bool[B, T], at least one token.
      h, base: f32[B, T], entropies of the policy and of the start at these tokens.
      decisions: bool[B, T], or None.
      level: i[B].
      shares, top: of the tokens.
    """
    own = {x: forks(mask, h, x) for x in {*shares, top}}
    fork, place = own[top], np.where(mask, np.cumsum(mask, axis=1) - 1, -1)
    total = max(float(h[mask].sum()), 1e-12)
    of_level = {}
    for n in np.unique(level):
        here = mask & (level == n)[:, None]
        row = {"forks": fork[here].mean(), "entropy": h[here].mean()}
        if decisions is not None:
            for name, kind in (("decision", here & decisions), ("format", here & ~decisions)):
                if kind.any():
                    row[name] = fork[kind].mean()
        row["places"] = [fork[here & (place == i)].mean() for i in range(place[here].max() + 1)]
        of_level[str(n)] = row
    return {
        "entropy": h[mask].mean(),
        "overlap": {f"{x:g}": (own[x] & forks(mask, base, x)).sum() / own[x].sum() for x in shares},
        "mass": {f"{x:g}": h[own[x]].sum() / total for x in shares},
        "effective": total**2 / (mask.sum() * max(float((h[mask].astype(float) ** 2).sum()), 1e-24)),
        "levels": of_level,
    }


def mean(found: list[Any]) -> Any:
    """Means, leaf by leaf, over runs; a list of places is as long as the shortest."""
    if isinstance(found[0], dict):
        return {k: mean([f[k] for f in found]) for k in found[0] if all(k in f for f in found)}
    if isinstance(found[0], list):
        return [mean(list(at)) for at in zip(*found)]
    return float(np.mean(found))


def markdown(result: dict[str, Any]) -> str:
    """The tables of forking.json, for people."""
    rows = result["table"]
    metrics = list(next(iter(rows.values()))["all"])
    cells = [[arm, *(_cell(of["all"][m]) for m in metrics)] for arm, of in rows.items()]
    lines = [tables.table(["arm", *metrics], cells, "lr")]
    levels = [group for group in next(iter(rows.values())) if group != "all"]
    for metric in metrics[:2] if levels else ():
        cells = [[arm, *(_cell(of[n][metric]) for n in levels)] for arm, of in rows.items()]
        lines += ["", tables.table([metric, *levels], cells, "lr")]
    shares = [f"{x:g}" for x in result["shares"]]
    heads = ["entropy", *(f"overlap {x}" for x in shares), *(f"mass {x}" for x in shares), "effective"]
    cells = []
    for arm, steps in result["policies"].items():
        for step, of in steps.items():
            numbers = [of["entropy"], *(of["overlap"][x] for x in shares), *(of["mass"][x] for x in shares)]
            cells.append([arm, step, *(f"{x:.3f}" for x in (*numbers, of["effective"]))])
    lines += ["", tables.table(["policy", "step", *heads], cells, "lr")]
    lines += ["", f"Runs of commit {', '.join(result['git_commit'])} on {', '.join(result['device'])}."]
    return "\n".join([*lines, "", *(f"- {note}" for note in result["notes"])])


def _cell(of: dict[str, Any]) -> str:
    d = of.get("difference")
    return f"{of['mean']:.3f}" + (f" ({tables.span(d)})" if d else "")


if __name__ == "__main__":
    launch.main(run)
