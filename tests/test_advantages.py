import inspect
import itertools
import json
import pathlib
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.advantages import ADVANTAGES, BINARY, at_last_token, gae, overlong, shape_by_entropy
from entropy_rl.errors import InputError

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden" / "verl_losses.json").read_text())
IN = GOLDEN["inputs"]
REWARD, GROUP = jnp.asarray(IN["reward"], jnp.float32), jnp.asarray(IN["group"], jnp.int32)
VALUE, TOKEN_REWARD = (jnp.asarray(IN[k], jnp.float32) for k in ("value", "token_reward"))
MASK = jnp.asarray(IN["mask"]) > 0


def eager(name, reward, group, mask, **hparams):
    """A row on what it asks for: f32[B] from the rewards, or f32[B, T] from the mask too."""
    data = {"mask": mask} if "mask" in inspect.signature(ADVANTAGES[name]).parameters else {}
    return ADVANTAGES[name](reward, group, **data, **hparams)


@cache
def program(name, **hparams):
    return jax.jit(partial(eager, name, **hparams))


def call(name, reward, group, mask, **hparams):
    """`eager` as one program, where it takes one program a shape for each of its operations."""
    return program(name, **hparams)(reward, group, mask)


def tokens(advantage, mask):
    """f32[B, T] of either kind."""
    return jnp.where(mask, advantage if advantage.ndim == 2 else advantage[:, None], 0.0)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "reinforce_pp", "reinforce_pp_baseline"])
def test_golden(name):
    """verl 0.9.1 gives one advantage a token, and as returns the rewards or, of group estimators, the advantages."""
    want, returns = GOLDEN["advantages"][name]
    got = tokens(call(name, REWARD, GROUP, MASK), MASK)
    np.testing.assert_allclose(got, want, atol=1e-6)
    ours = tokens(REWARD, MASK) if name == "reinforce_pp" else got
    np.testing.assert_allclose(ours, returns, atol=1e-6)


def test_golden_gae():
    """Mutations: advantages not whitened; returns made of whitened advantages; lam and gamma swapped."""
    advantage, returns = gae(TOKEN_REWARD, VALUE, MASK, 1.0, 0.95)
    np.testing.assert_allclose(advantage, tokens(jnp.asarray(GOLDEN["advantages"]["gae_g1_l095"][0]), MASK), atol=1e-6)
    np.testing.assert_allclose(returns, GOLDEN["advantages"]["gae_g1_l095"][1], atol=1e-6)


def test_by_hand():
    reward, group = jnp.array([1.0, 0.0, 0.0, 1.0]), jnp.array([0, 0, 0, 1])
    np.testing.assert_allclose(
        ADVANTAGES["grpo"](reward, group, eps=0.0), [2 / 3**0.5, -1 / 3**0.5, -1 / 3**0.5, 1], rtol=1e-6
    )
    np.testing.assert_allclose(ADVANTAGES["dr_grpo"](reward, group), [2 / 3, -1 / 3, -1 / 3, 1], rtol=1e-6)
    np.testing.assert_allclose(ADVANTAGES["rloo"](reward, group), [1, -0.5, -0.5, 1], rtol=1e-6)
    np.testing.assert_allclose(ADVANTAGES["quantile"](reward, group, eps=0.0), [3**0.5, 0, 0, 1], rtol=1e-6)


def test_quantile_by_hand():
    """0.4 of the way through 0 1 2 3 4 (std sqrt(2.5)) is 1.6; through 0 0 10 it is 0 for k = 0.5 and 2 for 0.6."""
    f, five, three = ADVANTAGES["quantile"], jnp.array([3.0, 0.0, 4.0, 1.0, 2.0]), jnp.array([0.0, 10.0, 0.0])
    got = f(five, jnp.zeros(5, jnp.int32), eps=0.0)
    np.testing.assert_allclose(got, np.array([1.4, -1.6, 2.4, -0.6, 0.4]) / 2.5**0.5, rtol=1e-5)
    std = np.std([0, 0, 10], ddof=1)
    zero = jnp.zeros(3, jnp.int32)
    np.testing.assert_allclose(f(three, zero, k=0.5, eps=0.0), np.array([0, 10, 0]) / std, rtol=1e-5)
    np.testing.assert_allclose(f(three, zero, k=0.6, eps=0.0), np.array([-2, 8, -2]) / std, rtol=1e-5)


