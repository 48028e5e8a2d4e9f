"""experiments/lib/build.py: what is in a config becomes functions and objects, or one line that says what is wrong."""

import inspect
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from entropy_rl.advantages import ADVANTAGES
from entropy_rl.errors import InputError
from entropy_rl.losses.importance import IMPORTANCE
from entropy_rl.losses.policy import POLICY_LOSSES
from entropy_rl.losses.weights import WEIGHTS
from experiments.lib import build, checks, launch
from experiments.rl import parts

X = np.zeros((2, 3), np.float32)
MASK = np.array([[False, True, True], [False, False, False]])
DATA = {"entropy": X, "advantage": X, "mask": MASK, "truncated": MASK[:, 0], "refined": MASK[:, 0]}
DATA |= {"old_entropy": X, "filtered_logp": X, "logp": X, "reward": X[:, 0], "group": np.zeros(2, np.int32)}
ON = {
    "policy loss": (POLICY_LOSSES, (X, X, X, MASK), {"key": jax.random.key(0)}),
    "advantage": (ADVANTAGES, (X[:, 0], np.zeros(2, np.int32)), {}),
    "weight": (WEIGHTS, (MASK,), {}),
    "importance": (IMPORTANCE, (X, X, MASK), {}),
}


def bind(kind, name, **args):
    table, example, named = ON[kind]
    return build.bind(table, ConfigDict({"name": name, "args": args}), kind, *example, data=DATA, **named)


def test_hyper_parameters_are_bound():
    """Mutation: args that do not reach the function."""
    x = jnp.full((1, 2), 2.0)
    loss = lambda **args: bind("policy loss", "ppo", **args)(x, 0 * x, x, x > 0)[0]  # noqa: E731
    np.testing.assert_allclose(loss(clip_high=0.5), -3.0)
    np.testing.assert_allclose(loss(clip_high=0.25), -2.5)
    np.testing.assert_allclose(bind("weight", "fixed_length", length=4)(MASK)[0, 1], 0.25)


ROWS = [(kind, name) for kind, (table, *_) in ON.items() for name in table]


@pytest.mark.parametrize("kind, name", ROWS)
def test_every_row_can_be_bound(kind, name):
    parameters = inspect.signature(ON[kind][0][name]).parameters.values()
    bind(
        kind,
        name,
        **{p.name: 1 for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty and p.name not in DATA},
    )


@pytest.mark.parametrize(
    "kind, name, args, message",
    [
        ("policy loss", "pop", {}, r"unknown policy loss 'pop' \(did you mean 'ppo'\?\): one of aspo, .*reinforce"),
        ("advantage", "grop", {}, r"unknown advantage 'grop' \(did you mean 'grpo'\?\)"),
        ("weight", "tokenmean", {}, r"unknown weight 'tokenmean' \(did you mean 'token_mean'\?\)"),
        ("policy loss", "ppo", {"clip_lo": 1}, r"'ppo' has no hyper-parameter 'clip_lo' \(did you mean 'clip_low'\?\): "
         "it has clip_low, clip_high, dual_clip"),
        ("policy loss", "ppo", {"key": 1}, "has no hyper-parameter 'key'"),
        ("policy loss", "ppo", {"advantage": 1}, "has no hyper-parameter 'advantage'"),
        ("advantage", "rloo", {"eps": 1}, "'rloo' has no hyper-parameter 'eps': it has none"),
        ("weight", "fixed_length", {}, "'fixed_length' needs a hyper-parameter 'length': add it to its args"),
        ("weight", "fixed_length", {"length": 0}, "'fixed_length' with length=0 gives numbers that are not finite"),
        ("weight", "fixed_length", {"length": None}, "'fixed_length' has length=None: give a finite number"),
        ("advantage", "grpo", {"eps": 0.0}, "'grpo' with eps=0.0 gives numbers that are not finite"),
        ("policy loss", "ppo", {"clip_low": -0.1}, "'ppo' has clip_low=-0.1: give a finite number of 0 or more"),
        ("policy loss", "ppo", {"clip_high": float("nan")}, "'ppo' has clip_high=nan"),
        ("policy loss", "ppo", {"clip_high": "0.2"}, "'ppo' has clip_high='0.2'"),
        ("policy loss", "ppo", {"clip_high": None}, "'ppo' has clip_high=None"),
        ("policy loss", "ppo", {"dual_clip": "3"}, "'ppo' has dual_clip='3'"),
        ("policy loss", "ppo", {"dual_clip": 1.0}, "policy loss 'ppo': dual_clip must be > 1, not 1.0"),
        ("policy loss", "ppo", {"dual_clip": 0.5}, "policy loss 'ppo': dual_clip must be > 1, not 0.5"),
    ],
)  # fmt: skip
def test_mistakes_in_rows(kind, name, args, message):
    with pytest.raises(InputError, match=message) as e:
        bind(kind, name, **args)
    assert "\n" not in str(e.value)


