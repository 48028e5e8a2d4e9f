"""The RL step without a config: the example of the docs, and what a Learner refuses."""

import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from entropy_rl import training
from entropy_rl.advantages import grpo
from entropy_rl.errors import InputError
from entropy_rl.training import Learner, step

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/training_step.md").read_text(), re.M | re.S)


def test_the_example_of_the_docs_is_a_step_of_grpo():
    """Mutations: the update left out; advantages that are not centred in their group; a mask off by one."""
    (block,) = BLOCKS
    made = {}
    exec(
        compile(block.replace("rollout, groups", "start = jax.device_get(state)\nrollout, groups"), "docs", "exec"),
        made,
    )
    rollout, advantage, metrics = made["rollout"], made["advantage"], jax.device_get(made["updates"])
    assert len(metrics) == 1 and metrics[0]["update/finite"] == 1 and metrics[0]["update/grad_norm"] > 0
    assert np.isfinite(metrics[0]["update/loss"]) and np.isfinite(made["learned"]["policy/entropy"])
    policy, before = jax.device_get(made["state"].policy), made["start"].policy
    assert int(before.step) == 0 and int(policy.step) == 1
    changed = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), policy.params, before.params)
    assert 0 < max(jax.tree.leaves(changed)) < 2e-3, "one step of Adam at a rate of 1e-3"
    # (r - mean) / (std + eps) by hand, std with n - 1
    groups = -0.01 * rollout.mask.sum(axis=1).reshape(4, 8)
    want = (groups - groups.mean(1, keepdims=True)) / (groups.std(1, ddof=1, keepdims=True) + 1e-4)
    np.testing.assert_allclose(advantage, want.reshape(-1, 1) * rollout.mask, atol=1e-4)


def test_the_example_needs_neither_configs_nor_scripts():
    """Mutation: `import ml_collections` in training/step.py."""
    code = BLOCKS[0] + "\nimport sys\nprint(sorted({'ml_collections', 'experiments', 'configs'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_names_are_loaded_when_they_are_asked_for():
    """Mutation: `from entropy_rl.training.step import Learner` in the package."""
    assert training.Learner is step.Learner and "Collector" in dir(training)
    assert all(getattr(training, name).__name__ == name for name in training.EXPORTS)
    with pytest.raises(ImportError, match="Lerner"):
        from entropy_rl.training import Lerner  # noqa: F401
    code = "import sys, entropy_rl.training; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"advantage": None}, "either an advantage or a critic"),
        ({"critic": object()}, "either an advantage or a critic"),
        ({"kl_place": "rewards"}, "kl_place='rewards': give 'loss' or 'reward'"),
        ({"kl_estimator": "k4"}, "unknown KL estimator 'k4'"),
    ],
)
def test_what_a_learner_refuses(changes, message):
    given = {"loss": None, "weight": None, "key": jax.random.key(0), "advantage": grpo}
    with pytest.raises(InputError, match=message):
        Learner(None, None, **(given | changes))
