"""Rounds of self-training, vanilla or with a critique in the loop (AutoMathCritique, Xi et al. 2024, arXiv:2411.16579).

    python -m experiments.self_train --config=configs/self_train.py --config.init=runs/base --workdir=runs/vanilla
    python -m experiments.self_train --config=configs/self_train.py --config.init=runs/base \\
        --config.critique.source=oracle --workdir=runs/critique

Round 0 is the base model of `config.init`, which has been taught D_0 already (in the paper it is taught D_0 here).
Round t: the policy of round t - 1 attempts every problem of a finite pool, right answers are kept, failed ones are
retried as `config.critique` says, and the base is taught D_0 and what was kept (methods/self_train.py). With adapters
(`config.lora`) these are the base's in every round, new ones where it has none. All arms take `config.updates` updates
a round. A retry after "fresh" is one more sample of the question: as difficulty-aware as a critique, and without one.

Writes, step being the round, metrics.jsonl (what data a round is taught: share and coverage per level; tokens spent),
evals.jsonl (held-out problems, after training), problems.jsonl (after the last round), round<t>.jsonl (its data) and
checkpoints. A killed run repeats the round that it was in, and gives the same.
"""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl import files
from entropy_rl.data.packing import pack_texts
from entropy_rl.evaluate import attempt_all
from entropy_rl.losses.weights import token_mean
from entropy_rl.methods.critique import critics, refine, self_train
from entropy_rl.metrics import Writer
from entropy_rl.models.scoring import token_scores
from entropy_rl.parallel import sharding
from entropy_rl.sampling import warp
from entropy_rl.training import learner, objectives
from entropy_rl.training.loop import loop, passes, taught
from entropy_rl.training.rollouts import Batch
from experiments.lib import build, checks, launch, policies, workdirs
from experiments.lib.evaluation import BATCH, Evaluator, slots_shared
from experiments.rl import critique


def run(config: ConfigDict, workdir: str) -> None:
    """Trains round by round.

    Raises:
      InputError: a bad value, a base, critique model or dataset that is not there, or a workdir of another config.
    """
    training = SelfTraining(config)
    workdir = workdirs.open_workdir(config, workdir, knobs=workdirs.KNOBS)

    def evaluate(writer, number, state, last):
        training.evaluator.last(writer, number, training.view(state.params))

    loop(
        workdir,
        lambda writer, number, state, _: training.round(number, state, writer, workdir),
        evaluate=evaluate,
        **policies.lean(training.base, training.abstract),
        first=lambda: None,
        **workdirs.pace(config, workdir),
    )


