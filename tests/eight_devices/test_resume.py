"""A run on one mesh goes on on another, through train_rl."""

import jax
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.models import hf
from entropy_rl.training.checkpoints import restore_params
from experiments import train_rl
from experiments.lib import build, launch

OTHER = {"data": 2, "fsdp": 2, "tensor": 2}


def get(steps, **mesh):
    config = launch.load_config("configs/rl/grpo.py:smoke")
    changes = {"steps": steps, "eval.every": 100, "change.every": 0, "checkpoint.every": 100, "rollout.prompts": 4}
    config.update_from_flattened_dict(changes | {"entropy_coef.args.value": 0.01})
    config.mesh.update(mesh)
    return config


@pytest.mark.slow
def test_a_checkpoint_of_one_mesh_goes_on_on_another(tmp_path):
    """Four steps on eight devices by rows, or two of them and two cut every way with the sampler's weights gathered.

    Mutation: the mesh, or where the sampler has its weights, defines the run.
    """
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    train_rl.run(get(4), str(whole))
    train_rl.run(get(2), str(moved))
    config = get(4, **OTHER)
    config.rollout.gather_weights = True
    train_rl.run(config, str(moved))
    a, b = metrics.read(whole).metrics, metrics.read(moved).metrics
    assert [row["step"] for row in b] == [0, 1, 2, 3] and all(row["update/grad_norm"] > 0 for row in b)
    for x, y in zip(a, b):
        for key in ("policy/entropy_sequence", "rollout/length", "update/loss", "update/grad_norm"):
            np.testing.assert_allclose(y[key], x[key], rtol=1e-4, atol=1e-5, err_msg=key)
    config = get(4)
    model = build.model(config, build.task(config).tokenizer.vocab_size)
    params = [restore_params(path, hf.abstract_params(model, build.mesh(config))) for path in (whole, moved)]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(y, x, atol=1e-5), *params)
