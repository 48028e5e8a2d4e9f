"""experiments/rl/settings.py: settings that learn nothing are refused, or said when the run starts."""

import contextlib
import re

import jax
import pytest

from entropy_rl.advantages import ADVANTAGES
from entropy_rl.entropy.controllers import CONTROLLERS, constant
from entropy_rl.errors import InputError
from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.training.step import Learner
from experiments import train_rl
from experiments.lib import launch
from experiments.rl import settings
from tests.test_configs import RECIPES


def get(name="grpo", **changes):
    config = launch.load_config(f"configs/rl/{name}.py")
    config.init = "runs/sft"
    for key, value in changes.items():
        config.update_from_flattened_dict({key.replace("__", "."): value})
    return config


def choice(name, **args):
    return {"name": name, "args": args}


def weight(config, name, **args):
    config.weight = choice(name, **args)
    return config


def test_tables():
    assert set(settings.GROUPED) < set(ADVANTAGES) and set(settings.OFF_POLICY) < set(POLICY_LOSSES)


@pytest.mark.parametrize("path", [p for p in RECIPES if "hf" not in p and "qwen" not in p])
def test_recipes_are_in_order(path):
    """Mutation: a line about what a recipe does on purpose."""
    config = launch.load_config(path)
    config.init = "runs/sft"
    settings.refuse(config)
    assert settings.odd(config, 20) == []


@pytest.mark.parametrize(
    "config, message",
    [
        (get(loss__args__clip_low=0.0, loss__args__clip_high=0.0), "'ppo' with clip_low=0 and clip_high=0 stops"),
        (weight(get(), "sign_scale", positive=0.0, negative=0.0), "'sign_scale' with positive=0 and negative=0"),
        (
            weight(get(), "drop_truncated", base=choice("sign_scale", positive=0.0, negative=0.0)),
            "'sign_scale' with positive=0",
        ),
        (weight(get(), "top_entropy", bottom=True, frac=1.0), "'top_entropy' with bottom=True and frac=1 leaves no"),
        (get(rollout__samples=1, filter_rounds=3), r"config\.filter_rounds=3 .* rollout\.samples=1 has none: give"),
        (get("reinforce_pp", rollout__samples=1, rollout__prompts=1), "'reinforce_pp' compares .*: raise rollout"),
        (get("max_rl", rollout__samples=1), "'max_rl' is 0 in a group of one: give rollout.samples of 2"),
        (get(advantage=choice("pass_at_k"), rollout__samples=2), r"args\.k=4 of 'pass_at_k' is more than .*samples=2"),
        (get("pass_at_k", smoothing__right=0.1), "'pass_at_k' is for rewards of 0 or 1, which config.smoothing"),
        (weight(get(weight_policy="current"), "top_entropy", base=choice("ucpo")), "'current' .* not with ucpo: leave"),
    ],
)
def test_what_can_teach_nothing_is_refused(config, message):
    with pytest.raises(InputError, match=message) as e:
        settings.refuse(config)
    assert "\n" not in str(e.value)


def controller(key, *of, **changes):
    config = get(**changes)
    (config if key in config else config.kl)[key] = choice(of[0], **dict(of[1:]))
    return config


