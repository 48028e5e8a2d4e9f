"""From a config to the objects of an RL run: here it is unpacked into keywords. Parts are made and tried on before
there is a workdir, so that a bad value leaves none behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from entropy_rl.advantages import ADVANTAGES, gae, overlong
from entropy_rl.data import packing
from entropy_rl.data.problem import Task
from entropy_rl.errors import InputError
from entropy_rl.losses.importance import IMPORTANCE, token_cap
from entropy_rl.losses.kl import KL
from entropy_rl.losses.policy import DRAWS, POLICY_LOSSES
from entropy_rl.models import lora, rope
from entropy_rl.models.scoring import by_place, chosen_experts, filtered_scores, token_scores, values
from entropy_rl.models.transformer import RULES, Transformer
from entropy_rl.parallel import sharding
from entropy_rl.training import learner
from entropy_rl.training.state import Critic, State, abstract_state, first_state, heated
from experiments.lib import build, checks
from experiments.lib.evaluation import Evaluator
from experiments.lib.policies import first_policy
from experiments.rl import critique, distillation, diversity, settings

IMPORTANCE_CAP = 2.0  # of truncated importance sampling (verl's and the usual one)
GATHERED = sharding.without(RULES, "fsdp")  # where a sampler's copy of the weights is
DTYPES = ("float32", "bfloat16", "float16")  # of a sampler


@dataclasses.dataclass(frozen=True)
class Parts:
    """All that train_rl runs with."""

    task: Task
    model: Transformer
    mesh: jax.sharding.Mesh
    tx: optax.GradientTransformation
    evaluator: Evaluator
    adaptation: build.Adaptation  # of the policy: which parameters are trained, and sampled with
    critic: Critic | None
    reference: bool  # whether there is one
    lag: int  # steps by which the policy that samples is behind
    seen: Callable[[Any], Any]  # parameters as they are trained -> as rollouts are sampled with
    gathered: Callable[[Any], Any]  # parameters to sample with -> where samplers want them
    learning: dict[str, Any]  # keywords of training/step.Learner, but its key
    sampling: dict[str, Any]  # keywords of training/collect.Collector, but its key

    @property
    def kept(self) -> dict[str, Any]:
        """What a run's state has beside the policy: keywords of training/state.first_state and abstract_state."""
        mean = self.learning["teacher"] is not None and self.learning["teacher"].rate < 1
        return {"critic": self.critic, "mesh": self.mesh, "reference": self.reference, "lag": self.lag, "teacher": mean}


