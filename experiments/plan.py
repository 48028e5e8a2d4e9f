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
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from entropy_rl.errors import InputError, lookup
from entropy_rl.models import experts, hf, lora, presets
from entropy_rl.models.attention import ATTENTION
from entropy_rl.models.config import OLD_NAMES, REMAT, Config
from entropy_rl.models.transformer import RULES, Transformer
from entropy_rl.parallel.sharding import laid_out, make_mesh, row_shards, without
from entropy_rl.training import learner, optimizer
from experiments.hardware import chips, programs
from experiments.hardware.plan_report import advice, table
from experiments.hardware.programs import Work, compiled
from experiments.lib import build, checks, launch, workdirs
from experiments.lib.checks import share


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
    divided = build.microbatches(mesh, work.rows, work.microbatches, "work.microbatches")
    work = dataclasses.replace(work, microbatches=divided)
    checks.rows(mesh, "the slots", work.slots)
    model.over(mesh)  # names experts that it does not divide
    tx = optimizer.make_optimizer(optimizer.make_schedule(1e-6), state_dtype=config.state_dtype)
    state = learner.abstract_state(model, tx, mesh)
    parts = {"parameters": share(state.params), "optimiser": share(state.opt_state)}
    view = jax.eval_shape(partial(lora.view, dtype=model.config.dtype), state.params)
    view = laid_out(view, without(RULES, "fsdp") if work.gather_weights else RULES, mesh)
    other = [a.dtype != b.dtype for a, b in zip(jax.tree.leaves(view), jax.tree.leaves(state.params))]
    if any(other) or work.gather_weights and mesh.shape["fsdp"] > 1:
        parts["copy to sample with"] = share(view)

    if work.reference:
        parts["reference"] = parts["parameters"]
    # what else lies there while one of them runs: with the sampler's, all that it does not read
    copies = parts["parameters"] if "copy to sample with" in parts else 0.0
    training = parts["optimiser"] + parts.get("reference", 0.0) + copies
    reading = share(view)
    slots = programs.slots(model, mesh, work)
    prefixes = share(programs.prefix(model, mesh, work, slots))
    lowered = {"update": lambda: programs.update(model, tx, state, mesh, work)}
    beside = {"update": parts.get("reference", 0.0)}
    for name, (lower, reads_prefix) in programs.sampling(model, view, mesh, work).items():
        lowered[name] = lower
        beside[name] = training + (0.0 if name in ("decode step", "prefill") else reading)
        beside[name] += 0.0 if name == "prefill" or reads_prefix else prefixes
    lowered["score"] = lambda: programs.score(model, state, mesh, work)
    beside["score"] = parts["optimiser"] + parts.get("reference", 0.0)
    lowered["checkpoint"] = lambda: programs.sums(state)
    beside["checkpoint"] = parts.get("reference", 0.0)
    workdir = Path(workdirs.open_workdir(config, workdir))
    kept = Kept(workdir / PROGRAMS)
    # what takes minutes comes last
    found = {name: kept.row(name, lowered[name]) for name in sorted(lowered, key=lambda name: name in LONG)}
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
        "cache": share(slots.cache),
        "programs": {},
    }
    for name in lowered:
        peak = found[name]["memory"] + beside[name]
        result["programs"][name] = found[name] | bounds.get(name, {}) | {"peak": peak, "fits": peak <= chip.memory}
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
    result["advice"] = advice(result, row_shards(mesh))
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
    checks.require(config, "a number of 0 or more", lambda x: x >= 0, "work.microbatches", "search")
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


def whole_heads(m: Config, mesh) -> list[str]:
    """What is said where the tensor axis does not cut the key-value heads."""
    tensor = mesh.shape["tensor"]
    if m.kv_heads % tensor == 0:
        return []
    return [
        f"mesh.tensor={tensor} does not divide the {m.kv_heads} key-value heads: keys and values are whole on each of "
        f"the {tensor} devices; a divisor of {m.kv_heads} cuts them"
    ]


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
    width = jnp.dtype(m.dtype).itemsize
    columns = 2 * m.layers * m.kv_heads * m.head_dim * work.length
    flops = work.slots * (2 * (experts.active(m, size) - head) + 4 * m.layers * m.heads * m.head_dim * work.length)
    tensor = mesh.shape["tensor"]
    cached = work.slots / row_shards(mesh) * columns * width / (1 if m.kv_heads % tensor else tensor)
    return {"flops": flops / mesh.size, "bytes": (size - head) * width / tensor + cached}


def largest(compiles: int, chip, model, tx, state, mesh, work: Work) -> dict[str, int]:
    """Rows of a micro-batch and tokens of a response with which an update still fits, by doubling and halving.

    Args:
      compiles: at most this many programs for each of the two.
    """
    smallest = row_shards(mesh)

    def fits(changed: Work) -> bool:
        return compiled(programs.update(model, tx, state, mesh, changed))["memory"] <= chip.memory

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
