"""Critiques in natural language on meshes of eight devices: a policy and a critic of another size, through train_rl."""

import json

import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.methods.critique import refine
from entropy_rl.training import collect
from experiments import tiny_model, train_rl
from experiments.lib import launch

CUT = {"data": 2, "fsdp": 2, "tensor": 2}


def folder(root, task, **changes):
    config = launch.load_config(f"configs/tiny_model.py:smoke,task={task}")
    if task == "jsonl":
        config.task.args.path = str(root)
    config.model.update(changes)
    return str(tiny_model.run(config, str(root / task)))


@pytest.fixture
def policy(tmp_path):
    """A folder that knows the words of questions that lie beside it."""
    for split in ("train", "validation", "test"):
        rows = [{"question": f"What is {i} + {i % 3}?", "answer": str(i + i % 3)} for i in range(8)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder(tmp_path, "jsonl")


def of_both(root, policy, prompts=4, **changes):
    """What is logged of one step with eight rows of devices, and with two of them cut every way."""
    for name, mesh in (("rows", {}), ("cut", CUT)):
        config = launch.load_config("configs/rl/hf.py:smoke,critique,part=rl,task=jsonl")
        given = {"model.path": policy, "task.args.path": str(root), "steps": 1, "prompt.style": "plain"}
        given |= {"prompt.prompt_length": 40, "prompt.response_length": 8, "rollout.prompts": prompts}
        given |= {"eval.problems": 8, "eval.samples": 1, "eval.ks": (1,), "change.every": 0, "samples": 16}
        config.update_from_flattened_dict(given | {f"critique.{k}": v for k, v in changes.items()})
        config.mesh.update(mesh)
        train_rl.run(config, str(root / name))
        yield metrics.read(root / name)


def assert_alike(rows, cut, *keys):
    for key in ("update/loss", "update/grad_norm", "policy/entropy_refined", *keys):
        np.testing.assert_allclose(cut[key], rows[key], rtol=1e-3, atol=1e-5, err_msg=key)


@pytest.mark.slow
def test_a_mesh_gives_what_the_rows_alone_give(policy, tmp_path):
    """A critic that is another folder. Mutation: the critic on one device."""
    critic = folder(tmp_path, "countdown", d_ff=96)
    how = {"source": "learned", "model": critic, "max_tokens": 8, "prompt_length": 1000}
    found = list(of_both(tmp_path, policy, **how))
    a, b = (run.metrics[0] for run in found)
    assert a["critique/attempts"] == 4 and a["refine/rows"] == 4 and a["critique/tokens"] > 0
    assert_alike(a, b, "critique/tokens", "refine/tokens")
    replies = [[row["reply"] for row in run.samples if row.get("kind") == "critique"] for run in found]
    assert replies[0] == replies[1] and len(replies[0]) == 4


@pytest.mark.slow
def test_contexts_on_a_mesh_give_what_one_device_gives(policy, tmp_path, monkeypatch):
    """Rows of two lengths, with groups over eight devices' rows and over meshes cut every way; rewards by length.
    Mutation: `by_place` that takes the first rows of the batch and not of each group."""
    odd = lambda task, problems, texts, completions: [float(len(text) % 2) for text in texts]  # noqa: E731
    for module in (collect, refine):
        monkeypatch.setattr(module, "verify_completions", odd)
    how = {"learn": "joint", "count": 2, "attempts": 1, "prompt_length": 400}
    a, b = (run.metrics[0] for run in of_both(tmp_path, policy, **how, prompts=8))
    assert a["refine/joint_rows"] > 0
    assert_alike(a, b, "refine/joint_rows", "policy/entropy_joint")
    assert a["policy/logp_gap"] < 1e-4 and b["policy/logp_gap"] < 1e-4