def make(config: ConfigDict, workdir: str | Path | None = None) -> Parts:
    """Parts of a run; `workdir`, which need not be there yet, is where a critic's replies are stored.

    Raises:
      InputError: a bad value.
    """
    check(config)
    r = config.rollout
    task = build.task(config, split="train")
    model = build.trained_model(config, task.tokenizer.vocab_size)
    mesh = build.mesh(config)
    groups = r.prompts // config.updates
    checks.rows(mesh, "the responses of a mini-batch (rollout.prompts / updates * rollout.samples)", groups * r.samples)
    slots = min(r.slots, r.prompts * r.samples)
    checks.rows(mesh, "the slots (rollout.slots, or rollout.prompts * samples)", slots)
    updates = config.steps * config.updates * config.epochs
    warming = config.critic.warmup if "critic" in config else 0  # steps in which the policy is not updated
    tx, schedule = build.optimizer(config, max(config.steps - warming, 1) * config.updates * config.epochs)

    size = r.samples + (more := critique.more_rows(config))  # rows of a group
    microbatches = build.microbatches(mesh, groups * size, config.microbatches, whole=size if more else 1)
    shared = build.shared_prompts(mesh, groups, r.samples, microbatches, task.prompt_length)

    # tried on: two responses, one of them empty
    mask = np.array([[False, True, True], [False, False, False]])
    x, row = np.zeros(mask.shape, np.float32), np.zeros(len(mask), np.float32)
    group = row.astype(np.int32)
    tokens = {"entropy": x, "advantage": x, "truncated": row > 0, "mask": mask, "refined": row > 0}
    tokens |= {"old_entropy": x, "filtered_logp": x, "logp": x, "reward": row, "group": group}
    loss = build.bind(POLICY_LOSSES, config.loss, "policy loss", x, x, x, mask, key=jax.random.key(0), data=tokens)
    advantage = critic = None
    if "critic" in config:
        critic = make_critic(config, model, shared, updates)
    elif config.advantage.name == "gae":
        raise InputError("advantage 'gae' needs a critic, and config has none: start from configs/rl/ppo.py")
    else:
        advantage = build.bind(ADVANTAGES, config.advantage, "advantage", row, group, data=tokens)
    weight = build.weight(config.weight, mask, tokens)
    settings.refuse(config)
    settings.refuse_replay(config, model.config.experts)
    adaptation = build.adaptation(config, model)
    sampler, seen = sampling_policy(config, model, adaptation)
    gathered = gather(config, mesh)
    bounds = [build.controller(config.entropy_band[k], f"config.entropy_band.{k}") for k in ("low", "high")]
    banded = not all(map(settings.zero, config.entropy_band.values()))
    coef, frac, top_p = (config.nucleus[key] for key in ("coef", "frac", "top_p"))
    nucleus, top = ((coef, frac), {"nucleus": top_p}) if coef else (None, {})
    filtered = filtered_scores(model, min_p=config.min_p, temperature=r.temperature)
    reference = config.kl.coef.name != "constant" or config.kl.coef.args.get("value", 0.0) != 0.0
    refiner = critique.refiner(config, task, sampler, mesh, workdir)
    length, scores = task.prompt_length + task.response_length, partial(token_scores, model, mesh=mesh, **top)
    score = scores(temperature=r.temperature, **shared)
    if more:  # rows with prompts of their own, and longer ones
        score = by_place(score, scores(temperature=r.temperature), count=r.samples, size=size, length=length)
    learning = {
        "score": adaptation.over(score),
        "tx": tx,
        "loss": loss,
        "weight": weight,
        "advantage": advantage,
        "critic": critic,
        "mesh": mesh,
        "seed": config.seed,
        "schedule": schedule,
        "updates": config.updates,
        "epochs": config.epochs,
        "microbatches": microbatches,
        "group_size": size if more else shared["samples"],
        "entropy_coef": build.controller(config.entropy_coef, "config.entropy_coef"),
        "kl_coef": build.controller(config.kl.coef, "config.kl.coef"),
        "kl_estimator": config.kl.estimator,
        "kl_place": config.kl.place,
        "reference": reference,
        "reference_every": config.kl.reset_every,
        "importance": importance(config, sampler, model, x, mask, tokens),
        "entropy_band": tuple(bounds) if banded else None,
        "smoothing": (config.smoothing.right, config.smoothing.wrong),
        "filtered": adaptation.over(filtered),
        "nucleus": nucleus,
        "current_weight": config.weight_policy == "current",
        "entropy_alpha": config.entropy_advantage.alpha,
        "entropy_kappa": config.entropy_advantage.kappa,
        "decisions": task.decisions,
        "load": build.load(config, model),
        "replay": adaptation.over(chosen_experts(model, mesh=mesh)) if config.replay == "learner" else None,
        "teacher": distillation.teacher(config, task, model, mesh, adaptation, microbatches),
    }
    sampling = {
        "model": sampler,
        "task": task,
        "prompts": r.prompts,
        "samples": r.samples,
        "seed": config.seed,
        "slots": r.slots,
        "temperature": r.temperature,
        "mesh": mesh,
        "rounds": config.filter_rounds,
        "penalty": overlong_penalty(config, task.response_length),
        "refiner": refiner,
        "refine_until": config.critique.until,
        "turns": (more, refiner.width + task.response_length) if more else (0, 0),
        "diversity": diversity.shaping(config, task),
        "distiller": distillation.distiller(config, task, sampler, mesh, workdir),
        "widths": widths(config, task, model),
        "routes": config.replay == "sampler",
    }
    evaluator = Evaluator(config, model, mesh)
    sampled = lambda params: gathered(seen(params))  # noqa: E731
    return Parts(
        *(task, model, mesh, tx, evaluator, adaptation, critic, reference, r.lag, sampled, gathered, learning, sampling)
    )


