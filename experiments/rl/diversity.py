"""From `config.diversity` to what shapes the rewards of a rollout."""

from __future__ import annotations

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from entropy_rl.data.problem import Task
from entropy_rl.errors import InputError, bind
from entropy_rl.methods.diversity import predicates
from entropy_rl.methods.diversity.darling import Diversity
from experiments.lib import checks

NGRAM = "ngram"  # no predicate: a share, not classes


def shaping(config: ConfigDict, task: Task) -> Diversity | None:
    """What `config.diversity` says, tried on two responses; None where its predicate is "off".

    Raises:
      InputError: there is no such row, it refuses a hyper-parameter or the task, or groups have one response.
    """
    d = config.diversity
    name, args = d.predicate.name, d.predicate.args.to_dict()
    checks.require(config, "a number from 0 to 1", lambda x: 0 <= x <= 1, "diversity.floor")
    combine = bind(predicates.COMBINE, d.combine.name, d.combine.args.to_dict(), "combination of diversity", first=2)
    how: dict[str, Any] = {"combine": combine, "floor": float(d.floor), "correct_only": d.correct_only}
    if name == "off":
        return None
    if config.rollout.samples < 2:
        raise InputError(f"config.rollout.samples={config.rollout.samples}: diversity needs groups of 2 or more")
    texts = ["", "a b c d e"]
    combine(np.array([0.0, 1.0]), np.array([d.floor, 1.0]))
    kind = "predicate of diversity"
    if name == NGRAM:
        bind({NGRAM: predicates.ngram_diversity}, name, args, kind, first=1)(texts)
        return Diversity(task, None, **how, **args)
    predicate = bind(
        predicates.PREDICATES | {NGRAM: None},
        name,
        args,
        kind,
        first=3,
        missing="a config cannot hold it, give it in Python",
    )
    predicate(task, "", texts)(0, 1)
    return Diversity(task, predicate, **how)
