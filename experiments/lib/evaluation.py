"""Evaluation inside a training script: fixed held-out problems, fresh noise at every step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
from ml_collections import ConfigDict

from entropy_rl import metrics
from entropy_rl.data.problem import Task
from entropy_rl.evaluate import attempt_all, evaluate, per_problem
from entropy_rl.metrics import Writer
from entropy_rl.models.transformer import Transformer
from entropy_rl.sampling import warp
from entropy_rl.sampling.decode import Warp
from entropy_rl.streams import stream
from experiments.lib import build, checks

BATCH = 64  # problems attempted at a time
COLD = 0.01  # a temperature at which, or below, samples are the same


class Evaluator:
    """Evaluates a policy and writes the rows; made before training, so that a bad `config.eval` stops it there.

    `config.eval.last`, where there is one, is about one more evaluation after the last update: `last`.
    """

    def __init__(self, config: ConfigDict, model: Transformer, mesh: jax.sharding.Mesh):
        e = config.eval
        checks.positive(config, "eval.problems", "eval.samples", "rollout.slots", "rollout.temperature")
        drawn_from = behaviour(config)
        self._model, self._name, self._key = model, config.task.name, jax.random.key(config.seed)

        def plan(problems: int, samples: int, key: str) -> tuple[Task, dict]:
            """The task and how it is attempted; `key` is of the config."""
            task = build.task(config, split=e.split, size=problems)
            problems = len(task)
            slots = f"the slots of an evaluation (rollout.slots, or {key}.problems * samples)"
            slots_shared(mesh, slots, config.rollout.slots, problems, samples)
            return task, build.sampling(config, task, mesh) | {"samples": samples, "batch": BATCH, "warp": drawn_from}

        self._task, self._how = plan(e.problems, e.samples, "eval")
        self._ks = tuple(e.ks)
        checks.ks(self._ks, e.samples)
        self._last = None
        if "last" in e:
            checks.not_negative(config, "eval.last.problems")
            checks.positive(config, "eval.last.samples")
            if e.last.problems:
                self._last = plan(e.last.problems, e.last.samples, "eval.last")

    def __call__(self, writer: Writer, step: int, params) -> dict[str, float]:
        """Evaluates and writes; gives the metrics."""
        clock = time.perf_counter()
        key = jax.random.fold_in(stream(self._key, "evaluation"), step)
        values, groups = evaluate(self._model, params, self._task, key, ks=self._ks, **self._how)
        about = {k.removeprefix("data/"): v for k, v in build.left_out(self._task).items()}
        about["time/eval"] = time.perf_counter() - clock
        writer.evals(step, self._name, values | about, len(self._task))
        rights = [row["right"] for row in per_problem(self._task, groups)]
        writer.solved(step, self._name, self._how["samples"], rights)
        return values

    def last(self, writer: Writer, step: int, params) -> None:
        """The evaluation after the last update: what became of each problem goes to problems.jsonl, if it is on."""
        if self._last:
            task, how = self._last
            # apart from the keys of the evaluation at this step, some of whose noise would come again
            key = jax.random.fold_in(stream(self._key, "last evaluation"), step)
            groups = attempt_all(self._model, params, task, key, **how)
            writer.problems(step, self._name, per_problem(task, groups))

    def lacks_last(self, workdir: Path) -> bool:
        """Whether the last evaluation is on and a run has none: it was asked for after the run had ended."""
        return self._last is not None and not metrics.read(workdir).problems


def slots_shared(mesh: jax.sharding.Mesh, what: str, slots: int, problems: int, samples: int) -> None:
    """InputError unless devices can share the slots, `what`, of attempts at problems, BATCH of them at a time."""
    for size in {min(problems, BATCH), problems % BATCH or BATCH}:
        checks.rows(mesh, what, min(slots, size * samples))


def behaviour(config: ConfigDict) -> Warp:
    """What evaluations draw from: the policy at `eval.temperature`, cut by eval.top_k, top_p and min_p."""
    e = config.eval
    temperature = config.rollout.temperature if e.temperature is None else e.temperature
    if e.temperature is not None:
        checks.require(config, "a number above 0; eval.top_k=1 is greedy", lambda x: x > 0, "eval.temperature")
    checks.whole(config, 0, "eval.top_k")
    checks.require(config, "a number above 0 and at most 1", lambda x: 0 < x <= 1, "eval.top_p")
    checks.require(config, "a number from 0 to 1", lambda x: 0 <= x <= 1, "eval.min_p")
    cuts = {"top_k": e.top_k, "top_p": float(e.top_p), "min_p": float(e.min_p)}
    if cuts == {"top_k": 0, "top_p": 1.0, "min_p": 0.0}:
        return partial(warp.temperature, value=temperature)
    return partial(warp.truncated, temperature=temperature, **cuts)


def greedy(config: ConfigDict) -> Iterator[str]:
    """A line for each evaluation whose several samples of a problem are all the same; for a `config` that is in range.

    With `eval.last.problems` at 0 there is no last one.
    """
    e = config.eval
    temperature = config.rollout.temperature if e.temperature is None else e.temperature
    why = next((f"eval.{key}=1" for key in ("top_k", "min_p") if e[key] == 1), None)
    if why is None and temperature <= COLD:
        why = f"a temperature of {temperature:g}"
    last = {"eval.last.samples": e.last.samples} if "last" in e and e.last.problems else {}
    for key, count in ({"eval.samples": e.samples} | last).items():
        if why and count > 1:
            yield (
                f"evaluation with {why} is greedy: the {key}={count} samples of a problem are the same, and pass@k is "
                f"pass@1 for every k; give {key}=1, or sample"
            )
