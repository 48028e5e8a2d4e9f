"""One way to a policy: of a workdir, a checkpoint, a folder, a LoRA run; and never an optimiser's state."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.models import hf, lora
from entropy_rl.models.transformer import Transformer
from entropy_rl.training import learner
from entropy_rl.training.checkpoints import Checkpoints
from entropy_rl.training.optimizer import make_optimizer
from experiments import convert_hf
from experiments.lib import build, launch
from experiments.lib.policies import load_policy, random_params

FOLDERS = Path(__file__).resolve().parents[2] / "models" / "hf"
WORDS = 40  # of Countdown's tokenizer


def config(**changes):
    c = launch.load_config("configs/tokens.py:smoke")
    c.update_from_flattened_dict(changes)
    return c


def of_folder(name="qwen2"):
    c = launch.load_config("configs/rl/hf.py:smoke,part=rl")
    c.model.path = str(FOLDERS / name)
    return c


def save(path, states, of=None):
    """A workdir with these checkpoints, and the config.json of a run of `of`."""
    with Checkpoints(path / "checkpoints", keep=3) as checkpoints:
        for step, state in states.items():
            checkpoints.save(step, state, {})
    if of is not None:
        (path / "config.json").write_text(json.dumps({"config": of.to_dict()}))
    return str(path)


def equal(x, y):
    for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture(autouse=True)
def no_optimiser(monkeypatch):
    """Whatever makes an optimiser's state, or even its shapes, is an error while a policy is loaded."""

    def refused(*args, **kwargs):
        raise AssertionError("an optimiser's state")

    for name in ("init_state", "abstract_state", "state_of"):
        monkeypatch.setattr(learner, name, refused)
    monkeypatch.setattr(build, "make_optimizer", refused)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(workdir of a run of another shape than `config()`, its parameters by step); moments lie beside them."""
    of = config(**{"model.name": "embedded"})
    mesh = build.mesh(of)
    params = random_params(build.model(of, WORDS), mesh, 3)
    steps = {1: params, 2: jax.tree.map(lambda x: 2 * x, params)}
    states = {s: {"step": jnp.asarray(s), "params": p, "opt_state": [p, p]} for s, p in steps.items()}
    return save(tmp_path_factory.mktemp("run"), states, of), steps


def test_a_workdir_is_of_its_own_shape(run):
    """Mutation: the shape of the config; the first checkpoint."""
    c, (path, steps) = config(), run
    model, params = load_policy(c, path, build.mesh(c), WORDS)
    assert model == build.model(config(**{"model.name": "embedded"}), WORDS) != build.model(c, WORDS)
    equal(params, steps[2])
    equal(load_policy(c, path, build.mesh(c), WORDS, step=1)[1], steps[1])
    wanted = hf.abstract_params(model, build.mesh(c))
    assert jax.tree.map(lambda x: x.sharding, params) == jax.tree.map(lambda x: x.sharding, wanted)


def test_how_it_computes_is_asked_for(run):
    """Mutation: model.args of the run alone."""
    c = config(**{"model.args.remat": "block"})
    with c.unlocked():
        c.model.args.update(grouped="ragged", scan_layers=True)
    shape = load_policy(c, run[0], build.mesh(c), WORDS)[0].config
    assert shape.remat == "block" and shape.grouped == "ragged" and shape.scan_layers


def test_a_workdir_without_a_config(tmp_path):
    c = config()
    params = random_params(build.model(c, WORDS), build.mesh(c), 5)
    equal(load_policy(c, save(tmp_path, {1: {"params": params}}), build.mesh(c), WORDS)[1], params)


def test_random_weights_are_those_that_a_run_starts_from(monkeypatch):
    """Mutation: another key."""
    c = config(seed=4)
    model, params = load_policy(c, None, build.mesh(c), WORDS)
    assert model == build.model(c, WORDS)
    monkeypatch.undo()
    tx = make_optimizer(lambda _: 1.0)
    equal(params, learner.init_state(model, tx, build.mesh(c), jax.random.key(4)).params)


@pytest.mark.parametrize("name", ["qwen2", "llama3", "qwen2_untied_sharded"])
@pytest.mark.parametrize("given", [True, False])
def test_a_folder(name, given):
    """As `init`, or as the model of the config. Mutation: random weights where there is no init."""
    c = of_folder(name)
    model, params = load_policy(c, c.model.path if given else None, build.mesh(c), 2)
    there, want = hf.load(c.model.path)
    assert model == there
    equal(params, want)


def test_a_folder_for_a_model_that_computes_otherwise():
    """As a sampler of fewer bits does (rollout.dtype). Mutation: a type of activations is another shape."""
    c = of_folder("qwen2")
    there = hf.load_config(c.model.path)
    model, params = load_policy(c, c.model.path, build.mesh(c), 2, model=Transformer(narrow(there)))
    assert model.config == narrow(there) != there
    equal(params, hf.load(c.model.path)[1])
    wider = Transformer(dataclasses.replace(there, d_ff=2 * there.d_ff))
    with pytest.raises(InputError, match="is of another shape than config.model"):
        load_policy(c, c.model.path, build.mesh(c), 2, model=wider)


def narrow(config):
    return dataclasses.replace(config, dtype=jnp.bfloat16)


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """(workdir of a LoRA run on a folder, its adapted parameters)."""
    c = of_folder()
    c.lora.update(rank=2, alpha=6.0)
    _, params = hf.load(c.model.path)
    params = lora.add(params, jax.random.key(1), rank=2, targets=c.lora.targets)
    params["lora"] = jax.tree.map(lambda x: x + 0.1, params["lora"])  # B is no longer 0
    return save(tmp_path_factory.mktemp("lora"), {7: {"params": params}}, c), params


def test_a_lora_run_is_its_merged_export(adapted, tmp_path, monkeypatch):
    """W + (6 / 2) A B. Mutation: the base alone; a scale of 1."""
    path, adapters = adapted
    c = of_folder()  # of rank 0: the run says what it trained
    _, params = load_policy(c, path, build.mesh(c), 2)
    equal(params, jax.jit(lambda p: lora.merge(p, 3.0))(adapters))
    assert np.abs(params["params"]["layer_0"]["attention"]["q"]["kernel"]).max() > 0.05
    monkeypatch.setattr(build, "tokenizer", lambda path: type("Words", (), {"vocab_size": 2}))
    out = convert_hf.export(path, tmp_path / "out", dtype=None, shard_bytes=10**9)
    equal(load_policy(of_folder(), out, build.mesh(c), 2)[1], params)


def test_what_is_not_there(run, adapted, tmp_path):
    """One line that names the key and the path. Mutation: a folder's policy for a task with words of its own."""
    c, (path, _) = config(), run
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text('{"config": {"seed"')
    cases = [
        (c, "/nowhere", {}, "config.init=/nowhere holds no checkpoints"),
        (c, path, {"step": 9, "key": "runs"}, f"config.runs={path}: .* holds no good checkpoint 9"),
        (c, path, {"model": build.model(c, WORDS)}, f"config.init={path}: checkpoint .* does not fit"),
        (c, FOLDERS / "qwen2", {}, "words of its own: add --config.model.path="),
        (c, adapted[0], {}, f"{adapted[0]} began with the folder .*: add --config.model.path="),
        (of_folder(), FOLDERS / "qwen2", {"step": 3}, "has no checkpoint 3"),
        (of_folder(), FOLDERS / "qwen2", {"model": build.model(c, WORDS)}, "of another shape"),
        (of_folder(), FOLDERS / "qwen2", {"vocab_size": 10**6}, "the model's vocabulary has"),
        (c, tmp_path / "torn", {}, "torn/config.json is damaged"),
    ]
    for of, where, how, message in cases:
        with pytest.raises(InputError, match=message) as e:
            load_policy(of, where, build.mesh(of), **({"vocab_size": WORDS if of is c else 2} | how))
        assert "\n" not in str(e.value)
