"""Evaluation inside a training script: fixed held-out problems, fresh noise at every step."""

from __future__ import annotations

import time
from functools import partial

import jax
from ml_collections import ConfigDict

from entropy_rl import sharding
from entropy_rl.evaluate import evaluate
from entropy_rl.metrics import Writer
from entropy_rl.models.transformer import Transformer
from entropy_rl.sampling import warp
from experiments import build, checks


class Evaluator:
    """Evaluates a policy and writes the rows; made before training, so that a bad `config.eval` stops it there."""

    def __init__(self, config: ConfigDict, model: Transformer, mesh: jax.sharding.Mesh):
        e, r = config.eval, config.rollout
        checks.positive(config, "eval.problems", "eval.samples", "rollout.slots", "rollout.temperature")
        self._model, self._name, self._key = model, config.task.name, jax.random.key(config.seed)
        self._task = build.task(config, split=e.split, size=e.problems)
        self._sampling = {
            "samples": e.samples,
            "slots": r.slots,
            "max_new": self._task.response_length,
            "prompt_length": self._task.prompt_length,
            "warp": partial(warp.temperature, value=r.temperature),
            "sharding": sharding.rows(mesh),
        }
        slots = min(r.slots, e.problems * e.samples)
        checks.rows(mesh, "the slots of an evaluation (rollout.slots, or eval.problems * samples)", slots)
        self._ks = tuple(e.ks)
        checks.ks(self._ks, e.samples)

    def __call__(self, writer: Writer, step: int, params) -> dict[str, float]:
        """Evaluates and writes; gives the metrics."""
        clock = time.perf_counter()
        # 1 << 31 - 1: apart from the keys of training, which fold in the step alone
        key = jax.random.fold_in(jax.random.fold_in(self._key, (1 << 31) - 1), step)
        values, _ = evaluate(self._model, params, self._task, key, ks=self._ks, **self._sampling)
        writer.evals(step, self._name, values | {"time/eval": time.perf_counter() - clock}, len(self._task))
        return values
