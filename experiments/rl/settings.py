"""Settings with which an RL run learns nothing, or not what was asked for: refused, or said when the run starts.

What only shows on the way is for entropy_rl/training/alarms.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from entropy_rl.advantages import ADVANTAGES, BINARY
from entropy_rl.entropy.controllers import CONTROLLERS
from entropy_rl.errors import InputError
from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.losses.weights import CURRENT, DATA, WEIGHTS
from entropy_rl.training.alarms import LearningAlarm
from experiments.lib import build, checks, evaluation

# advantages with a baseline of the group
GROUPED = (*BINARY, "dr_grpo", "gpg", "grpo", "opo", "quantile", "reinforce_pp_baseline", "rloo")
KEPT = ("ce_gppo", "gppo", "cispo")  # losses whose clip bounds a token's gradient and does not stop it
# that differ from the policy gradient only where the ratio is not 1
OFF_POLICY = (*KEPT, "aspo", "bapo", "dppo_kl", "dppo_tv", "erc", "gmpo", "gspo", "sapo")


def refuse(config: ConfigDict) -> None:
    """InputError for what leaves no policy gradient, or means nothing together; each value by itself is right already.

    Called once loss, advantage and weight are bound: their names and hyper-parameters exist.
    """
    r, loss = config.rollout, _values(POLICY_LOSSES, config.loss)
    if config.loss.name not in KEPT and loss.get("clip_low", 1) == loss.get("clip_high", 1) == 0:
        raise InputError(
            f"policy loss {config.loss.name!r} with clip_low=0 and clip_high=0 stops the gradient of every token: give "
            "0.2, or reinforce, which has no clip"
        )
    for name, args in weights(config.weight):
        if name == "sign_scale" and args["positive"] == args["negative"] == 0:
            raise InputError("weight 'sign_scale' with positive=0 and negative=0 weighs no token: raise one of them")
        if name == "top_entropy" and args["bottom"] and args["frac"] >= 1:
            raise InputError("weight 'top_entropy' with bottom=True and frac=1 leaves no token: lower frac")
    if config.weight_policy == "current":
        for name, _ in weights(config.weight):
            if inspect.signature(WEIGHTS[name]).parameters.keys() & set(DATA) - set(CURRENT):
                raise InputError(
                    "config.weight_policy='current' goes with weights of the entropy and the advantage, not with "
                    f"{name}: leave that out, or give data"
                )
    if config.advantage.name in BINARY:
        _of_binary_rewards(config)
    if config.loss.name == "kl_cov" and _on_policy(config):
        raise InputError(
            "policy loss 'kl_cov' is the plain policy gradient with one update a rollout, as |log pi - log pi_old| and "
            "its gradient are 0 there (PRIME-RL/Entropy-Mechanism-of-RL, issue 1): set config.updates to 2 or more"
        )
    if r.samples == 1 and config.filter_rounds:
        raise InputError(
            f"config.filter_rounds={config.filter_rounds} looks for groups whose rewards differ, and rollout.samples=1 "
            "has none: give rollout.samples of 2 or more, or filter_rounds=0"
        )
    one = config.advantage.name == "reinforce_pp" and r.prompts * r.samples == 1
    if one and _values(ADVANTAGES, config.advantage)["gamma"] == 1:
        raise InputError(
            "advantage 'reinforce_pp' compares the responses of a rollout, and this one has one: raise rollout.samples"
        )


REPLAYS = ("off", "learner", "sampler")


def refuse_replay(config: ConfigDict, experts: int) -> None:
    """InputError for `config.replay` of a model without experts, or of rows that the sampler saw otherwise."""
    checks.one_of(config, "replay", REPLAYS)
    if config.replay == "off":
        return
    if not experts:
        raise InputError(f"config.replay={config.replay!r} is of choices of experts, and the model has none: give off")
    if config.critique.source != "off":
        raise InputError(
            f"config.replay={config.replay!r} with critiques is not supported, whose rows are learnt under other "
            "prompts than they were sampled under: give off"
        )


def _of_binary_rewards(config: ConfigDict) -> None:
    """InputError for what an advantage of BINARY cannot be given."""
    name, samples = config.advantage.name, config.rollout.samples
    made = {
        "overlong_cache": config.overlong_cache,
        "kl.place='reward'": config.kl.place == "reward",
        "diversity": config.diversity.predicate.name != "off" and config.diversity.combine.name != "none",
        "smoothing": config.smoothing.right or config.smoothing.wrong,
    }
    if other := [key for key, on in made.items() if on]:
        raise InputError(
            f"advantage {name!r} is for rewards of 0 or 1, which config.{other[0]} changes: leave that out, or take "
            "another advantage"
        )
    if samples == 1:
        raise InputError(f"advantage {name!r} is 0 in a group of one: give rollout.samples of 2 or more")
    if (k := _values(ADVANTAGES, config.advantage).get("k", 1)) > samples:
        raise InputError(
            f"config.advantage.args.k={k} of {name!r} is more than a group has, rollout.samples={samples}: give at "
            "most that"
        )


def odd(config: ConfigDict, response_length: int) -> list[str]:
    """What is allowed and does less than it says, a line each with the remedy; nothing of the recipes as they are.

    Args:
      config: that `refuse` let pass.
      response_length: tokens of the longest response.
    """
    own = (*_of_start(config), *_of_loss(config, response_length), *_of_weights(config), *_of_coefs(config))
    return [*own, *_of_contexts(config), *evaluation.greedy(config)]


def alarm(config: ConfigDict) -> LearningAlarm:
    """What watches a run of this config."""
    shaped = (
        config.critique.source != "off"
        or config.distillation.coef > 0
        or config.diversity.predicate.name != "off"
        or config.overlong_cache > 0
        or config.smoothing.right > 0
        or config.smoothing.wrong > 0
        or (config.kl.place == "reward" and not zero(config.kl.coef))
    )
    return LearningAlarm(grouped=config.advantage.name in GROUPED, shaped=shaped)


def weights(choice: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names of a weight's rows, from the outermost inwards, with all their hyper-parameters but `base`."""
    while choice is not None:
        choice = ConfigDict({"name": choice}) if isinstance(choice, str) else choice
        values = _values(WEIGHTS, choice)
        inner = values.pop("base", None)
        yield choice["name"], values
        choice = inner if isinstance(inner, str | ConfigDict) else None


