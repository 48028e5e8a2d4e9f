"""Every config says what it is for, has a smoke variant that runs from end to end, and no knob that nobody reads."""

import ast
import contextlib
import functools
import importlib
import json
import math
import pathlib
import re
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict, FieldReference

from entropy_rl import files
from entropy_rl.errors import InputError
from entropy_rl.methods.critique import dataset
from entropy_rl.models.transformer import Transformer
from entropy_rl.training import objectives
from entropy_rl.training.rollouts import Batch
from experiments import tiny_model, train_sft
from experiments.lib import checks, launch, workdirs
from experiments.rl import parts
from tests.models import gguf_files

ROOT = pathlib.Path(__file__).resolve().parents[1]
CONFIGS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "configs").rglob("*.py")
    if path.name not in ("common.py", "base.py", "__init__.py") and path.parent.name != "sweeps"
)
NO_SMOKE = {"configs/curate.py"}  # it copies files, in a second
# The fast suite trains these two and builds the parts of all recipes; the slow one runs every config.
FAST = {"configs/rl/grpo.py", "configs/sft/countdown.py"}


def docstring(path):
    return ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""


def script(path):
    """The module in the command that the docstring gives for this very file."""
    found = re.search(rf"python -m (experiments\.\w+) --config={re.escape(path)}\b", docstring(path))
    assert found, f"{path}: no `python -m experiments.<script> --config={path}` in its docstring"
    return found[1]


RECIPES = [path for path in CONFIGS if script(path) == "experiments.train_rl"]


def leaves(config, prefix=""):
    """Dotted key and field of the values of a config that are not configs themselves; references share a field."""
    for key, value in config._fields.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


