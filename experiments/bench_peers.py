"""A GRPO step of this project, of tunix and of TRL, timed side by side on the same work.

One checkpoint folder, the same prompts, reward, batch, lengths and optimiser, on the CPU, in turns:

    make bench-peers

Each runs in an environment of its own (hardware/peers/*.txt) and does a step when it is asked to; the others wait
meanwhile. Reported are medians of CPU-seconds of all threads and of wall time, quartiles, and ratios of steps that were
measured after each other. That all have the same model is checked by their log-probability of the prompts. What is left
out: none of them saves or evaluates, and only this project and TRL compute entropies.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from entropy_rl import files, tables
from entropy_rl.errors import InputError
from experiments.lib import checks, launch, workdirs

PEERS = Path(__file__).parent / "hardware" / "peers"
OWN = "entropy_rl"
SAME = 1e-3  # nats a token, between computations of one log-probability


class Worker:
    """A program that does a step for each line (experiments/hardware/peers/pace.py)."""

    def __init__(self, name: str, command: Sequence[str], folder: Path):
        self.name, self.failed = name, ""
        self._log = folder / f"{name}.log"
        with open(self._log, "w") as log:
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=launch.ROOT
            )
        self.about = self._read()

    def step(self, what: str = "step") -> dict[str, float] | None:
        """What a step took; None if the worker has failed, now or before."""
        if self.failed:
            return None
        try:
            self._child.stdin.write(what + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # `_read` says why
        return self._read()

    def close(self) -> None:
        """Ends it."""
        self._child.kill()
        self._child.communicate()

    def _read(self) -> dict[str, Any] | None:
        line = self._child.stdout.readline()
        if line:
            return json.loads(line)
        last = self._log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        self.failed = last[0][:300]
        if (status := self._child.wait()) < 0:  # then its last line says nothing of why
            self.failed = f"ended by {signal.Signals(-status).name}, for want of memory perhaps, after: {self.failed}"
        return None


def run(config: ConfigDict, workdir: str) -> dict:
    """Measures, prints a table for each size, writes `workdir`/bench_peers.json and returns what is in it.

    Raises:
      InputError: a bad value, or an environment that is not there.
    """
    checks.positive(config, "repeats")
    commands = {OWN: [sys.executable, "-m", "experiments.hardware.peers.own_worker"]}
    for name in config.peers:
        python = launch.ROOT / f".venv-{name}" / "bin" / "python"
        if not python.exists():
            raise InputError(f"{python} is not there: make bench-peers makes it")
        commands[name] = [str(python), str(PEERS / f"{name}_worker.py")]
    for c in config.sizes.values():
        if "folder" in c and not (launch.ROOT / c.folder / "config.json").exists():
            raise InputError(f"{c.folder} is not there: make smollm2 makes it, or give another size")
    result: dict[str, Any] = {
        "machine": machine(),
        "commit": workdirs.git_commit(),
        "repeats": config.repeats,
        "sizes": {},
    }
    for size, c in config.sizes.items():
        with tempfile.TemporaryDirectory() as folder:
            spec = write_spec(c, config, Path(folder))
            full = {name: [*command, str(spec)] for name, command in commands.items()}
            repeats = c.get("repeats", config.repeats)
            result["sizes"][size] = compare(full, repeats, Path(folder)) | {"repeats": repeats}
    workdir = workdirs.open_workdir(config, workdir)
    files.write(Path(workdir) / "bench_peers.json", json.dumps(result, indent=2) + "\n")
    print(table(result))
    return result


def compare(commands: dict[str, Sequence[str]], repeats: int, folder: Path) -> dict[str, Any]:
    """First steps, then `repeats` rounds in which each does one; statistics by name."""
    workers = []
    try:
        for name, command in commands.items():
            workers.append(Worker(name, command, folder))
        check_same(workers)
        first = {w.name: w.step() for w in workers}
        for w in workers:
            w.step()  # what is compiled at the second step only
        own = workers[0]
        peak, steps = [], {w.name: [] for w in workers}
        for _ in range(repeats):
            peak.append(own.step("peak"))
            for w in workers:
                steps[w.name].append(w.step())
        return summary(workers, first, peak, steps)
    finally:
        for w in workers:
            w.close()


def check_same(workers: Sequence[Worker]) -> None:
    """A worker that computes another log-probability of the prompts has another model, and counts as failed."""
    for w in workers:
        if not w.failed and not workers[0].failed:
            theirs, ours = w.about["logp"], workers[0].about["logp"]
            if abs(theirs - ours) > SAME:
                w.failed = f"its log-probability of the prompts is {theirs:.5f} a token and not {ours:.5f}"


def summary(workers, first, peak, steps) -> dict[str, Any]:
    """Medians, quartiles, and the ratio to this project's step of the same round."""
    rows = {}
    for w in workers:
        if w.failed:
            rows[w.name] = {"failed": w.failed}
            continue
        cpu, wall = (np.array([s[key] for s in steps[w.name]]) for key in ("cpu_s", "wall_s"))
        rows[w.name] = {
            "versions": w.about["ready"],
            "parameters": w.about["parameters"],
            "first_cpu_s": first[w.name]["cpu_s"],
            "cpu_s": float(np.median(cpu)),
            "cpu_s_quartiles": np.quantile(cpu, [0.25, 0.75]).tolist(),
            "wall_s": float(np.median(wall)),
        }
    own = workers[0]
    if own.failed:
        return {"rows": rows}
    gflop = own.about["gflop"]
    flops = 8 * 1024**3 / np.median([p["cpu_s"] for p in peak])  # four products of 1,024
    bound = gflop * 1e9 / flops
    for w in workers:
        if not w.failed:
            pairs = [a["cpu_s"] / b["cpu_s"] for a, b in zip(steps[w.name], steps[own.name])]
            rows[w.name] |= {"ratio": float(np.median(pairs)), "of_bound": rows[w.name]["cpu_s"] / bound}
    return {"rows": rows, "gflop": gflop, "peak_gflop_per_cpu_s": flops / 1e9, "bound_cpu_s": bound}


