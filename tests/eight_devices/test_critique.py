"""Critiques in natural language on meshes of eight devices: a policy and a critic of another size, through train_rl."""

import json

import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.methods.critique import refine
from entropy_rl.training import collect
from experiments import tiny_model, train_rl
from experiments.lib import launch


def folder(root, task, **changes):
    config = launch.load_config(f"configs/tiny_model.py:smoke,task={task}")
    if task == "jsonl":
        config.task.args.path = str(root)
    config.model.update(changes)
    return str(tiny_model.run(config, str(root / task)))


@pytest.mark.slow
def test_a_mesh_gives_what_the_rows_alone_give(tmp_path):
    """One step with eight rows of devices, and with two of them cut every way. Mutation: the critic on one device."""
    for split in ("train", "validation", "test"):
        rows = [{"question": f"What is {i} + {i % 3}?", "answer": str(i + i % 3)} for i in range(8)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    policy, critic = folder(tmp_path, "jsonl"), folder(tmp_path, "countdown", d_ff=96)
    found = []
    for name, mesh in (("rows", {}), ("cut", {"data": 2, "fsdp": 2, "tensor": 2})):
        config = launch.load_config("configs/rl/hf.py:smoke,critique,part=rl,task=jsonl")
        changes = {"model.path": policy, "task.args.path": str(tmp_path), "steps": 1, "prompt.style": "plain"}
        changes |= {"prompt.prompt_length": 40, "prompt.response_length": 8, "critique.prompt_length": 1000}
        changes |= {"critique.source": "learned", "critique.model": critic, "critique.max_tokens": 8}
        changes |= {"eval.problems": 8, "eval.samples": 1, "eval.ks": (1,), "change.every": 0, "samples": 16}
        config.update_from_flattened_dict(changes)
        config.mesh.update(mesh)
        train_rl.run(config, str(tmp_path / name))
        found.append(metrics.read(tmp_path / name))
    a, b = (run.metrics[0] for run in found)
    assert a["critique/attempts"] == 4 and a["refine/rows"] == 4 and a["critique/tokens"] > 0
    for key in ("critique/tokens", "refine/tokens", "update/loss", "update/grad_norm", "policy/entropy_refined"):
        np.testing.assert_allclose(b[key], a[key], rtol=1e-3, atol=1e-5, err_msg=key)
    replies = [[row["reply"] for row in run.samples if row.get("kind") == "critique"] for run in found]
    assert replies[0] == replies[1] and len(replies[0]) == 4


@pytest.mark.slow
def test_contexts_on_a_mesh_give_what_one_device_gives(tmp_path, monkeypatch):
    """Rows of two lengths, with groups over eight devices' rows and over meshes cut every way; rewards by length.
    Mutation: `by_place` that takes the first rows of the batch and not of each group."""
    odd = lambda task, problems, texts, completions: [float(len(text) % 2) for text in texts]  # noqa: E731
    for module in (collect, refine):
        monkeypatch.setattr(module, "verify_completions", odd)
    for split in ("train", "validation", "test"):
        rows = [{"question": f"What is {i} + {i % 3}?", "answer": str(i + i % 3)} for i in range(8)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    policy, found = folder(tmp_path, "jsonl"), []
    for name, mesh in (("rows", {}), ("cut", {"data": 2, "fsdp": 2, "tensor": 2})):
        config = launch.load_config("configs/rl/hf.py:smoke,critique,part=rl,task=jsonl")
        changes = {"model.path": policy, "task.args.path": str(tmp_path), "steps": 1, "prompt.style": "plain"}
        changes |= {"prompt.prompt_length": 40, "prompt.response_length": 8, "critique.prompt_length": 400}
        changes |= {"critique.learn": "joint", "critique.count": 2, "critique.attempts": 1, "rollout.prompts": 8}
        changes |= {"eval.problems": 8, "eval.samples": 1, "eval.ks": (1,), "change.every": 0, "samples": 16}
        config.update_from_flattened_dict(changes)
        config.mesh.update(mesh)
        train_rl.run(config, str(tmp_path / name))
        found.append(metrics.read(tmp_path / name))
    a, b = (run.metrics[0] for run in found)
    assert a["refine/joint_rows"] > 0
    entropies = ("policy/entropy_joint", "policy/entropy_refined")
    for key in ("refine/joint_rows", "update/loss", "update/grad_norm", *entropies):
        np.testing.assert_allclose(b[key], a[key], rtol=1e-3, atol=1e-5, err_msg=key)
    assert a["policy/logp_gap"] < 1e-4 and b["policy/logp_gap"] < 1e-4