@pytest.mark.parametrize(
    "config, message",
    [
        (launch.load_config("configs/rl/grpo.py"), "config.init is not given: .* random weights.*train_sft"),
        (get(rollout__samples=1), "rollout.samples=1: a group of one has no baseline, .*'grpo'.*give 2 or more"),
        (get(rollout__temperature=0.001, eval__temperature=1.0), "rollout.temperature=0.001 is greedy"),
        (get(optimizer__warmup=150), "optimizer.warmup=150 is more than half of the run's 200 updates"),
        (get(optimizer__weight_decay=10.0), "optimizer.weight_decay=10 .*takes matrices to 25% of"),
        (get("ppo", critic__warmup=200), "critic.warmup=200: the policy is not updated .* there are 200: lower it"),
        (get(eval__top_k=1), "evaluation with eval.top_k=1 is greedy: the eval.samples=8 .*pass@k is pass@1"),
        (get(eval__min_p=1.0), "evaluation with eval.min_p=1 is greedy"),
        (get(eval__temperature=1e-4), "evaluation with a temperature of 0.0001 is greedy"),
        (get("gspo", updates=1), "'gspo' with one update a rollout is the plain policy gradient"),
        (get("clip_higher", updates=1), "clip_high=0.28 clips nothing with one update a rollout"),
        (get(loss=choice("reinforce"), updates=2), "'reinforce' has no ratio"),
        (get(updates=2, loss__args__clip_high=0.0), "clip_high=0 stops tokens of positive advantage"),
        (get("sapo", updates=1), "'sapo' with one update a rollout is the plain policy gradient"),
        (get(importance=choice("token_cap", cap=0.5)), "importance with cap=0.5 weighs every token down"),
        (get(importance_cap=0.5), "importance with cap=0.5 weighs every token down"),
        (get("clip_cov", loss__args__frac=2e-4), "frac=0.0002 of a mini-batch's tokens, which are at most 2560"),
        (get("kl_cov", loss__args__coef=0.0), "'kl_cov' with coef=0 has no penalty"),
        (get(loss=choice("shaped")), "'shaped' is about refinements, and critique.source is off"),
        (weight(get(), "refined_forks"), "'refined_forks' is about refinements"),
        (get("critique_joint", critique__attempts=1), "learn=joint with one retry of a group has nothing"),
        (get("critique_turns", critique__attempts=2), "'last' with critique.attempts=2 of 6 own samples"),
        (weight(get(), "top_entropy", frac=1.0), "'top_entropy' with frac=1 selects every token"),
        (weight(get(), "sign_scale"), "'sign_scale' with positive=1 and negative=1 is its base"),
        (controller("entropy_coef", "adaptive", ("high", 0.0)), "entropy_coef: controller 'adaptive' is 0 at every"),
        (controller("coef", "schedule", ("start", 0.0), ("end", 0.0), ("steps", 9)), "kl.coef: controller 'schedule'"),
        (get(kl__reset_every=50), "kl.reset_every=50 is not read, as kl.coef is 0"),
        (get(kl__place="reward"), "kl.place='reward' is not read, as kl.coef is 0"),
        (get("kl_reference", kl__estimator="k1"), "kl.estimator='k1' in the loss has a gradient of 0 on average"),
        (get("kl_reference", kl__reset_every=1, updates=1), "kl.reset_every=1: the reference is the policy itself"),
    ],
)
def test_what_does_less_than_it_says_is_said(config, message):
    """One line, and no other."""
    settings.refuse(config)
    [line] = settings.odd(config, 20)
    assert re.search(message, line) and "\n" not in line, line


@pytest.mark.parametrize("name", ["gspo", "clip_higher", "kl_cov"])
def test_one_update_on_the_rollout_of_an_older_policy_has_ratios(name):
    """Mutation: `_on_policy` that does not look at the lag."""
    settings.refuse(config := get(name, updates=1, rollout__lag=4))
    assert settings.odd(config, 20) == []
    config.importance.name = "recompute"  # pi_old is the learner's own
    with pytest.raises(InputError, match="'kl_cov'") if name == "kl_cov" else contextlib.nullcontext():
        settings.refuse(config)
        assert len(settings.odd(config, 20)) == 1


def test_a_coefficient_that_is_always_0():
    """Mutation: `any`; a row of CONTROLLERS that is forgotten."""
    zero = lambda name, **args: settings.zero(get(entropy_coef=choice(name, **args)).entropy_coef)  # noqa: E731
    gains = {"target": 0.1, "kp": 1.0, "ki": 0.0}
    assert zero("constant", value=0.0) and zero("target", **gains, high=0.0)
    assert not zero("target", **gains, high=0.1) and not zero("adaptive") and not zero("constant", value=-0.1)
    assert not zero("schedule", start=0.0, end=0.1, steps=3)
    assert set(CONTROLLERS) == {"constant", "schedule", "adaptive", "target"}


def test_what_an_alarm_of_a_run_knows():
    assert settings.alarm(get()).grouped and not settings.alarm(get()).shaped
    assert not settings.alarm(get("reinforce_pp")).grouped and settings.alarm(get("critique_grpo")).shaped
    assert settings.alarm(get(overlong_cache=3)).shaped and not settings.alarm(get("kl_reference")).shaped
    assert settings.alarm(get("kl_reference", kl__place="reward")).shaped
    assert settings.alarm(get("max_rl")).grouped and settings.alarm(get("differential_smoothing")).shaped


def test_a_learner_has_no_kl_without_a_reference():
    """Mutation: the coefficient is dropped in silence."""
    with pytest.raises(InputError, match="give reference=True"):
        Learner(None, None, loss=None, weight=None, key=jax.random.key(0), advantage=len, kl_coef=constant(value=0.1))


def test_parts_refuse_it_before_there_is_a_workdir(tmp_path):
    config = launch.load_config("configs/rl/grpo.py:smoke")
    config.loss.args.update(clip_low=0.0, clip_high=0.0)
    with pytest.raises(InputError, match="stops the gradient"):
        train_rl.run(config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
