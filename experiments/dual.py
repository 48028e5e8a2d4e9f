"""Collapse in training and variance at test time, both measured on the same checkpoints.

    python -m experiments.dual --config=configs/dual.py --config.runs=runs/dual --config.init=runs/dual/start \\
        --workdir=runs/dual-table

"Training-time entropy collapse and test-time variance inflation are dual failures" is a note that measured neither;
arXiv:2506.04210, its test side, has no entropy of training, and arXiv:2505.22617, its training side, no budget at test
time. For each checkpoint of each run `<control>,seed=<k>` below config.runs here is the token entropy of the policy in
training (metrics.jsonl), and what thinking budgets do to its answers (methods/budget/budget.py):

    plain     C responses to each problem, the chains.
    wait      every chain is made to go on with config.word, R rounds, its whole trace before it.
    retry     the same with only its last response before it: the refinement prompt where the word is `again`.
    repeat    the same with its first response R times before it: as long, without new thought.
    exact     a thought of exactly N tokens, the word, the answer.
    majority  a vote of n of the chains, without further thought.

The policy of config.init is step 0 of all runs, and without config.runs the only one. Noise and problems are the same
for all. Nothing is trained. A checkpoint that is measured (WORKDIR/points) is not measured again, so the same command
goes on, and takes in runs that have come meanwhile. Writes dual.json (experiments/studies/dual_matrix.py) and dual.md
(experiments/studies/dual_page.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl import files, metrics
from entropy_rl.errors import InputError
from entropy_rl.evaluate import attempt_all, pass_at_k
from entropy_rl.methods.budget import budget
from entropy_rl.methods.critique import test_time
from entropy_rl.models.transformer import Transformer
from entropy_rl.sampling.engine import Completion
from entropy_rl.training import checkpoints
from entropy_rl.training.collect import verify_completions
from experiments.lib import build, checks, launch, runs, workdirs
from experiments.lib.policies import load_policy
from experiments.studies import dual_matrix, dual_page

START = "start"  # the name of the policy of config.init
NEAR = 5  # steps before a checkpoint over which its training entropy is a mean


class Meter:
    """A policy -> what budgets do; making it finds what is wrong with the config."""

    def __init__(self, config: ConfigDict):
        checks.positive(config, "eval.problems", "rollout.slots", "rollout.temperature", "rounds")
        checks.whole(config, 2, "chains")
        checks.require(config, "a number of 1 or more", lambda x: x >= 1, "eval.problems")
        checks.seed(config)
        checks.one_of(config, "vote", ("solution", "answer"))
        self.config = config
        self.task = build.task(config, split=config.eval.split, size=config.eval.problems)
        self._mesh = build.mesh(config)
        self._word = self.task.tokenizer.encode(config.word)
        self._exact = tuple(config.exact)
        if not self._word or not all(isinstance(n, int) and n > 0 for n in self._exact):
            raise InputError(
                f"config.word={config.word!r}, config.exact={self._exact}: give a word, and budgets above 0"
            )
        vocab_size = self.task.tokenizer.vocab_size
        self.policy = partial(load_policy, config, mesh=self._mesh, vocab_size=vocab_size)  # (path, step=, key=)

    def __call__(self, model: Transformer, params: Any) -> dict[str, dict[str, dict[str, np.ndarray]]]:
        """{way: {budget: {measure: f[P]}}}."""
        c, task = self.config, self.task
        begin, *keys = jax.random.split(jax.random.key(c.seed), 2 + len(self._exact))
        how = build.sampling(c, task, self._mesh)
        groups = attempt_all(model, params, task, begin, samples=c.chains, **how)
        prompts = [g.prompt for g in groups for _ in g.texts]
        first = [done for g in groups for done in g.completions]
        eos = task.tokenizer.eos_ids
        say = budget.sampler(
            model, params, eos, temperature=c.rollout.temperature, slots=c.rollout.slots, mesh=self._mesh
        )
        sizes = {"prompt_length": task.prompt_length, "response_length": task.response_length}
        problems = [g.problem for g in groups for _ in g.texts]
        lengths = lambda done: np.array([len(d.tokens) for d in done], float)  # noqa: E731

        texts, right = self._read(problems, first)
        plain = self._measures(right, texts, first, lengths(first))
        out = {"plain": {"0": plain}, **{way: {} for way in (*budget.WAYS, "exact")}}
        out["majority"] = self._majority(right, texts, first)
        for way in budget.WAYS:
            more = {"rounds": c.rounds, "word": self._word, "eos": eos, "way": way}
            spent = lengths(first)
            for number, done in enumerate(budget.continued(say, prompts, first, keys[0], **more, **sizes), 1):
                spent = lengths(done) + (lengths(first) if way == "repeat" else spent)
                texts, right = self._read(problems, done)
                out[way][str(number)] = self._measures(right, texts, done, spent)
        for n, key in zip(self._exact, keys[1:]):
            thoughts, done = budget.exact(say, prompts, key, tokens=n, word=self._word, **sizes)
            texts, right = self._read(problems, done)
            out["exact"][str(n)] = self._measures(right, texts, done, lengths(thoughts) + lengths(done))
        return out

    def _read(self, problems, done: list[Completion]) -> tuple[list[str], np.ndarray]:
        """(answers, whether they are right); what was cut off is wrong."""
        texts = [self.task.tokenizer.decode(budget.answer(d.tokens, self._word)) for d in done]
        return texts, np.array(verify_completions(self.task, problems, texts, done)) >= 1

    def _topics(self, texts: list[str]) -> list[str]:
        of = self.task.solution if self.config.vote == "solution" else self.task.final_answer
        return [of(text) for text in texts]

    def _measures(self, right, texts, done, tokens) -> dict[str, np.ndarray]:
        out = budget.per_problem(right, self._topics(texts), done, tokens, self.config.chains)
        k = min(8, self.config.chains)
        count = right.reshape(-1, self.config.chains).sum(axis=1)
        return out | {"pass@8": pass_at_k(self.config.chains, count, k)}

    def _majority(self, right, texts, done) -> dict[str, dict[str, np.ndarray]]:
        chains, topics = self.config.chains, self._topics(texts)
        tokens = np.array([len(d.tokens) for d in done], float)
        choose = lambda block: test_time.vote(topics[block])  # noqa: E731
        out = {}
        for size in (1 << i for i in range(chains.bit_length()) if 1 << i <= chains):
            places = [range(i, i + chains) for i in range(0, len(right), chains)]
            each = np.array([test_time.in_blocks(choose, right, tokens, of, size) for of in places])
            out[str(size)] = {"accuracy": each[:, 0], "tokens": each[:, 1]}
        return out


def plain(tree: Any) -> Any:
    """Nested dicts of arrays as json takes them, in their order."""
    return {k: plain(v) for k, v in tree.items()} if isinstance(tree, dict) else [round(float(v), 5) for v in tree]


def policies(config: ConfigDict) -> Iterator[tuple[str, int, str | None, int | None]]:
    """(name of the point, step, workdir, step to be restored) of everything that is to be measured.

    Raises:
      InputError: a folder without runs, or none of config.steps is there.
    """
    yield START, 0, config.init, None
    steps = tuple(config.steps)
    if not config.runs:
        return
    for path in (path for seeds in runs.find(config.runs)[0].values() for path in seeds.values()):
        there = checkpoints.steps(path)
        if missing := [s for s in steps if s and s not in there]:
            print(f"{path.name}: no checkpoint {', '.join(map(str, missing))}, left out there")
        for step in there:
            if step in steps:
                yield path.name, step, str(path), step


def training_entropy(path: Path, step: int) -> float | None:
    """policy/entropy of a run, nats a token, mean over the last NEAR steps before `step`; None where it has none."""
    if not (path / metrics.METRICS).exists():
        return None
    rows = [(r["step"], r["policy/entropy"]) for r in metrics.read(path).metrics if "policy/entropy" in r]
    near = [h for at, h in rows if (step - NEAR <= at < step if step else at == 0)]
    return float(np.mean(near)) if near else None


def run(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Measures what is not measured yet; gives what dual.json holds.

    Raises:
      InputError: a bad value, no runs, or a checkpoint of another model.
    """
    checks.require(config, "a number between 0 and 1", lambda x: 0 < x < 1, "interval")
    checks.whole(config, 100, "draws")
    meter, (start, *others) = Meter(config), policies(config)
    todo = [start, *sorted(others, key=lambda at: -at[1])]  # the last checkpoints first: the matrix is made of them
    points = workdirs.open_workdir(config, workdir, ignore=("optimizer",)) / "points"
    read = []
    for name, step, path, at in todo:
        file = points / f"{name},step={step}.json"
        if not file.exists():
            ways = meter(*meter.policy(path, step=at, key="init" if name == START else "runs"))
            row = {"run": name, "step": step, "ways": plain(ways)}
            files.write(file, json.dumps(row))
            print(f"{file.stem}: accuracy {np.mean(row['ways']['plain']['0']['accuracy']):.3f}", flush=True)
        row = json.loads(file.read_text())
        row["training_entropy"] = training_entropy(Path(path), step) if path and name != START else None
        read.append(row)
    first = [training_entropy(Path(path), 0) for name, _, path, _ in todo if name != START]
    read[0]["training_entropy"] = next((h for h in first if h is not None), None)
    how = {key: config[key] for key in ("baseline", "draws", "seed", "chains")}
    out = dual_matrix.summary(read, level=config.interval, **how)
    workdirs.report(Path(workdir), "dual", out, dual_page.page(out))
    return out


if __name__ == "__main__":
    launch.main(run)
