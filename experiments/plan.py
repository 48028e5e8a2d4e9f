"""Plan before you pay: compiles sampler and learner for hardware that is not there, and says what would happen.

    python -m experiments.plan --config=configs/plan.py:qwen2.5-7b,v5e:8x8 --workdir=runs/plan

Compiled is everything that a run runs on its devices: prefill, the empty cache, requests put into slots (by themselves,
and with prompts from other devices), a decode step, slots left out, scores of the policy or of a reference, the update,
and the checksums of a checkpoint that is saved or restored. An evaluation is the sampler's programs again.

Memory is the compiler's: for a TPU that of its own compiler (libtpu, extra `tpu`), for GPUs that of XLA for as many
host devices, which keeps what recomputation should spare and is an upper bound. Collectives are those of the compiled
program. Times are bounds: arithmetic, bytes and wires at the maker's peak figures (hardware/chips.py), each on its
own, nothing overlapped, so that a real step takes longer than the largest of the three. Left out: verifying, the host,
and the network between slices.

Each program prints a line when it is compiled, and leaves a row in programs.jsonl; the same command again, of the same
commit and compiler, reads those that are there and goes on with the rest.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from entropy_rl.errors import InputError, lookup
from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.models import experts, hf, lora, presets
from entropy_rl.models.attention import ATTENTION
from entropy_rl.models.scoring import token_scores
from entropy_rl.models.transformer import OLD_NAMES, REMAT, RULES, Config, Transformer
from entropy_rl.parallel.sharding import batch_sharding, infer_sharding, make_mesh, replicated, row_shards, without
from entropy_rl.sampling import decode as decoding
from entropy_rl.sampling import engine, warp
from entropy_rl.training import checksums, learner, objectives, optimizer
from entropy_rl.training.rollouts import Batch
from experiments.hardware import chips, hlo
from experiments.hardware.plan_report import advice, table
from experiments.lib import build, checks, launch, workdirs
from experiments.lib.checks import share


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


def run(config: ConfigDict, workdir: str) -> dict:
    """Compiles, prints a table, writes `workdir`/plan.json and returns what is in it.

    Raises:
      InputError: a bad value, hardware that cannot be compiled for, a mesh that is not its number of chips.
    """
    chip, count = chips.parse(config.hardware)
    check(config)
    chips.prepare(config.hardware)
    mesh = make_mesh(**config.mesh, devices=chips.devices(config.hardware))
    model = Transformer(shape(config))
    work = Work(**config.work)
    cut = row_shards(mesh)
    work = dataclasses.replace(
        work, microbatches=build.microbatches(mesh, work.rows, work.microbatches, "work.microbatches")
    )
    checks.rows(mesh, "the slots", work.slots)
    model.over(mesh)  # names experts that it does not divide
    tx = optimizer.make_optimizer(optimizer.make_schedule(1e-6), state_dtype=config.state_dtype)
    state = learner.abstract_state(model, tx, mesh)
    parts = {"parameters": share(state.params), "optimiser": share(state.opt_state)}
    view = jax.eval_shape(partial(lora.view, dtype=model.config.dtype), state.params)
    where = infer_sharding(view, without(RULES, "fsdp") if work.gather_weights else RULES, mesh)
    view = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), view, where)
    other = [a.dtype != b.dtype for a, b in zip(jax.tree.leaves(view), jax.tree.leaves(state.params))]
    if any(other) or work.gather_weights and mesh.shape["fsdp"] > 1:
        parts["copy to sample with"] = share(view)

    if work.reference:
        parts["reference"] = parts["parameters"]
    # what else lies there while one of them runs: with the sampler's, all that it does not read
    copies = parts["parameters"] if "copy to sample with" in parts else 0.0
    training = parts["optimiser"] + parts.get("reference", 0.0) + copies
    reading = share(view)
    cache = slots(model, mesh, work)
    prefixes = share(prefix(model, mesh, work, cache))
    programs: dict[str, dict] = {}
    lowered = {"update": lambda: update(model, tx, state, mesh, work)}
    beside = {"update": parts.get("reference", 0.0)}
    for name, (lower, reads_prefix) in sampling(model, view, mesh, work).items():
        lowered[name] = lower
        beside[name] = training + (0.0 if name in ("decode step", "prefill") else reading)
        beside[name] += 0.0 if name == "prefill" or reads_prefix else prefixes
    lowered["score"] = lambda: score(model, state, mesh, work)
    beside["score"] = parts["optimiser"] + parts.get("reference", 0.0)
    lowered["checkpoint"] = lambda: sums(state)
    beside["checkpoint"] = parts.get("reference", 0.0)
    workdir = Path(workdirs.open_workdir(config, workdir))
    kept = Kept(workdir / PROGRAMS)
    for name in sorted(lowered, key=lambda name: name in LONG):  # what takes minutes comes last
        programs[name] = kept.row(name, lowered[name])
    programs = {name: programs[name] for name in lowered}
    size = sum(x.size for x in jax.tree.leaves(state.params))
    bounds = {
        "update": learning_bounds(model.config, size, mesh, work),
        "decode step": sampling_bounds(model.config, size, mesh, work),
    }
    result: dict[str, Any] = {
        "model": config.model.name or config.model.path,
        "parameters": size,
        "hardware": config.hardware,
        "chips": count,
        "mesh": dict(mesh.shape),
        "capacity": chip.memory,
        "work": dataclasses.asdict(work)
        | {"rows": work.rows, "remat": model.config.remat, "attention": model.config.attention},
        "state": parts,
        "cache": share(slots(model, mesh, work).cache),
        "programs": {
            name: p
            | bounds.get(name, {})
            | {"peak": p["memory"] + beside[name], "fits": p["memory"] + beside[name] <= chip.memory}
            for name, p in programs.items()
        },
    }
    for name in bounds:
        p = result["programs"][name]
        wires = sum(total for _, total in p["collectives"].values())
        p["seconds"] = {
            "compute": p["flops"] / chip.flops,
            "memory": p["bytes"] / chip.bandwidth,
            "interconnect": wires / chip.link,
        }
    ticks = work.response * -(-work.rows // work.slots)
    result["step_seconds"] = {
        kind: result["programs"]["update"]["seconds"][kind] + ticks * result["programs"]["decode step"]["seconds"][kind]
        for kind in ("compute", "memory", "interconnect")
    }
    result["ticks"] = ticks
    result["said"] = whole_heads(model.config, mesh)
    result["advice"] = advice(result, cut)
    if config.search:
        result["largest"] = largest(config.search, chip, model, tx, state, mesh, work)
    (workdir / "plan.json").write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))
    return result


class Kept:
    """What the compiler said of programs, a row a program, so that a plan that was stopped goes on.

    A row counts for the same code, jax and compiler: those of a commit with changes are not read back.
    """

    def __init__(self, path: Path):
        self._path, commit = path, workdirs.git_commit()
        self._of = {"commit": commit, "jax": jax.__version__, "compiler": _libtpu()}
        good = commit is not None and not commit.endswith("-dirty")
        rows = [json.loads(line) for line in path.read_text().splitlines()] if good and path.exists() else []
        self._rows = {row["program"]: row["found"] for row in rows if row["of"] == self._of}

    def row(self, name: str, lower: Callable[[], Any]) -> dict[str, Any]:
        """What `compiled` says of a program, now or before; one line of it is printed."""
        clock = time.perf_counter()
        known = name in self._rows
        found = self._rows[name] if known else compiled(lower())
        if not known:
            with self._path.open("a") as f:
                f.write(json.dumps({"program": name, "of": self._of, "found": found}) + "\n")
        how = "as found before" if known else f"compiled in {time.perf_counter() - clock:.0f} s"
        print(f"{name}: {found['memory'] / 1e9:.2f} GB, {how}", flush=True)
        return found


PROGRAMS = "programs.jsonl"
LONG = ("score", "update")
# Products with scores, or what is as large, in the forward and the backward pass, and whether masked blocks are left
# out. "chunked" makes a block again; of kernels, cudnn's backward one makes the scores again, and splash's two both do.
PRODUCTS = {
    "naive": (2, 4, False),
    "chunked": (2, 6, False),
    "xla": (2, 4, False),
    "cudnn": (2, 5, True),
    "splash": (2, 7, True),
}


def _libtpu() -> str | None:
    try:
        return importlib.metadata.version("libtpu")
    except importlib.metadata.PackageNotFoundError:
        return None


def check(config: ConfigDict) -> None:
    """InputError for values that mean nothing."""
    of_work = (f"work.{key}" for key in config.work if key not in ("microbatches", "gather_weights", "reference"))
    checks.positive(config, *of_work, "mesh.fsdp", "mesh.tensor")
    checks.require(config, "a number of 0 or more", lambda x: x >= 0, "work.microbatches")
    checks.require(config, "a number of 0 or more", lambda x: x >= 0, "search")
    checks.one_of(config, "remat", REMAT, OLD_NAMES["remat"])
    attention_of(config)
    checks.one_of(config, "state_dtype", ("float32", "bfloat16"))
    w = config.work
    if w.microbatches and w.prompts * w.samples % w.microbatches:
        raise InputError(f"config.work.microbatches={w.microbatches} does not divide the {w.prompts * w.samples} rows")


def attention_of(config: ConfigDict) -> str:
    """How attention is computed: as is given, or by splash on TPUs and chunked elsewhere."""
    on_tpu = chips.parse(config.hardware)[0].platform == "tpu"
    if config.attention is None:
        return "splash" if on_tpu else "chunked"
    checks.one_of(config, "attention", ATTENTION, OLD_NAMES["attention"])
    if config.attention == "splash" and not on_tpu:
        raise InputError(f"config.attention=splash is for TPUs, and hardware={config.hardware}: give chunked")
    return config.attention


def shape(config: ConfigDict) -> Config:
    """The model's, of a preset or a folder's config.json; weights are not needed."""
    changes = {"remat": config.remat, "scan_layers": config.scan_layers, "attention": attention_of(config)}
    kinds = {key: jnp.dtype(config[key]) for key in ("param_dtype", "dtype")}
    if config.model.path is not None:
        return dataclasses.replace(hf.load_config(config.model.path), **changes, **kinds)
    preset = lookup(presets.PRESETS, config.model.name, "model preset")
    return dataclasses.replace(preset, vocab_size=preset.vocab_size or config.model.vocab, **changes, **kinds)


def update(model, tx, state, mesh, work: Work):
    """The update, lowered: of all rows of a step at once, in micro-batches."""
    shared = build.shared_prompts(mesh, work.prompts, work.samples, work.microbatches, work.prompt)
    score = token_scores(model, mesh=mesh, **shared)
    step = learner.make_update(
        objectives.policy(score, POLICY_LOSSES["ppo"]),
        tx,
        microbatches=work.microbatches,
        group_size=shared["samples"],
        record=objectives.policy_record,
    )
    array = lambda kind: jax.ShapeDtypeStruct((work.rows, work.length), kind, sharding=batch_sharding(mesh))  # noqa: E731
    kinds = {"tokens": "i4", "mask": "?", "weight": "f4", "old_logp": "f4", "advantage": "f4"}
    batch = Batch(**{name: array(kind) for name, kind in kinds.items()})
    scalar = jax.ShapeDtypeStruct((), jnp.float32, sharding=replicated(mesh))
    return step.lower(state, batch, key(mesh), {"entropy": scalar, "kl": scalar})


def sampling(model, params, mesh, work: Work) -> dict[str, tuple[Callable[[], Any], bool]]:
    """What lowers each of the sampler's programs, and whether it has the prompts' prefix among its arguments."""
    state = slots(model, mesh, work)
    prompts = jax.ShapeDtypeStruct((of_prompts(mesh, work), work.prompt), jnp.int32, sharding=batch_sharding(mesh))
    before = prefix(model, mesh, work, state)
    n = jax.ShapeDtypeStruct((work.slots,), jnp.int32, sharding=replicated(mesh))
    take = jax.ShapeDtypeStruct((work.slots,), bool, sharding=replicated(mesh))
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
        half = jax.ShapeDtypeStruct((work.slots // 2,), jnp.int32, sharding=batch_sharding(mesh))
        made["compact"] = (partial(decoding.compact.lower, state, half, mesh=mesh), False)
    return made


def score(model, state, mesh, work: Work):
    """Log-probabilities of a micro-batch, as a reference or an importance weight needs them; lowered."""
    shared = build.shared_prompts(mesh, work.prompts, work.samples, work.microbatches, work.prompt)
    array = lambda kind: jax.ShapeDtypeStruct(  # noqa: E731
        (work.rows // work.microbatches, work.length), kind, sharding=batch_sharding(mesh)
    )
    return jax.jit(token_scores(model, mesh=mesh, **shared)).lower(state.params, array("i4"), array("?"))


def sums(state):
    """The checksums of a state that is saved, or has been read onto its devices; lowered.

    As one program, where a run has one of each shape: at most as much memory as this.
    """
    return jax.jit(lambda tree: [checksums.one(x) for x in jax.tree.leaves(tree)]).lower(state)


def of_prompts(mesh, work: Work) -> int:
    """Prompts that are run, a multiple of the devices."""
    return len(engine.shares(work.rows, work.samples, row_shards(mesh)).prompts)


def prefix(model, mesh, work: Work, state: decoding.State):
    """Keys and values of all prompts: shapes and where they lie."""
    shape = lambda x: jax.ShapeDtypeStruct((of_prompts(mesh, work), x.shape[1], work.prompt, x.shape[3]), x.dtype)  # noqa: E731
    made = jax.tree.map(shape, state.cache)
    where = infer_sharding(made, decoding.RULES, mesh)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), made, where)


def whole_heads(m: Config, mesh) -> list[str]:
    """What is said where the tensor axis does not cut the key-value heads."""
    tensor = mesh.shape["tensor"]
    if m.kv_heads % tensor == 0:
        return []
    return [
        f"mesh.tensor={tensor} does not divide the {m.kv_heads} key-value heads: keys and values are whole on each of "
        f"the {tensor} devices; a divisor of {m.kv_heads} cuts them"
    ]


def slots(model, mesh, work: Work) -> decoding.State:
    """The sampler's state: shapes and where they lie."""
    tokens = jax.ShapeDtypeStruct((1, work.prompt), jnp.int32)
    params = jax.eval_shape(model.init, key(), tokens)
    prefix = jax.eval_shape(partial(decoding.prefill, model), params, tokens)
    state = jax.eval_shape(partial(decoding.empty, slots=work.slots, columns=work.length), prefix)
    where = infer_sharding(state, decoding.RULES, mesh)
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, where)