def first(config: ConfigDict, p: Parts) -> State:
    """A fresh state, or one that starts from the policy of `config.init`; the reference is a copy of it."""
    policy = first_policy(config, p.model, p.tx, p.mesh)
    if config.init_temperature != 1:
        policy = learner.with_params(policy, heated(policy.params, config.init_temperature, p.model.config))
    key = jax.random.key(config.seed)
    return first_state(policy, key=key, **p.kept)


def abstract(p: Parts) -> State:
    """Shapes, types and shardings of a run's state."""
    policy = learner.abstract_state(p.model, p.tx, p.mesh, p.adaptation.adapt)
    return abstract_state(policy, **p.kept)


def make_critic(config: ConfigDict, policy: Transformer, shared: dict[str, Any], updates: int) -> Critic:
    """The value model of `config.critic`, shaped like the policy; InputError for a bad value."""
    if config.advantage.name != "gae":
        raise InputError(f"config has a critic, which advantage {config.advantage.name!r} does not use: give gae")
    checks.positive(config, "critic.clip")
    checks.not_negative(config, "critic.warmup")
    x, mask = np.zeros((2, 3), np.float32), np.array([[False, True, True], [False, False, False]])
    advantage = build.bind({"gae": gae}, config.advantage, "advantage", x, x, mask)
    model = Transformer(dataclasses.replace(policy.config, head="value"))
    tx, _ = build.optimizer(config, updates, "critic.optimizer")
    return Critic(model, tx, values(model, **shared), advantage, config.critic.clip, config.critic.warmup)


def gather(config: ConfigDict, mesh: jax.sharding.Mesh) -> Callable[[Any], Any]:
    """Of parameters to sample with: where they are, or with `rollout.gather_weights` a copy cut over tensor alone."""
    if not gathers(config, mesh):
        return lambda params: params
    same = lambda params: params  # noqa: E731
    return lambda params: jax.jit(same, out_shardings=sharding.infer_sharding(params, GATHERED, mesh))(params)


def gathers(config: ConfigDict, mesh: jax.sharding.Mesh) -> bool:
    """Whether `rollout.gather_weights` makes a copy: where no axis fsdp cuts the weights there is none to make."""
    return config.rollout.gather_weights and mesh.shape["fsdp"] > 1


def held(config: ConfigDict, p: Parts) -> list[Any]:
    """Shapes, types and shardings of what devices hold in a rollout: the run's state, and what is sampled with where
    that is a copy (`rollout.gather_weights`, adapters merged, weights of fewer bits)."""
    state, plain = abstract(p), []

    def seen(params):
        made = p.seen(params)
        plain.append(made is params)
        return made

    copy = jax.eval_shape(seen, state.policy.params)
    if all(plain):
        return [state]
    return [state, sharding.laid_out(copy, GATHERED if gathers(config, p.mesh) else RULES, p.mesh)]


def sampling_policy(
    config: ConfigDict, model: Transformer, adaptation: build.Adaptation
) -> tuple[Transformer, Callable[[Any], Any]]:
    """The model that samples rollouts and what it is given of the parameters: the learner's, or of fewer bits.

    `rollout.dtype` is of its activations (and of weights where they are used), `rollout.param_dtype` what its weights
    are rounded to before that. Evaluations are of the learner's model and weights.
    """
    r, view = config.rollout, adaptation.view
    for key in ("rollout.dtype", "rollout.param_dtype"):
        if config.rollout[key.split(".")[1]] is not None:
            checks.one_of(config, key, DTYPES)
    if r.dtype is not None:
        shape = dataclasses.replace(model.config, dtype=jnp.dtype(r.dtype))
        model, view = Transformer(shape), lora.make_view(shape.dtype, shape.param_dtype, adaptation.scale)
    if r.param_dtype is None:
        return model, view
    bits = jnp.finfo(r.param_dtype)

    def rounded(x):
        wider = jnp.issubdtype(x.dtype, jnp.floating) and jnp.finfo(x.dtype).nmant > bits.nmant
        # a cast there and back could be left out by the compiler
        return jax.lax.reduce_precision(x, bits.nexp, bits.nmant) if wider else x

    rounding = jax.jit(lambda params: jax.tree.map(rounded, params))
    return model, lambda params: rounding(view(params))