def test_what_is_no_number_is_the_rows_own_matter():
    def row(x, *, mode="sum", limit=None):
        return {"sum": x.sum(), "mean": x.mean()}[mode]

    table = {"row": row}
    choice = ConfigDict({"name": "row", "args": {"mode": "mean", "limit": None}})
    np.testing.assert_allclose(build.bind(table, choice, "row", X + 3)(X + 3), 3.0)


def test_a_bug_in_a_row_keeps_its_traceback():
    """A ValueError that does not name a hyper-parameter is not about one. Mutation: every ValueError an InputError."""

    def row(x, *, size=1):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug") as e:
        build.bind({"row": row}, ConfigDict({"name": "row", "args": {"size": 2}}), "row", X)
    assert not isinstance(e.value, InputError)


def config(**changes):
    c = ConfigDict({"model": {"name": "test", "args": {}}, "mesh": {"data": -1, "fsdp": 1, "tensor": 1}, "seed": 0})
    c.optimizer = {"learning_rate": 1e-3, "warmup": 0, "decay_to": 1.0, "b1": 0.9, "b2": 0.95, "weight_decay": 0.0}
    c.optimizer.state_dtype = "float32"
    c.optimizer.clip = 1.0
    with c.ignore_type():
        for key, value in changes.items():
            c.update_from_flattened_dict({key: value})
    return c


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("optimizer.learning_rate", 0.0, r"config\.optimizer\.learning_rate=0\.0: must be a number above 0"),
        ("optimizer.learning_rate", float("inf"), "learning_rate=inf"),
        ("optimizer.clip", 0.0, r"config\.optimizer\.clip=0\.0: must be a number above 0"),
        ("optimizer.clip", -1.0, r"optimizer\.clip=-1\.0"),
        ("optimizer.b1", 1.0, r"config\.optimizer\.b1=1\.0: must be a number of 0 or more and below 1"),
        ("optimizer.b2", -0.1, r"config\.optimizer\.b2=-0\.1"),
        (
            "optimizer.state_dtype",
            "float16",
            r"config\.optimizer\.state_dtype='float16'.*must be one of float32, bfloat16",
        ),
        (
            "model.args",
            {"remat": "blok"},
            r"config\.model\.args\.remat='blok' \(did you mean 'block'\?\): must be one of none",
        ),
        ("optimizer.weight_decay", -1.0, r"config\.optimizer\.weight_decay=-1\.0: must be a number of 0 or more"),
        ("optimizer.decay_to", 1.5, r"config\.optimizer\.decay_to=1\.5: must be a number from 0 to 1"),
        ("optimizer.warmup", 7, r"config\.optimizer\.warmup=7: must be 0 or more and below the run's 7 updates"),
        ("optimizer.warmup", -1, r"config\.optimizer\.warmup=-1"),
        ("mesh.data", 3, r"mesh data=3 fsdp=1 tensor=1 needs 3 devices and there are \d: choose"),
        ("mesh.fsdp", 0, r"config\.mesh\.fsdp=0: must be a number above 0"),
        ("mesh.tensor", 16, "mesh data=1 fsdp=1 tensor=16 needs 16 devices"),
        ("model.name", "tset", r"unknown model preset 'tset' \(did you mean 'test'\?\)"),
        ("model.args", {"layer": 3}, r"model has no field 'layer' \(did you mean 'layers'\?\)"),
        ("model.args", {"vocab_size": 3}, "model has no field 'vocab_size'"),
        ("seed", -1, r"config\.seed=-1: must be a whole number from 0"),
    ],
)
def test_mistakes_in_values(key, value, message):
    c = config(**{key: value})
    with pytest.raises(InputError, match=message) as e:
        build.optimizer(c, 7), build.mesh(c), build.model(c, 40), checks.seed(c)
    assert "\n" not in str(e.value)


def test_a_good_config():
    c = config(**{"model.args": {"layers": 3, "heads": 2}, "optimizer.clip": None, "optimizer.warmup": 6})
    _, schedule = build.optimizer(c, 7)
    np.testing.assert_allclose([schedule(0), schedule(3), schedule(6)], [0, 5e-4, 1e-3], rtol=1e-6)
    model = build.model(c, 40)
    assert (model.config.layers, model.config.heads, model.config.vocab_size) == (3, 2, 40)
    old = config(**{"model.args": {"remat": "linear", "attention": "blocks"}})  # as in a config.json of before
    assert build.model(old, 40).config.remat == "save_linear" and build.model(old, 40).config.attention == "chunked"
    assert build.mesh(c).size == jax.device_count()
    checks.seed(c)


