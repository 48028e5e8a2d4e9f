"""Rollouts, objectives, optimiser, the RL step, the loop and checkpoints.

`from entropy_rl.training import Learner` loads the module that has it, and nothing is loaded before.
"""

import importlib

MODULES = {
    "change": "Change",
    "checkpoints": "Checkpoints",
    "collect": "Collector Group",
    "learner": "TrainState abstract_state init_state make_update",
    "loop": "taught",
    "optimizer": "make_optimizer make_schedule",
    "rollouts": "Batch Rollout minibatches pack",
    "state": "Critic State first_state",
    "step": "Learner",
}
EXPORTS = {name: module for module, names in MODULES.items() for name in names.split()}


def __getattr__(name: str):
    if name not in EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *EXPORTS})
