"""Programs of a run, lowered from shapes alone for devices that need not be there; what the compiler says of them."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.models.scoring import token_scores
from entropy_rl.parallel.sharding import batch_sharding, laid_out, replicated, row_shards
from entropy_rl.sampling import decode as decoding
from entropy_rl.sampling import engine, warp
from entropy_rl.training import checksums, learner, objectives
from entropy_rl.training.rollouts import Batch
from experiments.hardware import hlo
from experiments.lib import build


@dataclasses.dataclass(frozen=True)
class Work:
    """What a run does in a step, as far as it matters here."""

    prompts: int
    samples: int
    prompt: int  # tokens of the longest
    response: int
    slots: int
    microbatches: int
    gather_weights: bool = False  # whether the sampler's are cut over tensor alone
    reference: bool = False  # whether there is a policy to keep near to

    @property
    def rows(self) -> int:
        """Responses of a step."""
        return self.prompts * self.samples

    @property
    def length(self) -> int:
        """Columns of a row."""
        return self.prompt + self.response


def update(model, tx, state, mesh, work: Work):
    """The update, lowered: of all rows of a step at once, in micro-batches."""
    score, samples = scores(model, mesh, work)
    objective, cut = objectives.policy(score, POLICY_LOSSES["ppo"]), {"microbatches": work.microbatches}
    step = learner.make_update(objective, tx, group_size=samples, record=objectives.policy_record, **cut)
    kinds = {"tokens": "i4", "mask": "?", "weight": "f4", "old_logp": "f4", "advantage": "f4"}
    batch = Batch(**{name: cut_rows(mesh, kind, work.rows, work.length) for name, kind in kinds.items()})
    scalar = whole(mesh, "f4")
    return step.lower(state, batch, key(mesh), {"entropy": scalar, "kl": scalar})


def score(model, state, mesh, work: Work):
    """Log-probabilities of a micro-batch, as a reference or an importance weight needs them; lowered."""
    made, _ = scores(model, mesh, work)
    tokens, mask = (cut_rows(mesh, kind, work.rows // work.microbatches, work.length) for kind in ("i4", "?"))
    return jax.jit(made).lower(state.params, tokens, mask)


def scores(model, mesh, work: Work):
    """The policy's score, and how many rows share a prompt in it."""
    shared = build.shared_prompts(mesh, work.prompts, work.samples, work.microbatches, work.prompt)
    return token_scores(model, mesh=mesh, **shared), shared["samples"]


def sampling(model, params, mesh, work: Work) -> dict[str, tuple[Callable[[], Any], bool]]:
    """What lowers each of the sampler's programs, and whether it has the prompts' prefix among its arguments."""
    state = slots(model, mesh, work)
    prompts = cut_rows(mesh, jnp.int32, of_prompts(mesh, work), work.prompt)
    before = prefix(model, mesh, work, state)
    n, take = whole(mesh, jnp.int32, work.slots), whole(mesh, bool, work.slots)
    insert = partial(decoding.insert.lower, state, before, take, n, n, n, n, n, mesh=mesh)
    step = {"ticks": 1, "eos": (0,), "warp": warp.temperature, "width": work.prompt, "until": 0, "mesh": mesh}
    made = {
        "decode step": (partial(decoding.decode.lower, model, params, state, key(mesh), **step), False),
        "prefill": (partial(decoding.prefill.lower, model, params, prompts, mesh=mesh), False),
        "empty": (partial(decoding.empty.lower, before, slots=work.slots, columns=work.length, mesh=mesh), False),
        "insert": (insert, True),
    }
    if work.slots < work.rows and row_shards(mesh) > 1:  # only where requests wait can one be served elsewhere
        made["insert from afar"] = (partial(insert, far=True), True)
    if work.slots % (2 * row_shards(mesh)) == 0:
        half = cut_rows(mesh, jnp.int32, work.slots // 2)
        made["compact"] = (partial(decoding.compact.lower, state, half, mesh=mesh), False)
    return made


def of_prompts(mesh, work: Work) -> int:
    """Prompts that are run, a multiple of the devices."""
    return len(engine.shares(work.rows, work.samples, row_shards(mesh)).prompts)


def slots(model, mesh, work: Work) -> decoding.State:
    """The sampler's state: shapes and where they lie."""
    tokens = jax.ShapeDtypeStruct((1, work.prompt), jnp.int32)
    params = jax.eval_shape(model.init, jax.eval_shape(jax.random.key, 0), tokens)
    prefix = jax.eval_shape(partial(decoding.prefill, model), params, tokens)
    state = jax.eval_shape(partial(decoding.empty, slots=work.slots, columns=work.length), prefix)
    return laid_out(state, decoding.RULES, mesh)


def prefix(model, mesh, work: Work, state: decoding.State):
    """Keys and values of all prompts: shapes and where they lie."""
    shape = lambda x: jax.ShapeDtypeStruct((of_prompts(mesh, work), x.shape[1], work.prompt, x.shape[3]), x.dtype)  # noqa: E731
    return laid_out(jax.tree.map(shape, state.cache), decoding.RULES, mesh)


def sums(state):
    """The checksums of a state that is saved, or has been read onto its devices; lowered.

    As one program, where a run has one of each shape: at most as much memory as this.
    """
    return jax.jit(lambda tree: [checksums.one(x) for x in jax.tree.leaves(tree)]).lower(state)


def key(mesh):
    """A random key."""
    return whole(mesh, jax.eval_shape(jax.random.key, 0).dtype)


def cut_rows(mesh, kind, *shape: int) -> jax.ShapeDtypeStruct:
    """An array whose rows the devices share."""
    return jax.ShapeDtypeStruct(shape, kind, sharding=batch_sharding(mesh))


def whole(mesh, kind, *shape: int) -> jax.ShapeDtypeStruct:
    """An array that every device has."""
    return jax.ShapeDtypeStruct(shape, kind, sharding=replicated(mesh))


def compiled(lowered) -> dict[str, Any]:
    """What the compiler says of a program, per device; of one that does not fit into a TPU, how much it would take."""
    clock = time.perf_counter()
    try:
        program = lowered.compile()
    except jax.errors.JaxRuntimeError as e:
        used = re.search(r"Used ([\d.]+)([KMGT]) of", str(e))
        if "RESOURCE_EXHAUSTED" not in str(e) or not used:
            raise
        memory = float(used[1]) * 1024.0 ** (1 + "KMGT".index(used[2]))
        return {"memory": memory, "temporaries": None, "collectives": {}, "loops_known": False, "compile_s": None}
    m = program.memory_analysis()
    kept = m.argument_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes
    found, known = hlo.collectives(program.as_text())
    return {
        "memory": kept + m.temp_size_in_bytes,
        "temporaries": m.temp_size_in_bytes,
        "collectives": found,
        "loops_known": known,
        "compile_s": round(time.perf_counter() - clock, 1),
    }
