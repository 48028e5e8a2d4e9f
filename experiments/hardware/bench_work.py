"""What experiments/bench.py measures: each function gives a `Work`, ready to be called again and again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.advantages import ADVANTAGES
from entropy_rl.entropy import record as entropy
from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.losses.weights import WEIGHTS, compose
from entropy_rl.models import experts, presets
from entropy_rl.models.logprobs import choice_stats
from entropy_rl.models.products import matmul
from entropy_rl.models.scoring import token_scores
from entropy_rl.models.tiled_head import head_stats
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel import sharding
from entropy_rl.sampling import decode as decoding
from entropy_rl.sampling.engine import generate
from entropy_rl.training import learner, objectives, optimizer
from entropy_rl.training.rollouts import Batch, minibatches, pack

COEFS = {"entropy": jnp.float32(0), "kl": jnp.float32(0)}
NO_EOS = -1  # a token that is never sampled: every response has its full length


@dataclasses.dataclass(frozen=True)
class Work:
    """A call, and what it has to do at least.

    Attributes:
      call: does it; what it gives is waited for.
      flops: its arithmetic: 2 a parameter and token forward, 6 with the gradient, attention left out.
      tokens: that it makes or learns from.
      bytes: that it reads at least; None: not what binds it.
    """

    call: Callable[[], Any]
    flops: float
    tokens: int | None = None
    bytes: float | None = None


def peak(n: int = 1024, times: int = 4) -> Work:
    """Products of square float32 matrices."""
    x = jnp.ones((n, n)) / n
    product = jax.jit(lambda a: jax.lax.fori_loop(0, times, lambda _, b: a @ b, a))
    return Work(lambda: product(x), times * 2 * n**3)


def prefill(c: ConfigDict, seed: int) -> Work:
    """The prompts of a step, a group's once."""
    model, params, size = policy(c, seed)
    prompts = jnp.asarray(random_prompts(c.prompts, c.prompt, c.vocab, seed))
    return Work(lambda: decoding.prefill(model, params, prompts), 2 * (size - head_size(model)) * prompts.size)


def decode(c: ConfigDict, seed: int) -> Work:
    """Sampling of the responses of a step, with the prefill."""
    model, params, size = policy(c, seed)
    prompts = random_prompts(c.prompts, c.prompt, c.vocab, seed)
    rows = c.prompts * c.samples
    sample = partial(generate, model, params, prompts, samples=c.samples, max_new=c.new, eos=NO_EOS)
    m = model.config
    cached = 2 * m.layers * m.kv_heads * m.head_dim * (c.prompt + c.new) * rows
    return Work(
        lambda: sample(jax.random.key(seed)) and None,
        2 * size * (rows * c.new + c.prompts * c.prompt),
        rows * c.new,
        c.new * jnp.dtype(m.dtype).itemsize * (size + cached),
    )


def scan(c: ConfigDict, seed: int) -> Work:
    """The same as `decode` by a plain scan over positions, one batch, one program: what slots are to keep up with."""
    model, params, size = policy(c, seed)
    prompts = jnp.asarray(random_prompts(c.prompts, c.prompt, c.vocab, seed), jnp.int32)
    rows, columns = c.prompts * c.samples, c.prompt + c.new

    @jax.jit
    def sample(params, key):
        _, out = model.apply(params, prompts, logits=False)
        wide = lambda x: jnp.pad(jnp.repeat(x, c.samples, axis=0), ((0, 0), (0, 0), (0, c.new), (0, 0)))  # noqa: E731
        last = jnp.repeat(prompts[:, -1], c.samples)

        def step(carry, t):
            cache, token = carry
            valid = jnp.broadcast_to(jnp.arange(columns)[None] <= c.prompt - 1 + t, (rows, columns))
            place = jnp.full((rows, 1), c.prompt - 1 + t)
            logits, out = model.apply(params, token[:, None], place, cache=cache, column=c.prompt - 1 + t, valid=valid)
            e = decoding.noise(key, jnp.arange(rows), jnp.full(rows, c.prompt + t), c.vocab)
            token = decoding.draw(logits[:, 0], e)
            return (out["cache"], token), (token, *choice_stats(logits[:, 0], token))

        return jax.lax.scan(step, (jax.tree.map(wide, out["cache"]), last), jnp.arange(c.new))[1]

    return Work(
        lambda: jax.device_get(sample(params, jax.random.key(seed))),
        2 * size * (rows * c.new + c.prompts * c.prompt),
        rows * c.new,
    )


def ragged(c: ConfigDict, seed: int, *, slots: int) -> Work:
    """Responses whose lengths are geometric, with a mean of a quarter of the longest; `slots` 0: batches of c.batch
    that each wait for their longest, as a sampler without slots does."""
    model, params, size = policy(c, seed)
    prompts = random_prompts(c.prompts, c.prompt, c.vocab, seed)
    sample = partial(generate, model, params, samples=c.samples, max_new=c.new, eos=1, warp=ends(4 / c.new))
    made = {}

    def call():
        if slots:
            groups = sample(prompts, jax.random.key(seed), slots=slots)
        else:
            at_once = c.batch // c.samples
            groups = []
            for i in range(0, c.prompts, at_once):
                # one chunk, and no slot left out before the longest is done
                groups += sample(prompts[i : i + at_once], jax.random.key(seed + i), chunk=c.new, fewest=c.batch)
        made["tokens"] = sum(len(x.tokens) for g in groups for x in g)

    call()
    return Work(call, 2 * size * made["tokens"], made["tokens"])