@pytest.mark.parametrize("successes", range(17))
def test_quantile_is_a_gate_of_two_regimes(successes):
    """Of 16 responses, k = 0.4: hard prompts reinforce successes alone, easy ones punish failures alone, exactly.

    Mutation: k and 1 - k swapped.
    """
    reward = np.arange(16) < successes
    got = np.asarray(ADVANTAGES["quantile"](jnp.asarray(reward, jnp.float32), jnp.zeros(16, jnp.int32)))
    hard = 1 - successes / 16 >= 0.4
    assert not np.any(got[~reward] if hard else got[reward])
    if 0 < successes < 16:
        assert np.all(got[reward] > 0) if hard else np.all(got[~reward] < 0)


def test_max_rl_by_hand():
    """One right of four: 3 and -1; three of four: 1/3 and -1; none and all: 0. Mutation: divided by the std."""
    reward = jnp.array([1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1], jnp.float32)
    got = ADVANTAGES["max_rl"](reward, jnp.array([0] * 4 + [1] * 4 + [2] * 2 + [3] * 2))
    np.testing.assert_allclose(got, [3, -1, -1, -1, 1 / 3, 1 / 3, 1 / 3, -1, 0, 0, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("right", range(7))
def test_pass_at_k_by_enumeration(right):
    """Of a group of 6: a set of k is worth 1 if one of it is right, and a response the mean over its sets, less the
    mean over all, by the standard deviation. Mutations: C(w, k) for C(w - 1, k - 1); the variance of the sample."""
    reward = np.array([1.0] * right + [0.0] * (6 - right))
    for k in range(1, 7):
        sets = list(itertools.combinations(range(6), k))
        value = np.array([max(reward[list(s)]) for s in sets])
        of = [np.mean([v for s, v in zip(sets, value) if i in s]) for i in range(6)]
        want = (np.array(of) - value.mean()) / value.std() if value.std() > 0 else np.zeros(6)
        got = ADVANTAGES["pass_at_k"](jnp.asarray(reward, jnp.float32), jnp.zeros(6, jnp.int32), k=k)
        np.testing.assert_allclose(got, want, atol=1e-4)
    small = ADVANTAGES["pass_at_k"](jnp.asarray(reward, jnp.float32), jnp.zeros(6, jnp.int32), k=7)
    assert not np.any(small)


def test_opo_by_hand():
    """Lengths 1 3 2 with rewards 1 0 1: the baseline is 1/2; a group of one keeps its reward."""
    mask = jnp.arange(4)[None] < jnp.array([[1], [3], [2], [4]])
    got = ADVANTAGES["opo"](jnp.array([1.0, 0.0, 1.0, 2.0]), jnp.array([5, 5, 5, 6]), mask=mask)
    np.testing.assert_allclose(got, [0.5, -0.5, 0.5, 2.0], rtol=1e-6)


def test_gpg_by_hand():
    """Five responses, three with a reward, and an empty row: 5/3 (R - mean) / f_norm. Mutations: the groups that differ
    counted; the empty row counted."""
    reward, group = jnp.array([1.0, 0.0, 1.0, 0.0, 2.0, 0.0]), jnp.array([0, 0, 0, 0, 1, 2])
    gpg = partial(ADVANTAGES["gpg"], mask=jnp.arange(2)[None] < jnp.array([[1], [1], [2], [1], [2], [0]]))
    want = 5 / 3 * np.array([0.5, -0.5, 0.5, -0.5, 2.0, 0.0])
    np.testing.assert_allclose(gpg(reward, group), want, rtol=1e-6)
    np.testing.assert_allclose(gpg(reward, group, f_norm=2.0), want / 2, rtol=1e-6)
    assert not np.any(gpg(jnp.zeros(6), group))


@pytest.mark.parametrize("name", BINARY)
def test_other_rewards_are_refused_where_they_are_known(name):
    with pytest.raises(InputError, match=f"advantage '{name}' is for rewards of 0 or 1, and one is 0.5: leave out"):
        ADVANTAGES[name](jnp.array([1.0, 0.5]), jnp.zeros(2, jnp.int32))


@pytest.mark.parametrize(
    "name, hparams", [("pass_at_k", {"k": 0}), ("pass_at_k", {"k": 1.5}), ("gpg", {"f_norm": 0.0})]
)
def test_bad_values_are_refused(name, hparams):
    with pytest.raises(InputError, match="=".join(map(str, next(iter(hparams.items()))))):
        call(name, jnp.array([1.0, 0.0]), jnp.zeros(2, jnp.int32), jnp.ones((2, 1), bool), **hparams)


@pytest.mark.parametrize("k", [0.0, 1.0, -0.1])
def test_a_quantile_outside_the_open_interval_is_refused(k):
    with pytest.raises(InputError, match="k="):
        ADVANTAGES["quantile"](REWARD, GROUP, k=k)


def test_reinforce_pp_discounts_by_response_tokens():
    """Returns 1/4 1/2 1 and 0, tool output skipped. Mutation: gamma to the power of columns."""
    mask = jnp.array([[False, True, True, False, True], [False, True, False, False, False]])
    got = ADVANTAGES["reinforce_pp"](jnp.array([1.0, 0.0]), jnp.zeros(2, jnp.int32), mask=mask, gamma=0.5)
    returns = np.array([0.25, 0.5, 1.0, 0.0])
    want = (returns - returns.mean()) / returns.std(ddof=1)
    np.testing.assert_allclose(got[mask], want, rtol=1e-5)
    assert not np.any(jnp.where(mask, 0.0, got))


def test_gae_by_hand():
    """gamma 1/2, lam 1/2, values 1 2 4, the reward 8 at the end; the second row has a gap, which changes nothing."""
    mask = jnp.array([[True, True, True, False, False], [False, True, True, False, True]])
    value = jnp.array([[1.0, 2.0, 4.0, jnp.nan, jnp.nan], [jnp.nan, 1.0, 2.0, jnp.nan, 4.0]])
    reward = at_last_token(jnp.array([8.0, 8.0]), mask)
    np.testing.assert_array_equal(reward, [[0, 0, 8, 0, 0], [0, 0, 0, 0, 8]])
    advantage, returns = gae(reward, value, mask, 0.5, 0.5, whitened=False)
    # deltas: 0 + 2/2 - 1 = 0, 0 + 4/2 - 2 = 0, 8 - 4 = 4; advantages 0 + 1/4, 0 + 4/4, 4
    np.testing.assert_allclose(advantage, [[0.25, 1, 4, 0, 0], [0, 0.25, 1, 0, 4]], rtol=1e-6)
    np.testing.assert_allclose(returns, [[1.25, 3, 8, 0, 0], [0, 1.25, 3, 0, 8]], rtol=1e-6)
    # rewards in gaps, as what one subtracts from them there, are not seen
    np.testing.assert_array_equal(gae(reward + 9.0 * ~mask, value, mask, 0.5, 0.5)[1], returns)


class TestGae:
    """What theory says of it."""

    def test_lambda_one_gives_returns_to_go_and_lambda_zero_errors_of_one_step(self):
        to_go = tokens(REWARD, MASK)
        next_value = jnp.pad(jnp.where(MASK, VALUE, 0.0)[:, 1:], ((0, 0), (0, 1)))
        for lam, want in ((1.0, to_go), (0.0, at_last_token(REWARD, MASK) + next_value)):
            advantage, returns = gae(at_last_token(REWARD, MASK), VALUE, MASK, 1.0, lam, whitened=False)
            np.testing.assert_allclose(returns, want, atol=1e-5)
            np.testing.assert_allclose(advantage, tokens(want - VALUE, MASK), atol=1e-5)

    def test_whitened_is_the_plain_one_whitened(self):
        plain, white = (gae(TOKEN_REWARD, VALUE, MASK, whitened=w)[0][MASK] for w in (False, True))
        np.testing.assert_allclose(white, (plain - plain.mean()) / plain.std(ddof=1), rtol=1e-4, atol=1e-5)

    def test_masked_junk_is_invisible(self):
        """Mutation: no `mask_out`."""
        junk = [jnp.where(MASK, x, jnp.nan) for x in (TOKEN_REWARD, VALUE)]
        clean, dirty = gae(TOKEN_REWARD, VALUE, MASK, 0.9, 0.8), gae(*junk, MASK, 0.9, 0.8)
        jax.tree.map(np.testing.assert_array_equal, clean, dirty)

    def test_nothing_masked_in_gives_zero(self):
        advantage, returns = gae(TOKEN_REWARD, VALUE, jnp.zeros_like(MASK))
        assert not np.any(advantage) and not np.any(returns)
        assert not np.any(at_last_token(REWARD, jnp.zeros_like(MASK)))

    def test_no_gradient_flows(self):
        """Mutation: no stop_gradient."""
        f = lambda r, v: sum(jnp.sum(x**2) for x in gae(r, v, MASK))  # noqa: E731
        assert not any(np.any(g) for g in jax.grad(f, argnums=(0, 1))(TOKEN_REWARD, VALUE))

    def test_jit_is_eager_and_rows_are_their_own(self, rng):
        order = rng.permutation(12)
        advantage, returns = gae(TOKEN_REWARD, VALUE, MASK, 1.0, 0.95)
        mixed = jax.jit(gae)(TOKEN_REWARD[order], VALUE[order], MASK[order], 1.0, 0.95)
        np.testing.assert_allclose(mixed[0], advantage[order], atol=1e-6)
        np.testing.assert_allclose(mixed[1], returns[order], atol=1e-6)


class TestShapingByEntropy:
    """A + min(alpha H, |A| / kappa)."""

    def test_by_hand(self):
        advantage, entropy = jnp.array([[1.0, 1.0, -1.0, -1.0, 0.0]]), jnp.array([[0.5, 9.0, 0.5, 9.0, 9.0]])
        got = shape_by_entropy(advantage, entropy, alpha=0.4, kappa=2.0)
        np.testing.assert_allclose(got, [[1.2, 1.5, -0.8, -0.5, 0.0]], rtol=1e-6)

    def test_no_sign_changes_and_no_gradient_reaches_the_entropy(self, rng):
        """Mutations: no stop_gradient; |A| kappa instead of |A| / kappa."""
        advantage, entropy = jnp.asarray(rng.normal(size=(5, 7))), jnp.asarray(rng.exponential(size=(5, 7)))
        for alpha in (0.0, 0.1, 100.0):
            got = shape_by_entropy(advantage, entropy, alpha=alpha, kappa=1.1)
            np.testing.assert_array_equal(jnp.sign(got), jnp.sign(advantage))
            assert np.all(got >= advantage)
        assert not np.any(jax.grad(lambda h: jnp.sum(shape_by_entropy(advantage, h, alpha=0.1, kappa=2.0)))(entropy))

    @pytest.mark.parametrize("alpha, kappa", [(-0.1, 2.0), (0.1, 1.0), (0.1, 0.0)])
    def test_values_that_could_turn_signs_are_refused(self, alpha, kappa):
        with pytest.raises(InputError, match="kappa"):
            shape_by_entropy(VALUE, VALUE, alpha=alpha, kappa=kappa)


@pytest.mark.parametrize("name", ADVANTAGES)
class TestLaws:
    """What holds for every row of the table, on groups with, with other and without variance."""

    reward = jnp.array([0.0, 1.0, 1.0, 0.0, 0.25, 0.5, 0.0, 0.0, 0.0])
    group = jnp.array([0, 0, 0, 1, 1, 1, 2, 2, 2])

    @pytest.fixture(autouse=True)
    def binary(self, name):
        """Rows for rewards of 0 and 1 get such."""
        if name in BINARY:
            self.reward = jnp.where(self.reward > 0.3, 1.0, 0.0)

    mask = jnp.arange(7)[None].repeat(9, axis=0) < jnp.array([7, 1, 2, 5, 3, 4, 6, 0, 2])[:, None]

    def test_a_constant_added_to_the_rewards_changes_nothing(self, name):
        """Not so for `reinforce_pp` with gamma < 1, where later tokens get more of the constant, for rows of 0 and 1,
        and for `gpg`, which counts the rewards that are not 0."""
        if name in (*BINARY, "gpg"):
            return
        np.testing.assert_allclose(
            call(name, self.reward + 3, self.group, self.mask),
            call(name, self.reward, self.group, self.mask),
            atol=1e-5,
        )

    def test_permuting_rows_permutes_the_result(self, name, rng):
        order = rng.permutation(9)
        np.testing.assert_allclose(
            call(name, self.reward[order], self.group[order], self.mask[order]),
            call(name, self.reward, self.group, self.mask)[order],
            atol=1e-6,
        )

    def test_names_of_groups_mean_nothing(self, name):
        np.testing.assert_array_equal(
            call(name, self.reward, jnp.array([7, -2, 100])[self.group], self.mask),
            call(name, self.reward, self.group, self.mask),
        )

    def test_zero_mean(self, name):
        """Over the responses of each group; mutation: no baseline.

        `reinforce_pp` and `reinforce_pp_baseline` are whitened over the tokens of the batch: zero mean there, not in a
        group. The baselines of `quantile` and `opo` are not the mean, so these have zero mean nowhere.
        """
        got = call(name, self.reward, self.group, self.mask)
        of_groups = got.reshape(3, 3, -1).mean(axis=(1, 2))
        if name.startswith("reinforce_pp"):
            np.testing.assert_allclose(got[self.mask].mean(), 0, atol=1e-6)
            np.testing.assert_allclose(got[self.mask].std(ddof=1), 1, rtol=1e-5)
        assert (np.abs(of_groups).max() < 1e-6) == (name in ("grpo", "dr_grpo", "rloo", "max_rl", "pass_at_k", "gpg"))

    def test_a_group_without_variance_teaches_nothing(self, name):
        """Not so for `reinforce_pp`, which knows no groups, and for `reinforce_pp_baseline`, whose mean over tokens is
        not that over responses: there the group gets one and the same advantage, 0 when lengths are equal."""
        got = tokens(call(name, self.reward, self.group, self.mask), self.mask)[6:]
        assert (np.abs(got).max() < 1e-6) == (not name.startswith("reinforce_pp"))
        if name == "reinforce_pp_baseline":
            inside = got[self.mask[6:]]
            np.testing.assert_allclose(inside, inside[0], rtol=1e-6)
            equal = call(name, self.reward, self.group, jnp.ones_like(self.mask))
            np.testing.assert_allclose(equal[6:], 0, atol=1e-6)

    def test_a_group_of_one_keeps_the_sign_of_its_reward(self, name):
        """Whitened rows: of its reward against the others. Rows for 0 and 1 have nothing to compare it with."""
        if name in BINARY:
            np.testing.assert_array_equal(call(name, jnp.array([1.0, 0.0]), jnp.array([0, 1]), jnp.ones((2, 3))), 0)
            return
        reward, group, mask = jnp.array([1.0, -1.0]), jnp.array([0, 1]), jnp.ones((2, 3), bool)
        got = tokens(call(name, reward, group, mask), mask)
        assert np.all(got[0] > 0) and np.all(got[1] < 0)

    def test_nothing_masked_in_is_finite(self, name):
        got = call(name, self.reward, self.group, jnp.zeros_like(self.mask))
        assert np.isfinite(got).all()
        assert got.ndim == 1 or not np.any(got)

    def test_empty_rows_of_a_group_of_their_own_change_nothing(self, name):
        """As where a group has fewer retries in context than it could have. Mutation: `gpg` that counts them."""
        reward, group = jnp.append(self.reward, jnp.zeros(2)), jnp.append(self.group, jnp.array([9, 9]))
        got = call(name, reward, group, jnp.pad(self.mask, ((0, 2), (0, 0))))
        np.testing.assert_allclose(got[:9], call(name, self.reward, self.group, self.mask), atol=1e-6)
        assert not np.any(got[9:])

    def test_zero_outside_the_mask(self, name):
        got = call(name, self.reward, self.group, self.mask)
        assert got.shape == (self.reward.shape if got.ndim == 1 else self.mask.shape)
        assert got.ndim == 1 or not np.any(jnp.where(self.mask, 0.0, got))

    def test_jit_is_eager(self, name):
        args = (self.reward, self.group, self.mask)
        np.testing.assert_allclose(call(name, *args), eager(name, *args), atol=1e-6)


@pytest.mark.parametrize("xp", [np, jnp])
def test_overlong_by_hand(xp):
    """Mutation: the window begins at max_length."""
    length = xp.asarray([0, 16384, 16385, 18432, 20480, 20481, 99999])
    got = overlong(length, max_length=20480, cache=4096)
    np.testing.assert_allclose(got, [0, 0, -1 / 4096, -0.5, -1, -1, -1], rtol=1e-6)
    assert isinstance(got, type(length))


@pytest.mark.parametrize("cache", [0, 11])
def test_a_window_outside_the_length_is_refused(cache):
    with pytest.raises(InputError, match="cache"):
        overlong(np.array([1]), max_length=10, cache=cache)