def importance(
    config: ConfigDict, sampler: Transformer, model: Transformer, x: np.ndarray, mask: np.ndarray, data: dict[str, Any]
) -> Callable | None:
    """The row of IMPORTANCE that `config.importance` names, tried on; None: off.

    "auto" is `token_cap` of IMPORTANCE_CAP where activations of either side, or the sampler's weights, have fewer bits
    than float32: there its log-probabilities differ from the learner's by rounding, .02 nats a token on average in 8
    layers of bfloat16, and an update "on-policy" would see ratios other than 1. `importance_cap` is what older configs
    say.
    """
    name, cap = config.importance.name, config.importance_cap
    if cap is not None:
        if name != "auto":
            raise InputError(f"config.importance_cap={cap} and importance {name!r}: give one, best importance.args.cap")
        return partial(token_cap, cap=cap) if cap else None
    if name == "off":
        return None
    if name == "auto":
        types = (model.config.dtype, sampler.config.dtype, config.rollout.param_dtype or "float32")
        narrow = any(jnp.dtype(t).itemsize < 4 for t in types)
        return partial(token_cap, cap=IMPORTANCE_CAP) if narrow else None
    return build.bind(IMPORTANCE, config.importance, "importance", x, x, mask, data=data)


def widths(config: ConfigDict, task: Task, model: Transformer) -> int:
    """How many numbers of columns a rollout may have (training/collect.Collector): `rollout.widths`, or fewer, by the
    work of a step's updates, 6 for each of the model's parameters and each token (data/packing.widths).

    1 where a loss draws a number for each place, or positions follow from the length of rows: another width would be
    another result.
    """
    most = config.rollout.widths
    if config.loss.name in DRAWS or rope.by_length(model.config.rope_scaling):
        return 1
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    size = sum(x.size for x in jax.tree.leaves(shapes))
    tokens = config.rollout.prompts * config.rollout.samples * task.response_length * config.epochs
    return packing.widths(6 * size * tokens, most)


def overlong_penalty(config: ConfigDict, response_length: int) -> Callable | None:
    """The soft penalty of `config.overlong`, or None."""
    cache = config.overlong_cache
    if cache >= response_length:
        raise InputError(f"config.overlong_cache={cache}: must be below the longest response, {response_length} tokens")
    return partial(overlong, max_length=response_length, cache=cache) if cache else None


def check(config: ConfigDict) -> None:
    """InputError for values that would fail late or mean nothing."""
    checks.positive(
        config,
        *("steps", "updates", "epochs", "checkpoint.every", "checkpoint.keep", "eval.every"),
        *("rollout.prompts", "rollout.samples", "rollout.slots", "rollout.temperature", "change.rows"),
        "init_temperature",
    )
    checks.seed(config)
    checks.not_negative(
        config,
        *("change.every", "samples", "filter_rounds", "overlong_cache", "kl.reset_every", "entropy_advantage.alpha"),
        *("microbatches", *(() if config.importance_cap is None else ("importance_cap",))),
        *("smoothing.right", "smoothing.wrong", "nucleus.coef"),
    )
    checks.whole(config, 0, "rollout.lag")
    checks.whole(config, 1, "rollout.widths")
    checks.require(config, "a share from 0 to 1", lambda x: 0 <= x <= 1, "min_p", "nucleus.top_p", "nucleus.frac")
    checks.require(config, "a number above 1", lambda x: x > 1, "entropy_advantage.kappa")
    checks.require(config, "a share of the first entropy, from 0 to below 1", lambda x: 0 <= x < 1, "alarm.collapse")
    checks.require(config, "a multiple of the first entropy, above 1", lambda x: x > 1, "alarm.explosion")
    checks.one_of(config, "kl.estimator", KL)
    checks.one_of(config, "kl.place", ("loss", "reward"))
    checks.one_of(config, "weight_policy", ("data", "current"))
    critique.check_ways(config)
    prompts, samples = config.rollout.prompts, config.rollout.samples
    if prompts % config.updates:
        raise InputError(f"config.updates={config.updates} does not divide rollout.prompts={prompts}: choose a divisor")
    if config.microbatches and (prompts // config.updates * samples) % config.microbatches:
        raise InputError(
            f"config.microbatches={config.microbatches} does not divide the {prompts // config.updates * samples} "
            "responses of a mini-batch (rollout.prompts / updates * rollout.samples): choose a divisor"
        )