def test_rows_are_shared_evenly():
    mesh = SimpleNamespace(shape={"data": 2, "fsdp": 3, "tensor": 4})
    checks.rows(mesh, "rows", 12)
    with pytest.raises(InputError, match=r"rows are 8, which mesh.data \* mesh.fsdp = 6 does not divide"):
        checks.rows(mesh, "rows", 8)


def test_ks():
    checks.ks((1, 4), 4)
    for ks in ((1, 5), (0,), (True,), (1.5,)):
        with pytest.raises(InputError, match="pass@k needs 1 <= k <= eval.samples=4"):
            checks.ks(ks, 4)


def test_float16_is_not_trained():
    """One line that names bfloat16. Mutation: parameters alone looked at."""
    for key in ("dtype", "param_dtype"):
        config = launch.load_config("configs/rl/grpo.py:smoke")
        config.model.args = ConfigDict({key: "float16"})
        with pytest.raises(InputError, match=f"^{key} of the model is float16, .*--config.model.args.{key}=bfloat16$"):
            parts.make(config)
        assert build.model(config, 40).config is not None  # to sample from


@pytest.mark.parametrize(
    "changes, want",
    [
        ({}, None),
        ({"model.args": ConfigDict({"dtype": "bfloat16"})}, ("token_cap", {"cap": 2.0})),
        ({"rollout.dtype": "bfloat16"}, ("token_cap", {"cap": 2.0})),
        ({"rollout.param_dtype": "bfloat16"}, ("token_cap", {"cap": 2.0})),
        ({"rollout.lag": 3}, None),
        ({"importance_cap": 3.0}, ("token_cap", {"cap": 3.0})),  # as in a config.json of before
        ({"importance_cap": 0.0, "rollout.dtype": "bfloat16"}, None),
        ({"importance.name": "off", "rollout.dtype": "bfloat16"}, None),
        ({"importance": ConfigDict({"name": "sequence_mask", "args": {"cap": 4.0}})}, ("sequence_mask", {"cap": 4.0})),
    ],
)
def test_which_correction_of_sampler_and_learner(changes, want):
    """Mutation: on everywhere, which costs a forward pass."""
    config = launch.load_config("configs/rl/grpo.py:smoke")
    for key, value in changes.items():
        part, _, name = key.rpartition(".")
        (config[part] if part else config)[name] = value
    got = parts.make(config).learning["importance"]
    assert (got and (got.func.__name__, got.keywords)) == want


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"importance": {"name": "token_cop"}}, r"unknown importance 'token_cop' \(did you mean 'token_cap'\?\)"),
        ({"importance": {"name": "token_band", "args": {"low": 9.0}}}, "importance 'token_band': low=9.0"),
        ({"importance": {"name": "m2po"}, "importance_cap": 2.0}, "importance_cap=2.0 and importance 'm2po': give one"),
        ({"rollout": {"dtype": "bf16"}}, r"config.rollout.dtype='bf16' \(did you mean 'bfloat16'\?\): must be one of"),
        ({"rollout": {"lag": -1}}, "config.rollout.lag=-1: must be a whole number of 0 or more"),
        ({"min_p": 2.0}, "config.min_p=2.0: must be a share from 0 to 1"),
        ({"smoothing": {"right": -1.0}}, "config.smoothing.right=-1.0: must be a number of 0 or more"),
        ({"advantage": {"name": "max_rl", "args": {}}, "overlong_cache": 4},
         "'max_rl' is for rewards of 0 or 1, which config.overlong_cache changes"),
        ({"advantage": {"name": "pass_at_k", "args": {"k": 3}}}, "advantage.args.k=3 of 'pass_at_k' is more than"),
        ({"weight": {"name": "ucpo", "args": {}}, "weight_policy": "current"}, "not with ucpo"),
    ],
)  # fmt: skip
def test_bad_values_of_the_methods_of_2026(changes, message):
    config = launch.load_config("configs/rl/grpo.py:smoke")
    config.advantage = ConfigDict({"name": "dr_grpo", "args": {}})
    for key, value in changes.items():
        if key in ("advantage", "weight"):
            config[key] = ConfigDict(value)
        elif isinstance(value, dict):
            config[key].update(value)
        else:
            config[key] = value
    with pytest.raises(InputError, match=message) as e:
        parts.make(config)
    assert "\n" not in str(e.value)
