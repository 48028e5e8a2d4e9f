"""What the updates of a step did to the entropy."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from entropy_rl.entropy import record as entropy
from entropy_rl.models.logprobs import following, shifted
from entropy_rl.models.tiled_change import change_stats
from entropy_rl.models.transformer import Transformer, head_matrix
from entropy_rl.parallel import processes, sharding
from entropy_rl.training.rollouts import Rollout


class Change:
    """What the updates of a step did to the entropy, at the states of some rows, and what theory says of it.

    Args:
      model: the policy's.
      rows: at most so many of a rollout's first rows are measured.
      at_once: rows that the model is run on at a time; None: all of them.
      mesh: over which rows and parameters are cut; None: one device.
    """

    def __init__(
        self, model: Transformer, *, rows: int, at_once: int | None = None, mesh: jax.sharding.Mesh | None = None
    ):
        self._rows, self._at_once = rows, at_once or rows
        self._devices = sharding.row_shards(mesh)
        self._place = partial(processes.put_global, sharding=sharding.batch_sharding(mesh)) if mesh else jnp.asarray
        self._hidden = jax.jit(lambda params, tokens: model.apply(params, tokens, logits=False)[1]["hidden"])
        self._head = jax.jit(lambda params: jnp.copy(head_matrix(model.config, params)[0]))  # the update donates it

        def measure(before, hidden, params, tokens, mask, slopes):
            head, axis = head_matrix(model.config, params)
            how = {"vocab_axis": axis, "mesh": mesh, "cap": model.config.logit_cap}
            stats = jax.tree.map(shifted, change_stats(*before, hidden, head, following(tokens), **how))
            return entropy.change_moments(entropy.changes_of(stats, slopes), mask)

        self._measure = jax.jit(measure)

    def before(self, params: Any, rollout: Rollout) -> tuple[jax.Array, jax.Array]:
        """To be called before the updates, and what it gives to be given after them: hidden states and the head."""
        return self._run(params, rollout), self._head(params)

    def __call__(
        self, before: tuple[jax.Array, jax.Array], params: Any, rollout: Rollout, slopes: np.ndarray
    ) -> dict[str, jax.Array]:
        """What is logged of the change; `slopes` f32[B, T], the Learner's."""
        mask = rollout.mask & rollout.on_question()[:, None]
        arrays = [self._place(x[: self._count(rollout)]) for x in (rollout.tokens, mask, slopes)]
        return self._measure(before, self._run(params, rollout), params, *arrays)

    def _count(self, rollout: Rollout) -> int:
        """Rows that are measured: as many as the devices divide."""
        rows = min(self._rows, len(rollout.tokens))
        return max(rows - rows % self._devices, self._devices)

    def _run(self, params: Any, rollout: Rollout) -> jax.Array:
        tokens, at_once = rollout.tokens[: self._count(rollout)], max(self._at_once, self._devices)
        parts = [tokens[i : i + at_once] for i in range(0, len(tokens), at_once)]
        return jnp.concatenate([self._hidden(params, self._place(part)) for part in parts])