def key(mesh=None):
    """A random key's shape."""
    made = jax.eval_shape(lambda: jax.random.key(0))
    return made if mesh is None else jax.ShapeDtypeStruct(made.shape, made.dtype, sharding=replicated(mesh))


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


def learning_bounds(m: Config, size: int, mesh, work: Work) -> dict[str, float]:
    """FLOPs and bytes of an update on one device, by arithmetic.

    6 P FLOPs a token, P the parameters but for those of experts that a token does not go to, a third more with all
    blocks made again; the head's products a third more, as its tiles are made again; and attention's (`PRODUCTS`), of
    a layer 2 H D FLOPs a product and key: of T keys, and of T / 2, or with a window w < T of w - w^2 / 2 T, where
    masked blocks are left out. Each micro-batch reads the parameters in each pass, and the optimiser reads and writes
    its state. Scores are counted as if they never left the chip.
    """
    tokens = work.rows * work.length
    head = m.vocab_size * m.d_model
    spans = [min(m.window(i) or work.length, work.length) for i in range(m.layers)]
    forward, backward, skips = PRODUCTS[m.attention]
    keys = sum(w - w * w / (2 * work.length) if skips else work.length for w in spans)
    remade = m.remat == "block"
    attention = 2 * m.heads * m.head_dim * keys * (forward * (1 + remade) + backward)
    # an embedding that is not the head's is looked up, and costs nothing
    matrices = experts.active(m, size) - head - (0 if m.tied else head)
    flops = tokens * (6 * matrices * (4 / 3 if remade else 1) + attention + 8 * head)
    width = jnp.dtype(m.dtype).itemsize
    passes = 3 if remade else 2
    of_state = 2 * size * (jnp.dtype(m.param_dtype).itemsize + 12) / mesh.size
    return {
        "flops": flops / mesh.size,
        "bytes": work.microbatches * passes * size * width / mesh.shape["tensor"] + of_state,
    }


