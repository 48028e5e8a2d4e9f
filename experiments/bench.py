"""Benchmark: decode, update and a whole GRPO step, against the machine's matrix-product peak in the same run.

    python -m experiments.bench --config=configs/bench.py --workdir=runs/bench

Measurements take turns, so that a machine that slows down slows all of them; medians are reported, in wall time and in
CPU-seconds of all threads, which neighbours on a shared machine disturb less. The floor of a row is its arithmetic (2
FLOPs a parameter and token forward, 6 with the gradient) at the measured peak. Left out: attention's own arithmetic,
a few per cent here.
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
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from entropy_rl import entropy, learner, objectives, sharding
from entropy_rl.advantages import ADVANTAGES
from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.losses.weights import WEIGHTS, compose
from entropy_rl.models import presets
from entropy_rl.models.scoring import token_scores
from entropy_rl.rollouts import Batch, minibatches, pack
from entropy_rl.sampling.engine import generate
from experiments import launch

COEFS = {"entropy": jnp.float32(0), "kl": jnp.float32(0)}
NO_EOS = -1  # a token that is never sampled: every response has its full length


def run(config: ConfigDict, workdir: str) -> dict:
    """Measures, prints a table, writes `workdir`/bench.json and returns what is in it."""
    work = {
        "matrix product 1024": matmul(),
        "decode": decode(config.decode, config.seed),
        "update": update(config.train, config.seed),
        "GRPO step, entropy record on": grpo_step(config.step, config.seed, record=True),
        "GRPO step, entropy record off": grpo_step(config.step, config.seed, record=False),
    }
    first, wall, cpu = {}, {name: [] for name in work}, {name: [] for name in work}
    for name, (f, _, _) in work.items():
        first[name] = measure(f)[1]
    for _ in range(config.repeats):
        for name, (f, _, _) in work.items():
            seconds = measure(f)
            wall[name].append(seconds[0])
            cpu[name].append(seconds[1])
    peak = work["matrix product 1024"][1] / np.median(cpu["matrix product 1024"])
    rows = {}
    for name, (_, flops, tokens) in work.items():
        w, c = np.median(wall[name]), np.median(cpu[name])
        rows[name] = {
            "wall_s": w,
            "cpu_s": c,
            "cpu_s_quartiles": np.quantile(cpu[name], [0.25, 0.75]).tolist(),
            "first_cpu_s": first[name],
            "tokens_per_s": tokens / w if tokens else None,
            "gflop": flops / 1e9,
            "share_of_peak": flops / c / peak,
        }
    result = {
        "machine": {"processor": processor(), "cores": os.cpu_count(), "jax": jax.__version__},
        "device": jax.devices()[0].device_kind,
        "peak_gflop_per_cpu_s": peak / 1e9,
        "peak_gflop_per_s": work["matrix product 1024"][1] / np.median(wall["matrix product 1024"]) / 1e9,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "repeats": config.repeats,
        "rows": rows,
    }
    workdir = launch.open_workdir(config, workdir)
    (Path(workdir) / "bench.json").write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))
    return result


def table(result: dict) -> str:
    """The result as lines of text."""
    machine = result["machine"]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {result['device']}, jax {machine['jax']}, "
        f"median of {result['repeats']}",
        f"matrix-product peak {result['peak_gflop_per_s']:.0f} GFLOP/s, {result['peak_gflop_per_cpu_s']:.0f} "
        f"GFLOP per CPU-second; peak memory {result['peak_memory_mib']:.0f} MiB",
        f"{'':<32}{'wall s':>9}{'CPU-s':>9}{'GFLOP':>8}{'of peak':>9}{'tokens/s':>11}{'first CPU-s':>13}",
    ]
    for name, r in result["rows"].items():
        tokens = f"{r['tokens_per_s']:,.0f}" if r["tokens_per_s"] else ""
        lines.append(
            f"{name:<32}{r['wall_s']:>9.3f}{r['cpu_s']:>9.3f}{r['gflop']:>8.1f}{r['share_of_peak']:>9.0%}{tokens:>11}"
            f"{r['first_cpu_s']:>13.1f}"
        )
    return "\n".join(lines)


def measure(f: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU of all threads) seconds of one call that is waited for."""
    usage = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])  # noqa: E731
    clock, cpu = time.perf_counter(), usage()
    jax.block_until_ready(f())
    return time.perf_counter() - clock, usage() - cpu