def ends(probability: float) -> Callable[[jax.Array], jax.Array]:
    """A warp under which token 1 comes with this probability at every place."""

    def warp(logits):
        is_end = jnp.arange(logits.shape[-1])[None] == 1
        others = jax.nn.log_softmax(jnp.where(is_end, -1e30, logits)) + math.log(1 - probability)
        return jnp.where(is_end, math.log(probability), others)

    return warp


def score(c: ConfigDict, seed: int) -> Work:
    """Log-probabilities and entropies of all responses, prompts shared."""
    model, params, size = policy(c, seed)
    batch = random_batch(c, seed)
    scores = jax.jit(token_scores(model, samples=c.samples, prompt_length=c.prompt))
    rows = c.prompts * c.samples
    tokens = rows * c.new + c.prompts * c.prompt
    return Work(lambda: scores(params, batch.tokens, batch.mask), 2 * size * tokens, rows * c.new)


def update(c: ConfigDict, seed: int) -> Work:
    """One PPO update on the responses of a step, prompts shared."""
    model, _, size = policy(c, seed)
    state, step = learning(model, seed, samples=c.samples, prompt_length=c.prompt)
    batch = random_batch(c, seed)
    rows = c.prompts * c.samples

    def call():
        nonlocal state
        state, metrics = step(state, batch, jax.random.key(seed), COEFS)
        return metrics

    return Work(call, 6 * size * (rows * c.new + c.prompts * c.prompt), rows * c.new)


def grpo_step(
    c: ConfigDict,
    seed: int,
    *,
    record: bool = True,
    policy_of: Callable | None = None,
    prompts: list[list[int]] | None = None,
) -> Work:
    """Sample, reward, record, learn: what train_rl does in a step, with a reward that costs nothing.

    Args:
      policy_of: (c, seed) -> (model, params, size); None: `policy`.
      prompts: token ids; None: random ones.
    """
    model, params, size = (policy_of or policy)(c, seed)
    state, step = learning(model, seed, params, c.get("parts", 1), samples=c.samples, prompt_length=c.prompt)
    prompts = prompts or random_prompts(c.prompts, c.prompt, c.vocab, seed)
    length = c.prompt + c.new
    advantage, weight = jax.jit(ADVANTAGES["grpo"]), jax.jit(compose("token_mean"))
    entropy_record = jax.jit(entropy.record)
    n = 0

    def call():
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
    return Work(call, (2 + 6) * size * (rows * c.new + c.prompts * c.prompt), rows * c.new)


def head(c: ConfigDict, seed: int, *, tiled: bool) -> Work:
    """Log-probabilities, entropies and gradients through both, from hidden states; tiled or with all logits."""
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.normal(size=(8, c.tokens // 8, c.width)), jnp.float32)
    w = jnp.asarray(rng.normal(size=(c.vocab, c.width)) * c.width**-0.5, jnp.float32)
    y = jnp.asarray(rng.integers(0, c.vocab, x.shape[:2]))
    stats = head_stats if tiled else lambda x, w, y: choice_stats(matmul(x, w.T), y)
    step = jax.jit(jax.grad(lambda x, w: sum(map(jnp.sum, stats(x, w, y))), (0, 1)))
    return Work(lambda: step(x, w), 6 * c.tokens * c.vocab * c.width, c.tokens)


def policy(c: ConfigDict, seed: int):
    """(model, params, number of parameters that a token is multiplied with) of a row's config."""
    kinds = {key: jnp.dtype(c[key]) for key in ("dtype", "param_dtype") if key in c}
    more = {key: c[key] for key in ("remat", "attention", "rope_theta") if key in c}
    model = presets.make(c.model, c.vocab, **kinds, **more)
    params = jax.jit(model.init)(jax.random.key(seed), jnp.zeros((1, 2), jnp.int32))
    return model, params, experts.active(model.config, sum(x.size for x in jax.tree.leaves(params)))


def head_size(model: Transformer) -> int:
    """Parameters of the head, which a prefill does not run."""
    return model.config.vocab_size * model.config.d_model


def learning(model: Transformer, seed: int, params: Any = None, parts: int = 1, *, samples: int, prompt_length: int):
    """(state, update) of PPO with AdamW, in `parts` micro-batches; prompts shared as in models/scoring.token_scores."""
    tx = optimizer.make_optimizer(optimizer.make_schedule(1e-5))
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    scores = token_scores(model, samples=samples, prompt_length=prompt_length)
    objective = objectives.policy(scores, POLICY_LOSSES["ppo"])
    state = learner.init_state(model, tx, mesh, jax.random.key(seed))
    if params is not None:
        state = learner.with_params(state, params)
    cut = {"microbatches": parts, "group_size": samples}
    return state, learner.make_update(objective, tx, record=objectives.policy_record, **cut)


def random_prompts(count: int, length: int, vocab: int, seed: int) -> list[list[int]]:
    """Token ids, none of them 0 or 1."""
    return np.random.default_rng(seed).integers(2, vocab, (count, length)).tolist()


def random_batch(c: ConfigDict, seed: int) -> Batch:
    """Responses of full length to the prompts of a step."""
    rng = np.random.default_rng(seed)
    prompts = np.repeat(random_prompts(c.prompts, c.prompt, c.vocab, seed), c.samples, axis=0)
    tokens = np.concatenate([prompts, rng.integers(0, c.vocab, (len(prompts), c.new))], axis=1).astype(np.int32)
    mask = np.broadcast_to(np.arange(tokens.shape[1]) >= c.prompt, tokens.shape)
    weight = np.asarray(WEIGHTS["token_mean"](mask))
    return Batch(tokens, mask, weight, np.full(mask.shape, -3.0, np.float32), rng.normal(size=mask.shape).astype("f4"))
