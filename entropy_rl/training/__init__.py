"""Rollouts, objectives, optimiser, the RL step, the loop and checkpoints.

`from entropy_rl.training import Learner` loads the module that has it, and nothing is loaded before.
"""

import importlib

EXPORTS = {
    "Batch": "rollouts",
    "Change": "step",
    "Checkpoints": "checkpoints",
    "Collector": "collect",
    "Critic": "state",
    "Group": "collect",
    "Learner": "step",
    "Rollout": "rollouts",
    "State": "state",
    "TrainState": "learner",
    "abstract_state": "learner",
    "first_state": "state",
    "init_state": "learner",
    "make_optimizer": "learner",
    "make_schedule": "learner",
    "make_update": "learner",
    "minibatches": "rollouts",
    "pack": "rollouts",
    "taught": "loop",
}


def __getattr__(name: str):
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *EXPORTS})
