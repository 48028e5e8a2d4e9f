"""The law in the metrics of TRL, and of whatever else trains with transformers' Trainer.

    from entropy_rl.logs import trl_hook

    trainer = GRPOTrainer(...)
    trl_hook.watch(trainer)
    trainer.train()

transformers is imported when a callback is made, and not before.
"""

from __future__ import annotations

import importlib
from typing import Any

from entropy_rl.logs.live import Live


def callback(**options: Any) -> Any:
    """A transformers.TrainerCallback that adds `Live`'s numbers to what the trainer logs, with Live's options.

    It sees evaluations and training, in the first process only; a run that goes on from a checkpoint goes on here,
    from the trainer's own history. Without `horizon` the last step is forecast. In `callbacks=[...]` it comes behind
    wandb and TensorBoard, which then do not get its numbers: `watch` puts it before them.
    """
    Base = importlib.import_module("transformers").TrainerCallback

    class LawCallback(Base):
        """See `callback`."""

        def __init__(self):
            self.live: Live | None = None

        def on_train_begin(self, args, state, control, **kwargs):
            """Takes over what was logged before."""
            if state.is_world_process_zero:
                self.live = Live(**{"horizon": state.max_steps or None, "form": "trainer_state"} | options)
                self.live.resume([(row.get("step"), row) for row in state.log_history])

        def on_log(self, args, state, control, logs=None, **kwargs):
            """Adds to the row, for whom it is shown next, and to the trainer's history."""
            if self.live is not None and logs is not None:
                found = self.live.add(state.global_step, logs)
                logs.update(found)
                if found and state.log_history:
                    state.log_history[-1].update(found)

    return LawCallback()


def watch(trainer: Any, **options: Any) -> Any:
    """Has a trainer log the law of its run, to whatever it reports to: `callback`, before all others; returns it."""
    made = callback(**options)
    trainer.add_callback(made)
    all_of_them = trainer.callback_handler.callbacks
    all_of_them.insert(0, all_of_them.pop(all_of_them.index(made)))
    return made