def table(result: dict[str, Any]) -> str:
    """The result as lines of text."""
    lines = [f"{result['machine']}, median of {result['repeats']}, commit {(result['commit'] or 'unknown')[:7]}"]
    for size, made in result["sizes"].items():
        fewer = made.get("repeats", result["repeats"])
        lines.append(f"{size}:" if fewer == result["repeats"] else f"{size}, median of {fewer}:")
        if "gflop" in made:
            lines.append(
                f"  {made['gflop']:.1f} GFLOP are {made['bound_cpu_s']:.3f} CPU-s at the matrix-product peak, "
                f"{made['peak_gflop_per_cpu_s']:.0f} GFLOP per CPU-second"
            )
        rows = []
        for name, r in made["rows"].items():
            if "failed" in r:
                rows.append([f"  {name}", f"failed: {r['failed']}"])
                continue
            low, high = r["cpu_s_quartiles"]
            cells = [f"  {name}", f"{r['cpu_s']:.3f}", f"{low:.3f} {high:.3f}", f"{r['wall_s']:.3f}"]
            rows.append([*cells, f"{r['ratio']:.2f}", f"{r['of_bound']:.2f}", f"{r['first_cpu_s']:.1f}"])
        head = ["", "CPU-s", "quartiles", "wall s", "times ours", "x bound", "first CPU-s"]
        lines.append(tables.table(head, rows, "lr", [14, 8, 16, 8, 12, 9, 13]))
    return "\n".join(lines)


def write_spec(c: ConfigDict, config: ConfigDict, folder: Path) -> Path:
    """A model folder with words t0, t1, ..., and what is to be done with it; its weights are random, or c.folder's."""
    from entropy_rl.models import hf
    from experiments.hardware import bench_work

    if "folder" in c:
        (folder / "model").mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copy(launch.ROOT / c.folder / name, folder / "model" / name)
    else:
        model, params, _ = bench_work.policy(c, config.seed)
        hf.save(folder / "model", model, params)
    # the last word ends a text, and is asked for by nobody
    words = {f"t{i}": i for i in range(c.vocab)}
    end = f"t{c.vocab - 1}"
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "t0"},
    }
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": end, "pad_token": "t1", "unk_token": "t0"}
    for name, value in (("tokenizer.json", tokenizer), ("tokenizer_config.json", about)):
        (folder / "model" / name).write_text(json.dumps(value))
    spec = {
        "folder": str(folder / "model"),
        "prompts": bench_work.random_prompts(c.prompts, c.prompt, c.vocab - 1, config.seed),
        "samples": c.samples,
        "new": c.new,
        "parts": c.get("parts", 1),
        "learning_rate": config.learning_rate,
        "threads": os.cpu_count(),
        "most_steps": config.repeats + 10,
        "unused_token": c.vocab - 1,
    }
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    return path


def machine() -> str:
    """Processor and cores."""
    from experiments.bench import processor

    return f"{processor()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    launch.main(run)