def zero(choice: ConfigDict) -> bool:
    """Whether a controller's coefficient is 0 at every step."""
    c = _values(CONTROLLERS, choice)
    of = {"constant": ("value",), "schedule": ("start", "end"), "adaptive": ("low", "high"), "target": ("low", "high")}
    return choice.name in of and all(c[key] == 0 for key in of[choice.name])


def _on_policy(config: ConfigDict) -> bool:
    """Whether every ratio is 1 but for rounding: one update a rollout, and pi_old the policy that it begins with."""
    behind = config.rollout.lag > 0 and config.importance.name in ("off", "auto")  # pi_old is the sampler's
    return config.updates * config.epochs == 1 and not behind


def _of_start(config: ConfigDict) -> Iterator[str]:
    """Of the start, what is sampled and the rate."""
    r, o = config.rollout, config.optimizer
    if config.init is None and not build.from_folder(config):
        yield (
            "config.init is not given: the policy starts from random weights, which are hardly ever right: give the "
            "workdir of an imitation run (experiments.train_sft)"
        )
    if r.samples == 1 and config.advantage.name in GROUPED:
        yield (
            f"rollout.samples=1: a group of one has no baseline, and its advantage ({config.advantage.name!r}) is its "
            "reward: wrong responses teach nothing; give 2 or more, or advantage reinforce_pp, which compares the batch"
        )
    if r.temperature <= evaluation.COLD and r.samples > 1:
        yield (
            f"rollout.temperature={r.temperature:g} is greedy: the responses of a group are the same, and none is "
            "better than another; give 1"
        )
    if "critic" in config and config.critic.warmup >= config.steps:
        yield (
            f"critic.warmup={config.critic.warmup}: the policy is not updated in these steps, and there are "
            f"{config.steps}: lower it, or raise steps"
        )
    updates = config.steps * config.updates * config.epochs
    if o.warmup > updates / 2:
        yield (
            f"optimizer.warmup={o.warmup} is more than half of the run's {updates} updates: most of it has less than "
            "the learning rate; lower it, or raise steps"
        )
    if (left := max(1 - o.weight_decay * o.learning_rate, 0.0) ** updates) < 0.5:
        yield (
            f"optimizer.weight_decay={o.weight_decay:g} at this learning rate takes matrices to {left:.0%} of what "
            f"they were by the end of {updates} updates, whatever the rewards: lower it"
        )


