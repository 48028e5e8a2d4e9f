"""Critiques of a policy's attempts, as a dataset: AutoMathCritique's three stages (Xi et al. 2024, arXiv:2411.16579).

    python -m experiments.make_critiques --config=configs/critique/make.py --config.init=runs/sft --workdir=runs/said

1. Flawed paths: rg1, sampled; rg2, a right path resampled from a random step on at a raised temperature; rg3, a mistake
   of a known kind planted at a random step, from which the policy goes on.
2. Critiques by an annotator: the solver (critique/oracle.py), whose solution is the refinement that is taught.
3. The soft filter, with `--config.filter.tries=N`: kept if at least `filter.least` of N refinements by the policy of
   `config.init`, which must have been taught to refine, come right. (The paper's N and k are not published.)

Writes `workdir/critiques/1.0.0` (TFDS, array_record) with the counts of each stage, and counts.json.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl import learner, sharding
from entropy_rl.critique import dataset, flaws, oracle
from entropy_rl.critique.sentences import LEVELS, ask_refinement, limit, parse, write
from entropy_rl.methods.collect import attempt
from entropy_rl.methods.refine import respond
from entropy_rl.sampling import warp
from entropy_rl.tasks.base import Problem
from experiments import build, checks, launch


def run(config: ConfigDict, workdir: str) -> dict[str, int]:
    """Writes the dataset and gives its counts.

    Raises:
      InputError: a bad value, or a policy that is not there.
    """
    checks.positive(config, "problems", "samples", "resample.temperature", "rollout.slots", "rollout.temperature")
    checks.require(config, "a number of 0 or more", lambda x: x >= 0, "resample.paths", "planted", "filter.tries")
    checks.seed(config)
    checks.one_of(config, "filter.level", LEVELS)
    task = build.task(config, split="train")
    model, mesh = build.model(config, task.tokenizer.vocab_size), build.mesh(config)
    tx, _ = build.optimizer(config, 1)
    state = learner.init_state(model, tx, mesh, jax.random.key(config.seed))
    params = build.initial_params(config.init, state) if config.init is not None else state.params
    workdir = launch.open_workdir(config, workdir)

    rng, keys = np.random.default_rng(config.seed), iter(jax.random.split(jax.random.key(config.seed), 8))
    how = {"slots": config.rollout.slots, "sharding": sharding.rows(mesh)}
    problems = [task[i] for i in range(config.problems)]
    found: list[tuple[Problem, str, str]] = []  # problem, attempt, stage
    counts: collections.Counter[str] = collections.Counter()

    groups = attempt(
        *(model, params, task, problems, next(keys)),
        samples=config.samples,
        max_new=task.response_length,
        prompt_length=task.prompt_length,
        warp=partial(warp.temperature, value=config.rollout.temperature),
        **how,
    )
    found += [(g.problem, text, "rg1") for g in groups for text in g.texts]

    # a path's first steps, from which the policy goes on: (stage, problem, prefix)
    starts: list[tuple[str, Problem, str]] = []
    for g in groups:
        right = [t for t, r in zip(g.texts, g.rewards) if r >= 1]
        for text in right[: config.resample.paths]:
            steps = text.split(" ; ")
            starts.append(("rg2", g.problem, " ; ".join(steps[: rng.integers(len(steps))])))
    for problem in problems[: config.planted]:
        at = int(rng.integers(1, len(problem.answer.split(" ; ")) + 1))
        kind = flaws.KINDS[rng.integers(len(flaws.KINDS))]
        text = flaws.plant(problem.prompt, problem.answer, at, kind, rng)
        if text is not None:
            starts.append(("rg3", problem, text))
    for stage, temperature in (("rg2", config.resample.temperature), ("rg3", config.rollout.temperature)):
        some = [(p, prefix + " ;" * bool(prefix)) for s, p, prefix in starts if s == stage]
        texts, _ = respond(
            *(model, params, task.tokenizer, [f"{p.prompt} {prefix}" for p, prefix in some], next(keys)),
            max_new=task.response_length,
            prompt_length=task.prompt_length + task.response_length,
            warp=partial(warp.temperature, value=temperature),
            **how,
        )
        for (p, prefix), text in zip(some, texts):
            whole = " ".join(f"{prefix} {text}".split()).removesuffix(" ;")
            if len(whole.split()) < task.response_length:
                found.append((p, whole, stage))
            else:
                counts[f"{stage}/too_long"] += 1

    seen, rows = set(), []
    for problem, text, stage in found:
        counts[f"{stage}/attempts"] += 1
        if (problem.id, text) in seen:
            continue
        seen.add((problem.id, text))
        said = oracle.critique(problem.prompt, text, rng)
        counts[f"{stage}/{said.reason or 'right'}"] += 1
        rows.append(
            dataset.Row(
                problem.id, problem.level, problem.prompt, text, write(said), text if said.right else said.answer, stage
            )
        )
    if config.filter.tries:
        rows = soft_filter(config, model, params, task, rows, next(keys), counts, **how)
    counts["kept"] = len(rows)
    dataset.write(workdir, rows, about=__doc__.splitlines()[0], counts=counts)
    (Path(workdir) / "counts.json").write_text(json.dumps(dict(sorted(counts.items())), indent=1) + "\n")
    print("\n".join(f"{k:24} {v}" for k, v in sorted(counts.items())))
    return dict(counts)


def soft_filter(config, model, params, task, rows, key, counts, **how) -> list[dataset.Row]:
    """Rows of right attempts, and those whose critique led to at least `filter.least` right refinements of `tries`."""
    wrong = [i for i, row in enumerate(rows) if not parse(row.critique).right]
    prompts = [
        ask_refinement(r.question, r.attempt, write(limit(parse(r.critique), config.filter.level)))
        for r in (rows[i] for i in wrong)
        for _ in range(config.filter.tries)
    ]
    texts, _ = respond(
        *(model, params, task.tokenizer, prompts, key), max_new=task.response_length, prompt_length=None, **how
    )
    wins = collections.Counter()
    for n, text in enumerate(texts):
        i = wrong[n // config.filter.tries]
        problem = Problem(rows[i].question, "", rows[i].id, rows[i].level)
        wins[i] += task.verify(problem, text) >= 1
    kept, tried = [], set(wrong)
    for i, row in enumerate(rows):
        if i in tried:
            row = dataclasses.replace(row, wins=wins[i], tries=config.filter.tries)
        if row.tries and row.wins < config.filter.least:
            counts[f"{row.stage}/filtered"] += 1
        else:
            kept.append(row)
    return kept


if __name__ == "__main__":
    launch.main(run)
