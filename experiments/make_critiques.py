"""Critiques of a policy's attempts, as a dataset: AutoMathCritique's three stages (Xi et al. 2024, arXiv:2411.16579).

    python -m experiments.make_critiques --config=configs/critique/make.py --config.init=runs/sft --workdir=runs/said

1. Flawed paths: rg1, sampled; rg2, a right path resampled from a random step on at a raised temperature; rg3, a mistake
   of a known kind planted at a random step, from which the policy goes on. `config.generators` are further policies
   whose attempts are taken too.
2. Critiques by `config.annotators`: "oracle", the solver (critique/oracle.py, or the text task's own); "arithmetic",
   false equations (critique/arithmetic.py); "self", the policy of `config.init`; the workdir of a critique model, or a
   Hugging Face folder. A model's critique is kept if it can be read and its verdict is the verifier's, as
   in arXiv:2506.03106. The refinement that is taught is the solution that the solver tells, which keeps to its critique
   (in words where worked solutions are steps alone), else the task's worked solution, or a right attempt at the same
   problem where there is none.
3. The soft filter, with `--config.filter.tries=N`: kept if at least `filter.least` of N refinements by the policy of
   `config.init`, which must have been taught to refine, come right. (The paper's N and k are not published.)

Writes `workdir/critiques/1.1.0` (TFDS, array_record) with the counts of each stage, and counts.json.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.data.problem import Problem
from entropy_rl.errors import InputError
from entropy_rl.methods.critique import arithmetic, chat, critics, dataset, flaws, oracle, refine
from entropy_rl.methods.critique.language import CLOSED, Attempt
from entropy_rl.methods.critique.sentences import LEVELS
from entropy_rl.sampling import warp
from entropy_rl.training.collect import Group, attempt, verify_all
from experiments.lib import build, checks, launch, workdirs
from experiments.lib.policies import Policy, load_policy
from experiments.rl import conversation

KNOWING = ("oracle", "arithmetic")  # annotators that are no models
Flawed = tuple[Problem, str, str]  # problem, attempt, stage


def run(config: ConfigDict, workdir: str) -> dict[str, int]:
    """Writes the dataset and gives its counts.

    Raises:
      InputError: a bad value, or a policy or critique model that is not there.
    """
    maker = Maker(config)
    workdir = workdirs.open_workdir(config, workdir, ignore=("optimizer",))
    rows = maker.rows()
    counts = maker.counts
    counts["kept"] = len(rows)
    dataset.write(workdir, rows, about=__doc__.splitlines()[0], counts=counts)
    (Path(workdir) / "counts.json").write_text(json.dumps(dict(sorted(counts.items())), indent=1) + "\n")
    print("\n".join(f"{k:24} {v}" for k, v in sorted(counts.items())))
    return dict(counts)


class Maker:
    """Policies, annotators and what was counted; making it finds what is wrong with the config."""

    def __init__(self, config: ConfigDict):
        checks.positive(config, "problems", "samples", "resample.temperature", "rollout.slots", "rollout.temperature")
        checks.not_negative(config, "first", "most", "resample.paths", "planted", "filter.tries")
        checks.seed(config)
        checks.one_of(config, "filter.level", LEVELS)
        if not config.annotators:
            raise InputError("config.annotators is empty: name at least one, such as 'oracle'")
        self.counts: collections.Counter[str] = collections.Counter()
        self._config, self._task = config, build.task(config, split="train")
        self._language = language = conversation.speak(config, self._task)
        self._mark = " ;" if language is CLOSED else "\n"  # between steps
        mesh = build.mesh(config)
        load = partial(load_policy, config, mesh=mesh, vocab_size=self._task.tokenizer.vocab_size)
        self._policy = load(config.init)
        self._policies = [self._policy, *(load(path, key="generators") for path in config.generators)]
        self._annotators: dict[str, Any] = {}
        for name in config.annotators:
            if name in KNOWING:
                if name == "oracle" and not language.tells_all():
                    raise InputError(f"task {config.task.name!r} has no oracle: give annotators=('arithmetic',)")
                self._annotators[name] = None
                continue
            judge, spoken = self._policy, language
            if name != "self":
                judge, spoken = conversation.load_critic(config, self._task, mesh, name, language, "annotators")
            ask = conversation.critique_sampler(config, self._task, judge[0], mesh, language=spoken)
            self._annotators[name] = partial(ask, judge[1])
        self._how = {"slots": config.rollout.slots, "mesh": mesh}
        self._rng, self._key = np.random.default_rng(config.seed), jax.random.key(config.seed)

    def rows(self) -> list[dataset.Row]:
        """All three stages, and of what they give at most `config.most` rows, drawn at random."""
        c = self._config
        problems = [self._task[(c.first + i) % len(self._task)] for i in range(c.problems)]
        self._problems = {p.id: p for p in problems}
        seen: dict[tuple[str, str], Flawed] = {}
        for policy in self._policies:
            for found in self._flawed(policy, problems):
                self.counts[f"{found[2]}/attempts"] += 1
                seen.setdefault((found[0].id, found[1]), found)
        rows = self._annotate(list(seen.values()))
        if c.filter.tries:
            rows = self._soft_filter(rows)
        if 0 < c.most < len(rows):
            rows = [rows[i] for i in np.sort(self._rng.permutation(len(rows))[: c.most])]
        return rows

    def _flawed(self, policy: Policy, problems: list[Problem]) -> Iterator[Flawed]:
        """Stage 1 with one policy."""
        c, task = self._config, self._task
        how = build.sampling(c, task, self._how["mesh"])
        groups = attempt(*policy, task, problems, self._next(), samples=c.samples, **how)
        yield from ((g.problem, text, "rg1") for g in groups for text in g.texts)
        starts = [*self._cut(groups), *self._planted(problems[: c.planted])]
        for stage, temperature in (("rg2", c.resample.temperature), ("rg3", c.rollout.temperature)):
            some = [(p, prefix + self._mark * bool(prefix)) for s, p, prefix in starts if s == stage]
            space = " " if self._language is CLOSED else ""
            prompts = [f"{p.prompt}{space}{prefix}" for p, prefix in some]
            how |= {"prompt_length": task.prompt_length + task.response_length}
            how |= {"warp": partial(warp.temperature, value=temperature)}
            texts, _ = refine.respond(*policy, task.tokenizer, prompts, self._next(), **how)
            for (p, prefix), text in zip(some, texts):
                whole = " ".join(f"{prefix} {text}".split()).removesuffix(" ;") if space else prefix + text
                if self._language.size(whole) < task.response_length:
                    yield p, whole, stage
                else:
                    self.counts[f"{stage}/too_long"] += 1

    def _cut(self, groups: list[Group]) -> Iterator[tuple[str, Problem, str]]:
        """(stage, problem, first steps) of right attempts, from which the policy goes on."""
        for g in groups:
            right = [t for t, r in zip(g.texts, g.rewards) if r >= 1]
            for text in right[: self._config.resample.paths]:
                between = " ; " if self._language is CLOSED else "\n"
                steps = text.split(between)
                yield "rg2", g.problem, between.join(steps[: self._rng.integers(len(steps))])

    def _planted(self, problems: list[Problem]) -> Iterator[tuple[str, Problem, str]]:
        """(stage, problem, steps of which the last is wrong), where such a mistake is possible."""
        for problem in problems:
            if self._language is not CLOSED:
                if (text := self._slip(problem.plain.demonstration)) is not None:
                    yield "rg3", problem, text
                continue
            at = int(self._rng.integers(1, len(problem.answer.split(" ; ")) + 1))
            kind = flaws.KINDS[self._rng.integers(len(flaws.KINDS))]
            text = flaws.plant(problem.prompt, problem.answer, at, kind, self._rng)
            if text is not None:
                yield "rg3", problem, text

    def _slip(self, solution: str) -> str | None:
        """The lines of a worked solution up to one with an equation, whose result is made false; None without one."""
        lines = solution.splitlines()
        for i in self._rng.permutation(len(lines)):
            off = int(self._rng.integers(1, 11)) * (1 if self._rng.random() < 0.5 else -1)
            if (line := arithmetic.plant(lines[i], off)) is not None:
                return "\n".join([*lines[:i], line])
        return None

    def _annotate(self, found: list[Flawed]) -> list[dataset.Row]:
        """Stage 2: a row for each attempt and annotator whose critique is usable."""
        language = self._language
        if language is CLOSED:
            truths = [oracle.critique(p.prompt, text, self._rng) for p, text, _ in found]
            right = [truth.right for truth in truths]
        else:
            right = [r >= 1 for r in verify_all(self._task, [(p, text) for p, text, _ in found])]
        tried = [Attempt(p, text, r) for (p, text, _), r in zip(found, right)]
        for (_, _, stage), t, i in zip(found, tried, range(len(found))):
            kind = (truths[i].reason if language is CLOSED else "wrong") if not t.right else "right"
            self.counts[f"{stage}/{kind or 'right'}"] += 1
        solved = {t.problem.id: t.text for t in tried if t.right}  # where the task has no worked solution
        rows = []
        for name, ask in self._annotators.items():
            if name == "arithmetic":
                said = [language.arithmetic(t) for t in tried]
            elif name == "oracle":
                said = truths if language is CLOSED else [language.oracle(t, self._rng) for t in tried]
            else:
                said = ask(tried, self._next())[0]
            for i, ((p, text, stage), t, c) in enumerate(zip(found, tried, said)):
                if not critics.usable(c, t):
                    self.counts[f"{name}/unusable"] += 1
                    continue
                known = text if t.right else truths[i].answer if language is CLOSED else p.plain.demonstration
                known = known or solved.get(p.id, "")
                told = [] if language is CLOSED else chat.solution(c)
                if told and len(told) == len(known.splitlines()):  # steps alone: what the critique says is followed
                    known = "\n".join(told)
                about = (p.id, p.level, language.question(p), text, language.say(c), known, stage)
                rows.append(dataset.Row(*about, annotator=name))
        return rows

    def _soft_filter(self, rows: list[dataset.Row]) -> list[dataset.Row]:
        """Stage 3: rows of right attempts, and those whose critique led to enough right refinements."""
        c, task, language = self._config, self._task, self._language
        found = [language.read(row.critique) for row in rows]
        wrong = [i for i in range(len(rows)) if not found[i].right]
        tried = [Attempt(self._problems[rows[i].id], rows[i].attempt, False) for i in wrong]
        told = [language.write(language.limit(found[i], c.filter.level)) for i in wrong]
        once = [language.ask_refinement(t, said) for t, said in zip(tried, told)]
        prompts = [prompt for prompt in once for _ in range(c.filter.tries)]
        texts, _ = refine.respond(
            *(*self._policy, task.tokenizer, prompts, self._next()),
            max_new=task.response_length,
            prompt_length=None,
            **self._how,
        )
        wins = collections.Counter()
        for n, text in enumerate(texts):
            i = wrong[n // c.filter.tries]
            wins[i] += task.verify(self._problems[rows[i].id], text) >= 1
        kept, tried = [], set(wrong)
        for i, row in enumerate(rows):
            if i in tried:
                row = dataclasses.replace(row, wins=wins[i], tries=c.filter.tries)
            if row.tries and row.wins < c.filter.least:
                self.counts[f"{row.stage}/filtered"] += 1
            else:
                kept.append(row)
        return kept

    def _next(self) -> jax.Array:
        self._key, key = jax.random.split(self._key)
        return key


if __name__ == "__main__":
    launch.main(run)