class Reads:
    """Which leaves of a config are read to be used: not to be checked, and not to be written to config.json."""

    def __init__(self, monkeypatch, config):
        self.keys = set()
        self._path, self._kept, self._off = {}, [], 0
        self._leaves = list(leaves(config))
        self._know(config, "")
        get, copy = ConfigDict.__getitem__, ConfigDict.copy_and_resolve_references

        def getitem(c, key):
            if id(c) in self._path and not self._off and "." not in str(key):
                self.keys.add(f"{self._path[id(c)]}{key}")
            return get(c, key)

        def copied(c, *args):
            new = copy(c, *args)
            if id(c) in self._path:
                self._know(new, self._path[id(c)])
            return new

        monkeypatch.setattr(ConfigDict, "__getitem__", getitem)
        monkeypatch.setattr(ConfigDict, "copy_and_resolve_references", copied)
        for module, name in ((workdirs, "open_workdir"), (checks, "require"), (parts, "check")):
            monkeypatch.setattr(module, name, self._unseen(getattr(module, name)))

    def missing(self):
        """The leaves that were not read, by their own name or another one for the same field."""
        seen = {id(field) for key, field in self._leaves if key in self.keys and isinstance(field, FieldReference)}
        return sorted(key for key, field in self._leaves if key not in self.keys and id(field) not in seen)

    def _know(self, config, prefix):
        self._path[id(config)] = prefix
        self._kept.append(config)  # or another one could get its id
        for key, value in config._fields.items():
            if isinstance(value, ConfigDict):
                self._know(value, f"{prefix}{key}.")

    def _unseen(self, function):
        def call(*args, **kwargs):
            with self._closed():
                return function(*args, **kwargs)

        return call

    @contextlib.contextmanager
    def _closed(self):
        self._off += 1
        yield
        self._off -= 1


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """A folder with a run whose curve is exactly lawful."""
    run = tmp_path_factory.mktemp("logs") / "rl"
    run.mkdir()
    entropy = [1.5 * 0.8**i for i in range(12)]
    files.rewrite(run / "metrics.jsonl", [{"step": i, "policy/entropy_sequence": h} for i, h in enumerate(entropy)])
    row = {"task": "countdown", "metric": "pass@1", "n": 64}
    rewards = [0.6 - 0.1 * math.exp(h) for h in entropy]
    files.rewrite(run / "evals.jsonl", [{"step": i, **row, "value": r} for i, r in enumerate(rewards)])
    (run / "config.json").write_text(json.dumps({"config": {}}))
    for name in ("grpo", "clip_cov"):
        control = run.parent / f"{name},seed=0"
        shutil.copytree(run, control)
        rows = [{"step": i, "policy/entropy_sequence": 0.1, "time/rollout": 0.2, "time/learn": 0.1} for i in range(3)]
        files.rewrite(control / "metrics.jsonl", rows)
        problem = {"step": 12, "task": "countdown", "level": 4, "n": 16, "right": 5, "distinct": 2}
        files.rewrite(control / "problems.jsonl", [{**problem, "id": f"countdown/test/{i}"} for i in range(8)])
        settings = {"seed": 0, "steps": 12, "eval": {"last": {"problems": 8}}}
        (control / "config.json").write_text(json.dumps({"config": settings}))
    return run


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """A critique dataset of a few true rows."""
    problem, wrong = "3 5 3 -> 24 :", "3 + 3 = 6 ; 6 + 5 = 11"
    critique, answer = "wrong step 1 because unreachable hint 5 + 3 = 8", "5 + 3 = 8 ; 8 * 3 = 24"
    rows = [dataset.Row("p", 3, problem, wrong, critique, answer, "rg1")]
    return dataset.write(tmp_path_factory.mktemp("said"), rows, about="a test", counts={})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a model."""
    config = launch.load_config(str(ROOT / "configs/tiny_model.py:smoke"))
    return tiny_model.run(config, str(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """The folder of a model of SmolLM2's architecture."""
    config = launch.load_config(str(ROOT / "configs/tiny_model.py:smoke,task=countdown_words"))
    config.model.qk_norm = False
    return tiny_model.run(config, str(tmp_path_factory.mktemp("llama")))


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    """A GGUF file."""
    return gguf_files.tiny(tmp_path_factory.mktemp("gguf"), "llama")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workdir of a run with a checkpoint."""
    workdir = tmp_path_factory.mktemp("sft")
    train_sft.run(launch.load_config(str(ROOT / "configs/sft/countdown.py:smoke")), str(workdir))
    return workdir


@pytest.mark.parametrize("path", CONFIGS)
def test_the_docstring_says_how_and_how_long(path):
    importlib.import_module(script(path))
    text = docstring(path)
    assert re.search(r"^Time: .*\b(seconds?|minutes?|hours?|\d+ s)\b", text, re.MULTILINE), text
    assert re.search(r"^.*\b(Expect|Outcome)\b", text, re.MULTILINE), text


@pytest.mark.parametrize("path", CONFIGS)
def test_variants(path):
    assert isinstance(launch.load_config(str(ROOT / path)), ConfigDict)
    with pytest.raises(InputError, match="no variant 'smoek': "):
        launch.load_config(f"{ROOT / path}:smoek")


# what a user must give, by its key
GIVEN = {
    "logs": lambda get: get("logs"),
    "runs": lambda get: get("logs").parent,
    "source": lambda get: get("trained"),
    "path": lambda get: get("folder"),
    "gguf": lambda get: get("quantised"),
}
OWN = {"configs/rl/smollm2.py": {"path": lambda get: get("llama")}}
SMOKE = [pytest.param(path, marks=() if path in FAST else pytest.mark.slow) for path in CONFIGS]


# what is read only where another key is given: tests/experiments/test_any_policy.py and test_own_model.py give it
ONLY_WITH = {f"critique.{key}": "model.path" for key in ("style", "max_tokens", "prompt_length")}
ONLY_WITH |= {"prompt.": "model.path", "batch": "rollouts", "ends": "rollouts"}
ONLY_WITH |= {"follow_for": "follow", "poll": "follow"}


def only_with(key):
    return [other for begins, other in ONLY_WITH.items() if key.startswith(begins)]


def config_at(config, key):
    """The value at a dotted key; "" where there is no such key."""
    for name in key.split("."):
        config = config[name] if name in config else ""
    return config


@pytest.mark.parametrize("path", SMOKE)
def test_every_knob_is_read(path, request, tmp_path, monkeypatch, capsys):
    """Runs the smoke variant. Mutation: a new key in common.base(), or a script that no longer uses one of its keys."""
    config = launch.load_config(str(ROOT / path) + (":smoke" if path not in NO_SMOKE else ""))
    for key, given in (GIVEN | OWN.get(path, {})).items():
        if key in config and config[key] is None:
            config[key] = str(given(request.getfixturevalue))
    if "lessons" in config:
        config.lessons.path = str(request.getfixturevalue("said"))
    reads = Reads(monkeypatch, config)
    importlib.import_module(script(path)).run(config, str(tmp_path / "run"))
    idle = {key for key in reads.missing() if any(config_at(config, of) in (None, False) for of in only_with(key))}
    unused = [key for key in reads.missing() if key not in idle]
    assert not unused, f"{path}: nobody reads {', '.join(unused)}"


# Recipes have few models, and most have rows alike: each is traced once, and not once a recipe.
TRACED = {name: jax.jit(getattr(Transformer, name), static_argnums=0, static_argnames=("logits", "context"))
          for name in ("init", "apply")}  # fmt: skip


@pytest.mark.parametrize("path", RECIPES)
def test_the_update_of_a_recipe_can_be_built(path, request, monkeypatch):
    """All parts are made of the config, and shapes go through score, loss and gradient: nothing is compiled or run.

    Mutation: a hyper-parameter that the recipe's loss has not, or a loss that gives rows where tokens are expected.
    """
    config = launch.load_config(f"{ROOT / path}:smoke")
    for key, given in GIVEN.items():
        if key in config and config[key] is None:
            config[key] = str(given(request.getfixturevalue))
    with config.unlocked():
        config.model.args.layers = 1
    for name, once in TRACED.items():
        monkeypatch.setattr(Transformer, name, lambda *args, once=once, **how: once(*args, **how))
    p = parts.make(config)
    more, width = p.sampling["turns"]  # rows of a group that are learnt under their context
    rows = (config.rollout.samples + more) * max(1, config.rollout.prompts // config.updates)
    columns = width or p.task.prompt_length + 4
    place = np.arange(columns) >= p.task.prompt_length
    x, mask = np.zeros((rows, columns), np.float32), np.tile(place, (rows, 1))
    batch = Batch(tokens=x.astype(np.int32), mask=mask, weight=x, old_logp=x, advantage=x)
    batch = batch.replace(ref_logp=x if p.reference else None, refined=np.zeros(rows, bool))
    batch = batch.replace(old_entropy=x, filtered_logp=x)
    score, loss, weight = (p.learning[name] for name in ("score", "loss", "weight"))
    current = weight if config.weight_policy == "current" else None
    objective = objectives.policy(score, loss, kl=config.kl.estimator, weight=current)
    coefs = {"entropy": np.float32(0), "kl": np.float32(0)}

    def gradient(key):
        params = p.model.init(key, batch.tokens)
        params = p.adaptation.adapt(params, key) if p.adaptation.adapt else params
        return params, jax.grad(lambda q: objective(q, batch, key, coefs)[0])(params)

    params, grads = jax.eval_shape(gradient, jax.random.key(0))
    assert jax.tree.map(lambda a: a.shape, grads) == jax.tree.map(lambda a: a.shape, params)


def test_a_knob_that_is_not_read_is_found(monkeypatch, tmp_path):
    """What checks a value or writes the whole config down does not use it."""
    config = ConfigDict({"used": 1, "alias": 4, "checked": 2, "unused": 3})
    config.part, config.whole = {"a": 1, "b": 2, "c": 3}, {"x": 1}
    config.part.d = config.get_ref("alias")
    config.part.e = config.get_ref("unused")
    reads = Reads(monkeypatch, config)
    workdirs.open_workdir(config, tmp_path)
    checks.positive(config, "checked", "part.b")
    config.copy_and_resolve_references().part.get("a")
    assert (config.used, config["part.c"], config.part.d, dict(**config.whole)) == (1, 3, 4, {"x": 1})
    assert reads.missing() == ["checked", "part.b", "part.e", "unused"]


SWEEPS = (
    "seeds.py controls.py:tune controls.py:final controls.py:2026 controls.py:2026,smoke mismatch.py mismatch.py:smoke "
    "moe.py moe.py:smoke equal_entropy.py equal_entropy.py:smoke "
    "narrowing.py narrowing.py:smoke narrowing.py:runs/start "
    "critique_smollm2.py critique_smollm2.py:tune critique_smollm2.py:smoke "
    "critique_closed.py:untuned critique_closed.py:tune critique_closed.py:main,tune critique_closed.py:smoke "
    "laws.py critique.py critique_learn.py smollm2.py smollm2.py:api self_train.py self_train.py:able cft.py "
    "small_english.py small_english.py:tune small_english.py:smoke "
    "darling.py rlsf.py rlp.py rlp.py:early elicit.py dual.py "
    "forking.py:countdown forking.py:grid forking.py:gym forking.py:critique"
).split()


@pytest.mark.parametrize("spec", SWEEPS)
def test_sweeps_set_knobs_that_there_are(spec):
    """A misspelt override would fail when its turn comes, hours later. Mutation: a strength of a missing key."""
    load = functools.cache(launch.load_config)  # arms and seeds of a sweep share a few
    for run in launch.call(str(ROOT / "configs" / "sweeps" / spec), "get_runs"):
        config = load(str(ROOT / run["config"]))
        for key, value in run.get("overrides", {}).items():
            part = config
            for name in key.split("."):
                assert name in part, f"{run['name']}: {key}"
                part = part[name]
            assert part is None or isinstance(value, type(part)), f"{run['name']}: {key}={value!r}"


def test_the_study_of_2026_runs_what_was_best_on_validation(tmp_path):
    """Six ways of every arm; the fourth is made best. Mutations: the first evaluations; the last one alone."""
    spec = str(ROOT / "configs" / "sweeps" / "controls.py")
    tune = [run for run in launch.call(f"{spec}:2026", "get_runs") if run["name"] != "start"]
    by_arm = {run["name"].split(",")[0]: [] for run in tune}
    for run in tune:
        arm, i = run["name"].split(",tune=")
        by_arm[arm].append(run["overrides"])
        steps = [0.9, 0.2, 0.2, 0.2] if i != "3" else [0.0, 0.3, 0.3, 0.1]
        row = {"task": "countdown", "metric": "pass@1", "n": 64}
        (tmp_path / run["name"]).mkdir()
        files.rewrite(
            tmp_path / run["name"] / "evals.jsonl", [{"step": s, **row, "value": v} for s, v in enumerate(steps)]
        )
    assert {len(ways) for ways in by_arm.values()} == {6}
    final = launch.call(f"{spec}:2026,final={tmp_path}", "get_runs")
    assert len(final) == 1 + 5 * (len(by_arm) + 1)
    for run in final[1:]:
        arm = run["name"].split(",")[0]
        if arm != "grpo_slow":
            way = {k: v for k, v in by_arm[arm][3].items() if k not in ("steps", "seed", "eval.split")}
            assert way.items() <= run["overrides"].items()
            assert "eval.split" not in run["overrides"]
    (grpo,) = [run for run in launch.call(f"{spec}:2026,final", "get_runs") if run["name"] == "grpo,seed=0"]
    assert grpo["overrides"]["optimizer.learning_rate"] == 4e-4  # the best of six in VALIDATION_2026
    with pytest.raises(InputError, match="knows no phase 'finale'"):
        launch.call(f"{spec}:2026,finale", "get_runs")