def matmul(n: int = 1024, times: int = 4):
    """Products of square float32 matrices: (function, FLOPs, tokens)."""
    x = jnp.ones((n, n)) / n
    product = jax.jit(lambda a: jax.lax.fori_loop(0, times, lambda _, b: a @ b, a))
    return lambda: product(x), times * 2 * n**3, None


def decode(c: ConfigDict, seed: int):
    """Sampling of `batch` responses of `new` tokens, prompts prefilled in groups of 8."""
    model, params, size = policy(c, seed)
    prompts = random_prompts(c.batch // 8, c.prompt, c.vocab, seed)
    sample = partial(generate, model, params, prompts, samples=8, max_new=c.new, eos=NO_EOS)
    tokens = c.batch * c.new
    return lambda: sample(jax.random.key(seed)) and None, 2 * size * (tokens + c.batch // 8 * c.prompt), tokens


def update(c: ConfigDict, seed: int):
    """One PPO update of `batch` rows of `length` tokens."""
    model, _, size = policy(c, seed)
    state, step = learning(model, seed)
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, c.vocab, (c.batch, c.length)).astype(np.int32)
    mask = np.broadcast_to(np.arange(c.length) >= 7, tokens.shape)
    weight = np.asarray(WEIGHTS["token_mean"](mask))
    batch = Batch(tokens, mask, weight, np.full(mask.shape, -3.0, np.float32), rng.normal(size=mask.shape).astype("f4"))

    def f():
        nonlocal state
        state, metrics = step(state, batch, jax.random.key(seed), COEFS)
        return metrics

    return f, 6 * size * c.batch * c.length, c.batch * c.length


def grpo_step(c: ConfigDict, seed: int, *, record: bool):
    """Sample, reward, record, learn: what train_rl does in a step, with a reward that costs nothing."""
    model, _, size = policy(c, seed)
    state, step = learning(model, seed, samples=c.samples, prompt_length=c.prompt)
    prompts = random_prompts(c.prompts, c.prompt, c.vocab, seed)
    length = c.prompt + c.new
    advantage, weight = jax.jit(ADVANTAGES["grpo"]), jax.jit(compose("token_mean"))
    entropy_record = jax.jit(entropy.record)
    n = 0

    def f():
        nonlocal state, n
        n += 1
        groups = generate(model, state.params, prompts, jax.random.key(n), samples=c.samples, max_new=c.new, eos=NO_EOS)
        rewards = [[float(x.tokens.sum() % 2) for x in g] for g in groups]
        rollout = pack(prompts, groups, rewards, length=length, pad_id=0)
        per_row = np.asarray(advantage(rollout.reward, rollout.group))
        row = {}
        if record:
            row = entropy_record(
                rollout.entropy, rollout.sampler_logp, per_row[:, None] * rollout.mask, rollout.mask, rollout.mask
            )
        (batch,) = minibatches(rollout, per_row, weight, count=1)
        state, metrics = step(state, batch, jax.random.key(n), COEFS)
        return jax.device_get((row, metrics))

    rows = c.prompts * c.samples
    # sampler and learner both run a prompt once for all its responses
    return f, (2 + 6) * size * (rows * c.new + c.prompts * c.prompt), rows * c.new


def policy(c: ConfigDict, seed: int):
    """(model, params, number of parameters) of a row's config."""
    model = presets.make(c.model, c.vocab)
    params = jax.jit(model.init)(jax.random.key(seed), jnp.zeros((1, 2), jnp.int32))
    return model, params, sum(x.size for x in jax.tree.leaves(params))


def learning(model, seed: int, **shared):
    """(state, update) of PPO with AdamW; `shared` prompts as in models/scoring.token_scores."""
    tx = learner.make_optimizer(learner.make_schedule(1e-5))
    mesh = sharding.make_mesh()
    objective = objectives.policy(token_scores(model, **shared), POLICY_LOSSES["ppo"])
    state = learner.init_state(model, tx, mesh, jax.random.key(seed))
    return state, learner.make_update(objective, tx, record=objectives.policy_record)


def random_prompts(count: int, length: int, vocab: int, seed: int) -> list[list[int]]:
    """Token ids."""
    return np.random.default_rng(seed).integers(0, vocab, (count, length)).tolist()


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    launch.main(run)
