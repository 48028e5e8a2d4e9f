"""RL from self-feedback (RLSF, arXiv:2507.21931): the policy's confidence in its answers is the only reward.

    python -m experiments.self_feedback --config=configs/rlsf.py --config.init=runs/sft --workdir=runs/dpo
    python -m experiments.self_feedback --config=configs/rlsf.py:reward_model --config.init=runs/sft --workdir=runs/rm

Questions of the training split are answered by CoT-decoding (methods/confidence/cot_decoding.py), and a question's
branches become preference pairs (methods/confidence/self_feedback.py). Two arms learn from them:

    dpo           rounds: the policy of the round before branches on new questions, and is taught the pairs by DPO, with
                  itself before the round as the reference.
    reward_model  the starting policy branches once, a copy of it with a value head learns the pairs (Bradley-Terry),
                  and train_rl runs with that model's reward, read at the response's last token, in place of the task's.
                  The configuration is PPO with a critic and a KL to the start; any recipe of configs/rl would do.

No answer is verified in training and no reference answer is read: only the held-out evaluations know what is right. A
Countdown prompt states its target, which is the question; that a response reaches it is checked nowhere here.

Writes what train_rl writes; in the arm dpo a step is a round. The reward model's numbers are in reward_model.json. A
killed run goes on: dpo from its last round, reward_model from its last checkpoint, with the reward model that was made.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.losses.preference import PREFERENCE_LOSSES
from entropy_rl.methods.confidence.cot_decoding import SPANS
from entropy_rl.metrics import Writer
from entropy_rl.models.scoring import token_scores
from entropy_rl.parallel import processes, sharding
from entropy_rl.training import learner, objectives
from entropy_rl.training.loop import averaged, loop, taught
from entropy_rl.training.rollouts import Batch
from experiments import train_rl
from experiments.lib import build, checks, launch, policies, workdirs
from experiments.lib.evaluation import Evaluator
from experiments.studies import reward_model
from experiments.studies.pairs import Rows, batches, pair_weight, preferences, questions

ARMS = ("dpo", "reward_model")


def run(config: ConfigDict, workdir: str) -> None:
    """Trains in the arm `config.arm`.

    Raises:
      InputError: a bad value, a start that is not there, a workdir of another config, or no pair to learn from.
    """
    checks.one_of(config, "arm", ARMS)
    checks.positive(config, "questions", "branches.k")
    checks.require(config, "a number from 0 to 1", lambda x: 0 <= x <= 1, "branches.threshold")
    checks.one_of(config, "branches.span", SPANS)
    build.spans(config, "branches.span", config.branches.span)
    if config.arm == "dpo":
        by_preference(config, workdir)
    else:
        reward_model.check(config)
        train_rl.run(config, workdir, partial(reward_model.Judge, Path(workdir), config))


def by_preference(config: ConfigDict, workdir: str) -> None:
    """Rounds of branching and DPO."""
    preference = Preference(config)
    workdir = workdirs.open_workdir(config, workdir, knobs=workdirs.KNOBS)
    loop(
        workdir,
        lambda writer, number, state, _: preference.round(number, state, writer),
        evaluate=lambda writer, number, state, last: preference.evaluator.last(
            writer, number, preference.view(state.params)
        ),
        **policies.lean(preference.base, preference.abstract),
        first=preference.first,
        **workdirs.pace(config, workdir),
    )


class Preference:
    """The parts of the arm dpo; making it finds what is wrong with the config."""

    def __init__(self, config: ConfigDict):
        checks.positive(config, "updates", "batch", "checkpoint.keep")
        checks.not_negative(config, "rounds", "microbatches")
        checks.seed(config)
        self._config = config
        self._task = task = build.task(config, split="train")
        self._model = build.trained_model(config, task.tokenizer.vocab_size)
        self._mesh = mesh = build.mesh(config)
        checks.rows(mesh, "the pairs of an update (batch)", config.batch)
        microbatches = build.microbatches(mesh, config.batch, config.microbatches)
        tx, _ = build.optimizer(config, max(config.rounds, 1) * config.updates)
        loss = build.bind(PREFERENCE_LOSSES, config.loss, "preference loss", *np.zeros((3, 2), np.float32))
        self.evaluator = Evaluator(config, self._model, mesh)
        adaptation = build.adaptation(config, self._model)
        self.view, self.base = adaptation.view, policies.Base(config, self._model, mesh)
        self.abstract = learner.abstract_state(self._model, tx, mesh, adaptation.adapt)
        checks.state_fits(mesh, self.abstract)
        score = adaptation.over(token_scores(self._model, mesh=mesh))
        self._update = learner.make_update(
            objectives.preference(score, loss),
            tx,
            microbatches=microbatches,
            group_size=2,
            record=objectives.preference_record,
        )
        self._score = jax.jit(lambda *args: score(*args)["logp"])
        self._place = partial(processes.put_global, sharding=sharding.batch_sharding(mesh))
        # before there is a workdir: a bad config.init leaves none behind
        self._state = policies.first_policy(config, self._model, tx, mesh)

    def first(self) -> learner.TrainState:
        """The start."""
        state, self._state = self._state, None
        return state

    def round(
        self, number: int, state: learner.TrainState, writer: Writer
    ) -> tuple[learner.TrainState, dict[str, float]]:
        """(the state after round `number`, what is logged of it), from the one before; round 0 is the start."""
        c, clock, row = self._config, time.perf_counter(), {}
        if number:
            first = (number - 1) * c.questions
            found = questions(c, self._task, self._model, self._mesh, self.view(state.params), first)
            rows, row = preferences(c, self._task, *found)
            row["time/rollout"] = time.perf_counter() - clock
            clock = time.perf_counter()
            if len(rows["margin"]):
                state, trained = self._teach(number, state, rows)
                row |= trained
            else:
                print(f"round {number}: no branch is as sure as {c.branches.threshold}, so there is no pair to learn")
            row["time/learn"] = time.perf_counter() - clock
        values = self.evaluator(writer, number, self.view(state.params))
        print(
            f"round {number}: held-out pass@1 {values['pass@1']:.3f}, coverage {values['coverage']:.3f}, "
            f"entropy {values['entropy']:.3f}"
        )
        return state, row

    def _teach(self, number: int, state: learner.TrainState, rows: Rows) -> tuple[learner.TrainState, dict[str, float]]:
        """The state after the round's updates, and the mean of what they logged."""
        c, made = self._config, []
        for some in batches(rows, c.updates, c.batch, np.random.default_rng((c.seed, number))):
            batch = jax.tree.map(self._place, Batch(**some, weight=pair_weight(some["mask"])))
            # the reference is the policy as it is before the first of them
            made.append(batch.replace(ref_logp=self._score(state.params, batch.tokens, batch.mask)))
        state, logged = taught(self._update, state, made, jax.random.key(c.seed), where=f"in round {number}")
        return state, averaged(logged)


if __name__ == "__main__":
    launch.main(run)