def _of_loss(config: ConfigDict, response_length: int) -> Iterator[str]:
    r, name, loss = config.rollout, config.loss.name, _values(POLICY_LOSSES, config.loss)
    once = config.updates * config.epochs == 1
    on_policy = _on_policy(config)
    more = "set config.updates to 2 or more"
    if on_policy and name in OFF_POLICY:
        yield (
            f"policy loss {name!r} with one update a rollout is the plain policy gradient, as every ratio is 1: {more}"
        )
    elif on_policy and name not in ("steer", "lp_reg") and 0 <= loss.get("clip_low", 1) < loss.get("clip_high", 0):
        yield f"clip_high={loss['clip_high']:g} clips nothing with one update a rollout, as every ratio is 1: {more}"
    if not once and name == "reinforce":
        yield (
            "policy loss 'reinforce' has no ratio: after the first of a rollout's updates its responses are another "
            "policy's; set updates and epochs to 1, or give ppo"
        )
    for key, sign in (("clip_low", "negative"), ("clip_high", "positive")):
        if name not in KEPT and not once and loss.get(key) == 0:
            yield f"{key}=0 stops tokens of {sign} advantage at their first move: give 0.2"
    cap = config.importance.get("args", {}).get("cap", 1) if config.importance_cap is None else config.importance_cap
    if 0 < cap < 1:
        yield f"importance with cap={cap:g} weighs every token down: it is the largest ratio, give 2"
    tokens = r.prompts // config.updates * r.samples * response_length
    if loss.get("scope") == "minibatch" and 0 <= loss.get("frac", 1) * tokens < 1:
        yield (
            f"policy loss {name!r} selects frac={loss['frac']:g} of a mini-batch's tokens, which are at most {tokens}: "
            f"that is none; raise frac above {1 / tokens:.2g}"
        )
    if name == "kl_cov" and loss["coef"] == 0:
        yield "policy loss 'kl_cov' with coef=0 has no penalty: raise it, or give ppo"
    if "refined" in loss and config.critique.source == "off":
        yield (
            f"policy loss {name!r} is about refinements, and critique.source is off: start from "
            "configs/rl/critique_grpo.py, or give ppo or clip_cov, which it is without them"
        )


def _of_weights(config: ConfigDict) -> Iterator[str]:
    for name, args in weights(config.weight):
        if name == "refined_forks" and config.critique.source == "off":
            yield "weight 'refined_forks' is about refinements, and critique.source is off: it is its base"
        if name == "top_entropy" and args["frac"] >= 1:
            yield "weight 'top_entropy' with frac=1 selects every token: it is its base; lower frac"
        if name == "sign_scale" and args["positive"] == args["negative"] == 1:
            yield "weight 'sign_scale' with positive=1 and negative=1 is its base: lower one of them"


def _of_contexts(config: ConfigDict) -> Iterator[str]:
    c, samples = config.critique, config.rollout.samples
    if c.learn != "joint" or c.source == "off":
        return
    if c.attempts * c.count == 1:
        yield (
            "critique.learn=joint with one retry of a group has nothing to compare it with and learns none: raise "
            "critique.attempts or critique.count"
        )
    if c.credit == "last" and c.attempts < samples - c.refined:
        yield (
            f"critique.credit='last' with critique.attempts={c.attempts} of {samples - c.refined} own samples: wrong "
            "ones that are not retried count as lost; raise critique.attempts"
        )


def _of_coefs(config: ConfigDict) -> Iterator[str]:
    kl, c = config.kl, config.entropy_coef
    for key, choice in (("entropy_coef", c), ("kl.coef", kl.coef)):
        if zero(choice) and choice.name != "constant":
            yield f"{key}: controller {choice.name!r} is 0 at every step: raise its bounds"
    if zero(kl.coef):
        for key, default in (("estimator", "k3"), ("place", "loss"), ("reset_every", 0)):
            if kl[key] != default:
                yield f"kl.{key}={kl[key]!r} is not read, as kl.coef is 0: give kl.coef.args.value=0.001 or more"
        return
    if kl.estimator == "k1" and kl.place == "loss":
        yield (
            "kl.estimator='k1' in the loss has a gradient of 0 on average and holds nothing: give k2 or k3, or "
            "kl.place=reward"
        )
    if kl.reset_every == 1 and kl.place == "loss" and config.updates * config.epochs == 1:
        yield "kl.reset_every=1: the reference is the policy itself at every update, with no gradient: raise it"


def _values(table: Any, choice: ConfigDict) -> dict[str, Any]:
    """All hyper-parameters of a row, those that are given and the others' defaults."""
    parameters = inspect.signature(table[choice.name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY} | dict(choice.get("args", {}))
