"""Benchmark: what a step is made of, against the machine's matrix-product peak in the same run.

    python -m experiments.bench --config=configs/bench.py --workdir=runs/bench

Measurements take turns, so that a machine that slows down slows all of them; medians are reported, in wall time and in
CPU-seconds of all threads, which neighbours on a shared machine disturb less. The bound of a row is its arithmetic (2
FLOPs a parameter and token forward, 6 with the gradient) at the measured peak; on an accelerator at its maker's, or its
bytes at its bandwidth where that takes longer. Left out: attention's own arithmetic, a few per cent here.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl import files, tables
from experiments.hardware import bench_work, chips
from experiments.hardware.bench_work import Work
from experiments.lib import launch, workdirs

PEAK = "matrix product 1024"
# What a first call does besides its work, by the names of jax's own clocks.
PHASES = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}


def run(config: ConfigDict, workdir: str) -> dict:
    """Measures, prints a table, writes `workdir`/bench.json and returns what is in it."""
    makers = {PEAK: bench_work.peak, **makers_of(config)}
    work, first, phases, wall, cpu = {}, {}, {}, {}, {}
    for name, make in makers.items():
        work[name] = make()
        with Phases() as phases[name]:
            first[name] = measure(work[name].call)[1]
        wall[name], cpu[name] = [], []
    for _ in range(config.repeats):
        for name in work:
            seconds = measure(work[name].call)
            wall[name].append(seconds[0])
            cpu[name].append(seconds[1])
    result = {
        "machine": {"processor": processor(), "cores": os.cpu_count(), "jax": jax.__version__},
        "device": jax.devices()[0].device_kind,
        "commit": workdirs.git_commit(),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "repeats": config.repeats,
        "rows": {},
    }
    flops = work[PEAK].flops
    chip = chips.of(result["device"])
    if chip is None:
        result |= {
            "peak_gflop_per_cpu_s": flops / np.median(cpu[PEAK]) / 1e9,
            "peak_gflop_per_s": flops / np.median(wall[PEAK]) / 1e9,
        }
    for name, w in work.items():
        row = {
            "wall_s": np.median(wall[name]),
            "cpu_s": np.median(cpu[name]),
            "cpu_s_quartiles": np.quantile(cpu[name], [0.25, 0.75]).tolist(),
            "first_cpu_s": first[name],
            "first_wall_s": phases[name].seconds(),
            "tokens_per_s": w.tokens / np.median(wall[name]) if w.tokens else None,
            "gflop": w.flops / 1e9,
        }
        if chip is None:
            row["bound"] = w.flops / 1e9 / result["peak_gflop_per_cpu_s"] / row["cpu_s"]
        else:
            row["bound"] = max(w.flops / chip.flops, (w.bytes or 0.0) / chip.bandwidth) / row["wall_s"]
        result["rows"][name] = row
    workdir = workdirs.open_workdir(config, workdir)
    files.write(Path(workdir) / "bench.json", json.dumps(result, indent=2) + "\n")
    print(table(result))
    return result


def makers_of(config: ConfigDict) -> dict[str, Callable[[], Work]]:
    """What is to be measured, by name."""
    seed = config.seed
    makers: dict[str, Callable[[], Work]] = {}
    parts = ("prefill", "decode", "score", "update", "grpo_step")
    for size, c in config.get("steps", {}).items():
        for part in parts:
            makers[f"{size}: {part.replace('_', ' ')}"] = partial(getattr(bench_work, part), c, seed)
    for name, c in config.get("growth", {}).items():
        for part in ("decode", "update"):
            makers[f"{name}: {part}"] = partial(getattr(bench_work, part), c, seed)
    if "sampler" in config:
        even, uneven = config.sampler.even, config.sampler.ragged
        makers |= {
            "even lengths: plain scan": partial(bench_work.scan, even, seed),
            "even lengths: slots": partial(bench_work.decode, even, seed),
            f"ragged: batches of {uneven.batch}": partial(bench_work.ragged, uneven, seed, slots=0),
            f"ragged: {uneven.batch} slots": partial(bench_work.ragged, uneven, seed, slots=uneven.batch),
            "ragged: a slot a response": partial(
                bench_work.ragged, uneven, seed, slots=uneven.prompts * uneven.samples
            ),
        }
    if "head" in config:
        makers |= {
            "head: all logits": partial(bench_work.head, config.head, seed, tiled=False),
            "head: tiled": partial(bench_work.head, config.head, seed, tiled=True),
        }
    return makers


def table(result: dict) -> str:
    """The result as lines of text."""
    machine = result["machine"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {result['device']}, jax {machine['jax']}, "
        f"median of {result['repeats']}, commit {(result['commit'] or 'unknown')[:7]}"
    ]
    if "peak_gflop_per_s" in result:
        lines.append(
            f"matrix-product peak {result['peak_gflop_per_s']:.0f} GFLOP/s, {result['peak_gflop_per_cpu_s']:.0f} "
            f"GFLOP per CPU-second; peak memory {result['peak_memory_mib']:.0f} MiB"
        )
    head = ["", "wall s", "CPU-s", "GFLOP", "of bound", "tokens/s", "first CPU-s", "trace", "lower", "XLA s"]
    rows = []
    for name, r in result["rows"].items():
        tokens = f"{r['tokens_per_s']:,.0f}" if r["tokens_per_s"] else ""
        cells = [name, f"{r['wall_s']:.3f}", f"{r['cpu_s']:.3f}", f"{r['gflop']:.1f}", f"{r['bound']:.0%}", tokens]
        rows.append([*cells, *(f"{s:.1f}" for s in (r["first_cpu_s"], *r["first_wall_s"].values()))])
    return "\n".join([*lines, tables.table(head, rows, "lr", [32, 9, 9, 8, 9, 11, 13, 8, 7])])


def measure(f: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU of all threads) seconds of one call that is waited for."""
    usage = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])  # noqa: E731
    clock, cpu = time.perf_counter(), usage()
    jax.block_until_ready(f())
    return time.perf_counter() - clock, usage() - cpu


class Phases:
    """Within a `with`, how long jax traces, lowers and compiles (or fetches from the cache); threads' times overlap."""

    def __enter__(self) -> Phases:
        self._spans: dict[str, list[tuple[float, float]]] = {phase: [] for phase in PHASES.values()}
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        return self

    def __exit__(self, *exc) -> None:
        jax.monitoring.unregister_event_duration_listener(self._hear)

    def _hear(self, event: str, duration: float, **about) -> None:
        if event in PHASES:
            now = time.perf_counter()
            self._spans[PHASES[event]].append((now - duration, now))

    def seconds(self) -> dict[str, float]:
        """Wall seconds in which each was going on: a function is traced within another, and counts once."""
        out = {}
        for phase, spans in self._spans.items():
            end, out[phase] = 0.0, 0.0
            for start, stop in sorted(spans):
                out[phase] += max(stop - max(start, end), 0.0)
                end = max(end, stop)
        return out


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    launch.main(run)
