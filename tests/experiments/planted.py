"""Runs that are planted on a claim or off it, and what becomes of them."""

import json

import numpy as np

from entropy_rl import files
from experiments.claims import arms, data
from experiments.claims.verdicts import How

HOW = How(draws=200)


def config(**changes):
    """Of a plain RL run; `critique__source="oracle"` sets what is nested."""
    tree = {
        "seed": 0,
        "task": {"name": "toy", "args": {}},
        "model": {"name": "test", "args": {}},
        "steps": 100,
        "rollout": {"prompts": 8},
        "loss": {"name": "ppo", "args": {"clip_low": 0.2, "clip_high": 0.2}},
        "advantage": {"name": "grpo", "args": {}},
        "weight": {"name": "token_mean", "args": {}},
        "entropy_coef": {"name": "constant", "args": {"value": 0.0}},
        "kl": {"coef": {"name": "constant", "args": {"value": 0.0}}},
        "critique": {"source": "off", "level": "reason"},
        "init": "runs/start",
    }
    for key, value in changes.items():
        part = tree
        *above, name = key.split("__")
        for step in above:
            part = part.setdefault(step, {})
        part[name] = value
    return tree


def plant(path, settings, entropy=(), scores=(), solved=(), rows=(), evals=()):
    """A run: entropy of every step, pass@1 spread evenly over the steps, right attempts of 8 at evaluations."""
    path.mkdir(parents=True)
    about = {"config": settings, "git_commit": "abc1234", "device": {"kind": "cpu", "count": 1}}
    (path / "config.json").write_text(json.dumps(about))
    records = [{"step": i, "policy/entropy_sequence": float(h)} for i, h in enumerate(entropy)]
    files.rewrite(path / "metrics.jsonl", records + list(rows))
    places = np.linspace(0, max(len(entropy) - 1, 1), len(scores)).round().astype(int).tolist()
    scored = [
        {"step": s, "task": "toy", "metric": "pass@1", "value": float(r), "n": 64} for s, r in zip(places, scores)
    ]
    more = [{"step": 99, "task": "toy", "metric": key, "value": value, "n": 64} for key, value in evals]
    for step, right in solved:
        scored.append({"step": step, "task": "toy", "metric": "pass@1", "value": np.mean(right) / 8, "n": len(right)})
    files.rewrite(path / "evals.jsonl", scored + more)
    if solved:
        taken = [{"step": s, "task": "toy", "n": 8, "right": list(map(int, right))} for s, right in solved]
        files.rewrite(path / "solved.jsonl", taken)
    return path


def verdict_on(claim, folder):
    found = data.read([folder])
    return claim.test(found, arms.studies(found.runs), HOW)


def outcomes(verdict):
    return {test.what: test.outcome for test in verdict.criteria}


def curves(folder, of_H, seeds=3, noise=0.003, H=None):
    """Runs of 60 evaluations whose score is `of_H` of the entropy."""
    H = 1.6 * np.exp(-np.linspace(0, 4, 300)) + 0.02 if H is None else H
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        at = np.linspace(0, 299, 60).round().astype(int)
        plant(folder / f"seed{seed}", config(seed=seed), H, of_H(H)[at] + rng.normal(0, noise, 60))
    return folder


def study(folder, gains, seeds=3, problems=40, entropy=None, **settings):
    """A plain arm and one of `settings`, before and after: right attempts of 8, more by `gains` = (plain, other)."""
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        start = rng.integers(0, 5, problems)
        for name, gain, of, H in (("p", gains[0], {}, 0.1), ("q", gains[1], settings, entropy or 0.1)):
            end = np.clip(start + gain, 0, 8)
            solved = [(0, start)] + [(99, end)]
            many = [("distinct_count", 1.0 + 2 * H), ("answer_entropy", H)]
            plant(folder / f"{name},seed={seed}", config(seed=seed, **of), [H] * 20, solved=solved, evals=many)
    return folder


def cell(value, half):
    return {"value": value, "low": value - half, "high": value + half, "seeds": 3}
