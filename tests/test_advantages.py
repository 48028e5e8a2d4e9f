import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.advantages import ADVANTAGES

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden" / "verl_losses.json").read_text())
REWARD, GROUP = (jnp.asarray(GOLDEN["inputs"][k]) for k in ("reward", "group"))


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo"])
def test_golden(name):
    """verl 0.9.1 gives one advantage a token; ours is one a response."""
    want = np.asarray(GOLDEN["advantages"][name])[0]
    mask = np.asarray(GOLDEN["inputs"]["mask"])
    got = ADVANTAGES[name](REWARD.astype(jnp.float32), GROUP.astype(jnp.int32))
    np.testing.assert_allclose(np.asarray(got)[:, None] * mask, want, atol=1e-6)


def test_by_hand():
    reward, group = jnp.array([1.0, 0.0, 0.0, 1.0]), jnp.array([0, 0, 0, 1])
    np.testing.assert_allclose(
        ADVANTAGES["grpo"](reward, group, eps=0.0), [2 / 3**0.5, -1 / 3**0.5, -1 / 3**0.5, 1], rtol=1e-6
    )
    np.testing.assert_allclose(ADVANTAGES["dr_grpo"](reward, group), [2 / 3, -1 / 3, -1 / 3, 1], rtol=1e-6)
    np.testing.assert_allclose(ADVANTAGES["rloo"](reward, group), [1, -0.5, -0.5, 1], rtol=1e-6)


@pytest.mark.parametrize("name", ADVANTAGES)
class TestLaws:
    """What holds for every row of the table."""

    reward = jnp.array([0.0, 1.0, 1.0, 0.0, 0.25, 0.5, 0.0, 0.0, 0.0])
    group = jnp.array([0, 0, 0, 1, 1, 1, 2, 2, 2])

    def test_a_constant_added_to_the_rewards_changes_nothing(self, name):
        f = ADVANTAGES[name]
        np.testing.assert_allclose(f(self.reward + 3, self.group), f(self.reward, self.group), atol=1e-5)

    def test_permuting_rows_permutes_the_result(self, name, rng):
        f, order = ADVANTAGES[name], rng.permutation(9)
        np.testing.assert_allclose(
            f(self.reward[order], self.group[order]), f(self.reward, self.group)[order], atol=1e-6
        )

    def test_zero_mean_in_each_group_and_zero_without_variance(self, name):
        got = ADVANTAGES[name](self.reward, self.group)
        np.testing.assert_allclose(got.reshape(3, 3).mean(axis=1), 0, atol=1e-6)
        np.testing.assert_allclose(got[6:], 0, atol=1e-6)

    def test_jit_is_eager(self, name):
        f = ADVANTAGES[name]
        np.testing.assert_allclose(jax.jit(f)(self.reward, self.group), f(self.reward, self.group), atol=1e-6)
