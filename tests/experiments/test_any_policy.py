"""Scripts that look at a policy take that of a Hugging Face folder and of a LoRA run on it."""

import jax
import pytest

from entropy_rl.models import hf, lora
from experiments import calibrate, dual, elicit, self_feedback, tiny_model, tokens
from experiments.lib import build, launch
from experiments.lib.policies import first_policy
from tests.experiments.lib.test_policies import save


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    config = launch.load_config("configs/tiny_model.py:smoke")
    return str(tiny_model.run(config, str(tmp_path_factory.mktemp("tiny"))))


@pytest.fixture(scope="module")
def adapted(folder, tmp_path_factory):
    """Workdir of a LoRA run on the folder, whose policy is nearly certain."""
    c = launch.load_config("configs/rl/hf.py:smoke,part=rl")
    c.model.path = folder
    c.lora.update(rank=2, alpha=2.0)
    _, params = hf.load(folder)
    params = lora.add(params, jax.random.key(1), rank=2, targets=c.lora.targets)
    params["lora"] = jax.tree.map(lambda x: x + 1.0, params["lora"])
    return save(tmp_path_factory.mktemp("lora"), {7: {"params": params}}, c)


def get(path, folder, **changes):
    c = launch.load_config(f"configs/{path}.py:smoke")
    changes |= {"model.path": folder, "prompt.style": "plain", "prompt.prompt_length": 24, "prompt.response_length": 8}
    c.update_from_flattened_dict(changes)
    return c


def test_the_microscope_on_a_folder_and_on_a_run_with_adapters(folder, adapted, tmp_path):
    """Mutation: decisions of a task that tells none; random weights; adapters left out."""
    base = tokens.run(get("tokens", folder), tmp_path / "base")
    assert base["kinds"] == {} and not any(row["decision"] for row in base["words"]) and base["tokens"] > 8
    run = tokens.run(get("tokens", folder, init=adapted), tmp_path / "run")
    same = tokens.run(get("tokens", folder, init=folder), tmp_path / "same")
    assert same["record"] == base["record"] != run["record"]


CASES = {
    "calibrate": (calibrate.run, {"rollout.slots": 8}),
    "dual": (dual.run, {"eval.problems": 2}),
    "elicit": (elicit.run, {}),
    "rlsf": (self_feedback.run, {"rounds": 1, "questions": 4}),
}


@pytest.mark.parametrize("name", ["calibrate", *(pytest.param(n, marks=pytest.mark.slow) for n in list(CASES)[1:])])
def test_of_a_folder(name, folder, tmp_path):
    """Mutation: no model.path; the decisions of a task that tells none."""
    run, changes = CASES[name]
    if name == "elicit":
        changes = changes | {"cot.spans": ("answer",)}
    run(get(name, folder, **changes), str(tmp_path / "out"))
    assert any((tmp_path / "out").iterdir())


def test_training_starts_from_any_policy(folder, adapted):
    """Of a folder, of a run with adapters where this one has none or others. Mutation: only a run like this one."""
    c = launch.load_config("configs/rl/hf.py:smoke,part=rl")
    c.model.path = folder
    model, mesh = build.model(c, 2), build.mesh(c)
    tx, _ = build.optimizer(c, c.steps)
    _, want = hf.load(folder)
    for init, rank, targets, merged in (
        (folder, 0, "gate", False),
        (adapted, 0, "gate", True),
        (adapted, 4, "gate", True),
        (folder, 2, "gate", False),
    ):
        c.init = init
        c.lora.update(rank=rank, targets=targets)
        params = first_policy(c, model, tx, mesh).params
        assert ("lora" in params) == bool(rank)
        kernel = lambda p: p["params"]["layer_0"]["attention"]["q"]["kernel"]  # noqa: E731
        assert bool((kernel(params) != kernel(want)).any()) == merged