class SelfTraining:
    """The parts of a run; making it finds what is wrong with the config."""

    def __init__(self, config: ConfigDict):
        checks.positive(config, "samples", "pool", "updates", "batch", "temperature")
        checks.positive(config, "checkpoint.keep", "refine.samples", "refine.reserved")
        checks.not_negative(config, "rounds", "refine.slack", "original", "microbatches")
        checks.seed(config)
        self._config = config
        self._task = task = build.task(config, split="train", size=config.pool)
        self._model = build.trained_model(config, task.tokenizer.vocab_size)
        mesh = build.mesh(config)
        checks.rows(mesh, "the rows of an update (batch)", config.batch)
        microbatches = build.microbatches(mesh, config.batch, config.microbatches)
        tx, _ = build.optimizer(config, config.updates)
        self._critique = critique.critique_step(config, task, self._model, mesh, config.temperature)
        self._pool = [task[i] for i in range(len(task))]
        self._how = build.sampling(config, task, mesh) | {"warp": partial(warp.temperature, value=config.temperature)}
        slots = "the slots (rollout.slots, or pool * samples)"
        slots_shared(mesh, slots, config.rollout.slots, len(task), config.samples)
        self._original = critique.make_lessons(config, task) if config.lessons.path is not None else task
        self.evaluator = Evaluator(config, self._model, mesh)
        adaptation = build.adaptation(config, self._model)
        self.view, self.base = adaptation.view, policies.Base(config, self._model, mesh)
        self.abstract = learner.abstract_state(self._model, tx, mesh, adaptation.adapt)
        checks.state_fits(mesh, self.abstract, self.abstract.params)
        key = jax.random.key(config.seed)
        self._fresh = partial(learner.init_state, self._model, tx, mesh, key, adaptation.adapt)
        self._start = policies.first_policy(config, self._model, tx, mesh).params
        self._update = learner.make_update(
            *(objectives.nll(adaptation.over(token_scores(self._model, mesh=mesh))), tx),
            microbatches=microbatches,
            record=objectives.nll_record,
        )
        self._weight = jax.jit(token_mean)
        self._place = partial(jax.device_put, device=sharding.batch_sharding(mesh))

    def round(
        self, number: int, state: learner.TrainState | None, writer: Writer, workdir: Path
    ) -> tuple[learner.TrainState, dict[str, float] | None]:
        """(the state after round `number`, what is logged of it), from the state after the one before."""
        items, row = [], {}
        if number:
            items, row = self._collect(number, self.view(state.params))
            files.rewrite(workdir / f"round{number}.jsonl", [dataclasses.asdict(item) for item in items])
        clock = time.perf_counter()
        state, trained = self._teach(number, items)
        row |= trained | {"time/learn": time.perf_counter() - clock}
        values = self.evaluator(writer, number, self.view(state.params))
        print(
            f"round {number}: {len(items)} items, held-out pass@1 {values['pass@1']:.3f}, "
            f"coverage {values['coverage']:.3f}, entropy {values['entropy']:.3f}"
        )
        return state, row if number else {}

    def _collect(self, number: int, params: Any) -> tuple[list[self_train.Item], dict[str, float]]:
        """Attempts at the pool and retries of those that failed: what is kept, what is logged."""
        c, clock = self._config, time.perf_counter()
        key = jax.random.fold_in(jax.random.key(c.seed), number)
        own, to_criticise, to_refine = jax.random.split(key, 3)
        groups = attempt_all(self._model, params, self._task, own, samples=c.samples, batch=BATCH, **self._how)
        items, tried = self_train.right_items(groups), self_train.failed(groups)
        attempts = [completion for g in groups for completion in g.completions]
        row = {
            "policy/entropy_sequence": float(np.mean([a.entropy.mean() for a in attempts])),
            "rollout/reward": float(np.mean([g.rewards for g in groups])),
            "rollout/tokens": float(sum(len(a.tokens) for a in attempts)),
            "rollout/truncated": float(np.mean([a.truncated for a in attempts])),
        }
        if self._critique and tried:
            rng = np.random.default_rng((c.seed, number))
            said, logged, _ = self._critique.criticise(params, tried, rng, to_criticise)
            answer = lambda prompts: self._critique.answer(params, prompts, to_refine)  # noqa: E731
            n, language = c.refine.samples, self._critique.language
            how = {"language": language, "fits": self._critique.fits}
            again = refine.retry(self._task, answer, tried, said, samples=n, **how)
            each = list(zip(again.texts, (r * ok for r, ok in zip(again.rewards, again.fits))))
            retries = [each[i : i + n] for i in range(0, len(each), n)]
            how = {"reserved": c.refine.reserved, "slack": c.refine.slack, "revisions": c.refine.revisions}
            kept, of_kept = self_train.refined_items(tried, again.asked[::n], retries, **how)
            items += kept
            tokens = float(sum(len(made.tokens) for made in again.completions))
            row |= logged | of_kept | {"critique/leak": critics.leak(said, language), "refine/tokens": tokens}
            row["critique/too_long"] = logged.get("critique/too_long", 0.0) + again.fits.count(False) / n
        row |= self_train.narrowing(items, self._pool) | {"time/rollout": time.perf_counter() - clock}
        return items, row

    def _teach(self, number: int, items: list[self_train.Item]) -> tuple[learner.TrainState, dict[str, float]]:
        """The base, after round 0 taught D_0 and `items` in passes of random order; what was logged last."""
        c, state = self._config, learner.with_params(self._fresh(), self._start)
        tokens, mask, left_out = self._data(items)
        if not (number and len(tokens)):
            return state, {}
        rng = np.random.default_rng((c.seed, number, 1))
        batches = (
            Batch(tokens=tokens[pick], mask=mask[pick], weight=self._weight(mask[pick]))
            for pick in passes(len(tokens), count=c.updates, size=c.batch, rng=rng)
        )
        batches = (jax.tree.map(self._place, batch) for batch in batches)
        state, rows = taught(self._update, state, batches, jax.random.key(c.seed), where=f"in round {number}")
        row = {k: float(v) for k, v in jax.device_get(rows[-1]).items()}
        return state, row | {"data/items_too_long": float(left_out)}

    def _data(self, items: list[self_train.Item]) -> tuple[np.ndarray, np.ndarray, int]:
        """D_0 and items as tokens and mask, of one width whatever the items, so that one program is compiled; and how
        many items are left out, as their texts have more tokens than were sampled (such as half a character's)."""
        c, task = self._config, self._task
        width = task.prompt_length
        if c.refine.revisions and self._critique:  # question, attempt and critique before the response
            width = max(width, critique.retry_width(c, task, self._critique.language))
        width += task.response_length
        first, mask = np.zeros((0, width), np.int32), np.zeros((0, width), bool)
        if c.original:
            first, mask = self._original.demonstrations(c.seed, 0, c.original)
            width = max(width, first.shape[1])
        pad = lambda x, value: np.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=value)  # noqa: E731
        texts, encode = [(i.prompt, i.response) for i in items], task.tokenizer.encode
        fitting = [pair for pair in texts if sum(len(encode(text)) for text in pair) < width]  # an end token follows
        more, more_mask = pack_texts(fitting, task.tokenizer, width)
        tokens = np.concatenate([pad(first, task.tokenizer.pad_id), more])
        return tokens, np.concatenate([pad(mask, False), more_mask]), len(texts) - len(fitting)


if __name__ == "__main__":
    launch.main(run)