def sampling_bounds(m: Config, size: int, mesh, work: Work) -> dict[str, float]:
    """FLOPs and bytes of a decode step of all slots on one device: it reads its part of the model and of the cache.

    All experts are read: with many slots some token goes to each.
    """
    head = 0 if m.tied else m.vocab_size * m.d_model
    cut = mesh.shape["data"] * mesh.shape["fsdp"]
    width = jnp.dtype(m.dtype).itemsize
    columns = 2 * m.layers * m.kv_heads * m.head_dim * work.length
    flops = work.slots * (2 * (experts.active(m, size) - head) + 4 * m.layers * m.heads * m.head_dim * work.length)
    cached = (
        work.slots / cut * columns * width / (mesh.shape["tensor"] if m.kv_heads % mesh.shape["tensor"] == 0 else 1)
    )
    return {"flops": flops / mesh.size, "bytes": (size - head) * width / mesh.shape["tensor"] + cached}


def largest(compiles: int, chip, model, tx, state, mesh, work: Work) -> dict[str, int]:
    """Rows of a micro-batch and tokens of a response with which an update still fits, by doubling and halving.

    Args:
      compiles: at most this many programs for each of the two.
    """
    smallest = mesh.shape["data"] * mesh.shape["fsdp"]

    def fits(changed: Work) -> bool:
        return compiled(update(model, tx, state, mesh, changed))["memory"] <= chip.memory

    def search(unit: int, start: int, limit: int, change) -> int:
        """The largest tried multiple of unit that fits, from start on; 0: none of them does."""
        good, bad, n = 0, limit + unit, start
        for _ in range(compiles):
            if fits(change(n)):
                good = n
            else:
                bad = n
            n = min(2 * good, limit) if bad > limit else (good + bad) // 2 // unit * unit
            if n <= good or n >= bad or n < unit:
                break
        return good

    def of_rows(n: int) -> Work:
        # as many micro-batches as now, each of n rows: only the rows of one matter for memory
        groups = -(-n * work.microbatches // work.samples)
        return dataclasses.replace(work, prompts=groups, microbatches=groups * work.samples // n)

    rows_now = work.rows // work.microbatches
    usable = [n for n in range(smallest, work.rows + 1, smallest) if work.rows % n == 0]
    return {
        "rows_of_a_micro_batch": search(smallest, rows_now, max(usable, default=rows_now), of_rows),
        "response": search(128, work.response, 32 * work.response, lambda n: dataclasses.replace(work, response=n)),
    }


if __name__ == "__main__":
    launch.main(run)
