"""The example in docs/design.md: one function, one row, one config, and it runs."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.losses import policy
from experiments import train_rl
from experiments.lib import launch
from tests import test_docs

TEXT = (pathlib.Path(__file__).parents[1] / "docs" / "design.md").read_text()


@pytest.fixture
def blocks(monkeypatch):
    """The Python blocks of the section, the function and its row put into the table."""
    section = TEXT.split("### A policy loss, step by step")[1].split("\n## ")[0]
    loss, config = re.findall(r"```python\n(.*?)```", section, re.S)
    function, row = loss.split("POLICY_LOSSES = ")
    names = dict(vars(policy))
    exec(function, names)
    added = eval(row.replace("{..., ", "{"), names)
    monkeypatch.setitem(policy.POLICY_LOSSES, "my_loss", added["my_loss"])
    return config


def test_the_loss_obeys_the_laws(blocks):
    """On-policy it is REINFORCE, and masked junk is invisible."""
    rng = np.random.default_rng(0)
    logp, advantage = (jnp.asarray(rng.normal(size=(3, 4)), jnp.float32) for _ in range(2))
    mask = jnp.asarray(rng.random((3, 4)) < 0.7)
    loss = policy.POLICY_LOSSES["my_loss"]
    f = lambda x, a: jnp.sum(loss(x, logp, a, mask, key=None)[0])  # noqa: E731
    np.testing.assert_allclose(jax.grad(f)(logp, advantage), jnp.where(mask, -advantage, 0), atol=1e-6)
    junk = jnp.where(mask, advantage, jnp.nan)
    np.testing.assert_array_equal(jax.grad(f)(logp, junk), jax.grad(f)(logp, advantage))


def test_the_config_runs(blocks, tmp_path):
    (tmp_path / "my_loss.py").write_text(blocks)
    config = launch.load_config(f"{tmp_path / 'my_loss.py'}:smoke")
    train_rl.run(config, str(tmp_path / "run"))
    rows = metrics.read(tmp_path / "run").metrics
    assert len(rows) == 2 and "policy/strong_fraction" in rows[0] and "policy/strong_entropy" in rows[0]
    evals = {row["metric"] for row in metrics.read(tmp_path / "run").evals}
    there = test_docs.explained()  # docs/instruments.md has what a run really logs
    assert not {k for k in {*rows[0], *evals} - {"step"} if not any(test_docs.matches(k, p) for p in there)}
