from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.losses.weights import DATA, WEIGHTS, compose

MASK = jnp.array([[True, True, True, False], [False, True, False, False], [False] * 4])
DATA_OF = {
    "entropy": jnp.array([[0.3, 0.1, 0.2, jnp.nan], [9.0, 0.4, jnp.inf, 9.0], [9.0] * 4]),
    "advantage": jnp.array([[1.0, 1.0, 1.0, jnp.nan], [5.0, -2.0, 5.0, 5.0], [5.0] * 4]),
    "truncated": jnp.array([False, True, False]),
    "refined": jnp.array([True, False, True]),
    "logp": jnp.array([[-0.1, -0.2, -0.3, jnp.nan], [9.0, -1.2, jnp.inf, 9.0], [9.0] * 4]),
    "reward": jnp.array([1.0, 0.5, 0.0]),
    "group": jnp.array([7, 7, 3]),
}
HPARAMS = {
    "fixed_length": {"length": 10},
    "top_entropy": {"frac": 0.5},
    "refined_forks": {"frac": 0.5},
    "sign_scale": {"positive": 0.1, "negative": 2.0},
    "ucpo": {"tau": 0.5},
    "unsolved": {"k": 2, "threshold": 0.85},
}
X = (0.5 + 1 / (1 + np.e)) / 4
PLAIN = ("token_mean", "sequence_mean", "sequence_sum", "fixed_length")


@pytest.mark.parametrize(
    "name, want",
    [
        ("token_mean", [[0.25, 0.25, 0.25, 0], [0, 0.25, 0, 0], [0] * 4]),
        ("sequence_mean", [[1 / 6, 1 / 6, 1 / 6, 0], [0, 0.5, 0, 0], [0] * 4]),
        ("sequence_sum", [[0.5, 0.5, 0.5, 0], [0, 0.5, 0, 0], [0] * 4]),
        ("fixed_length", [[0.05, 0.05, 0.05, 0], [0, 0.05, 0, 0], [0] * 4]),
        ("top_entropy", [[0.5, 0, 0, 0], [0, 0.5, 0, 0], [0] * 4]),
        ("refined_forks", [[1 / 3, 0, 1 / 3, 0], [0, 1 / 3, 0, 0], [0] * 4]),
        ("drop_truncated", [[1 / 3, 1 / 3, 1 / 3, 0], [0] * 4, [0] * 4]),
        ("sign_scale", [[0.025, 0.025, 0.025, 0], [0, 0.5, 0, 0], [0] * 4]),
        # means -.2 and -1.2: q = e/(1+e) and 1/(1+e), so 2 v is .5 + 1/(1+e) = .7689 and .5 + e/(1+e) = 1.2311
        ("ucpo", [[X, X, X, 0], [0, 0.5 - X, 0, 0], [0] * 4]),
        # both of two right: 1 - (1 * 2) / (4 * 5) = .9; the other group has none of one: 1 - (2 * 3) / (3 * 4) = .5
        ("unsolved", [[0] * 4] * 3),
    ],
)
def test_by_hand(name, want):
    np.testing.assert_allclose(compose(name, **HPARAMS.get(name, {}))(MASK, DATA_OF), want, rtol=1e-6)


def test_every_row_has_its_case():
    assert set(WEIGHTS) == {*PLAIN, "top_entropy", "refined_forks", "drop_truncated", "sign_scale", "ucpo", "unsolved"}


@pytest.mark.parametrize("name", WEIGHTS)
class TestLaws:
    """What holds for every row of the table."""

    def weight(self, name, mask, data):
        return compose(name, **HPARAMS.get(name, {}))(mask, data)

    def random(self, rng, rows=6, columns=9):
        """Ragged rows, one of them empty; no two entropies alike."""
        mask = np.arange(columns) < rng.integers(1, columns + 1, rows)[:, None]
        mask[2] = False
        data = {
            "entropy": rng.random((rows, columns)).astype(np.float32),
            "advantage": rng.normal(size=(rows, columns)).astype(np.float32),
            "truncated": rng.random(rows) < 0.4,
            "refined": rng.random(rows) < 0.4,
            "logp": -rng.random((rows, columns)).astype(np.float32),
            "reward": (rng.random(rows) < 0.5).astype(np.float32),
            "group": np.arange(rows) // 2,
        }
        return mask, data

    def test_zero_outside_the_mask_and_finite(self, name):
        """Whatever the data say there. Mutation: entropies compared before they are masked."""
        w = self.weight(name, MASK, DATA_OF)
        assert not np.any(np.where(MASK, 0.0, w)) and np.isfinite(w).all()

    def test_padding_changes_nothing(self, name):
        mask = jnp.pad(MASK, ((0, 1), (0, 3)))
        data = {k: jnp.pad(v, ((0, 1), (0, 3))[: v.ndim], constant_values=1) for k, v in DATA_OF.items()}
        padded = self.weight(name, mask, data)
        np.testing.assert_allclose(padded[:3, :4], self.weight(name, MASK, DATA_OF), rtol=1e-6)

    def test_nothing_masked_in_weighs_nothing(self, name):
        assert not np.any(self.weight(name, jnp.zeros_like(MASK), DATA_OF))

    def test_jit_is_eager(self, name):
        f = partial(self.weight, name)
        np.testing.assert_allclose(jax.jit(f)(MASK, DATA_OF), f(MASK, DATA_OF), rtol=1e-6)

    def test_permuting_rows_permutes_the_result(self, name, rng):
        mask, data = self.random(rng)
        order = rng.permutation(len(mask))
        mixed = self.weight(name, mask[order], {k: v[order] for k, v in data.items()})
        np.testing.assert_allclose(mixed, self.weight(name, mask, data)[order], rtol=1e-6)

    def test_tokens_of_the_mean_sum_to_one(self, name, rng):
        """The rows that are means, refined or not. Mutation: top_entropy = base(mask) * selected.

        Not `sequence_sum` and `fixed_length`, which are sums by name, nor `sign_scale`, which scales, and `ucpo`, which
        keeps the sum over responses.
        """
        if name == "ucpo":
            return
        mask, data = self.random(rng)
        total = float(jnp.sum(self.weight(name, mask, data)))
        assert (abs(total - 1) < 1e-5) == (name not in ("sequence_sum", "fixed_length", "sign_scale"))


@pytest.mark.parametrize("frac", [0.2, 0.1, 0.05, 0.3, 0.7, 1 / 3, 0.002, 0.0002, 0.9999, 1.0])
def test_as_many_tokens_as_the_reference_takes(frac):
    """k = min(n, int(n rho + 0.9999)), at least 1, of get_global_entropy_top_mask. Mutation: floor; float32."""
    f = jax.jit(lambda mask: jnp.sum(WEIGHTS["top_entropy"](mask, entropy=jnp.zeros(mask.shape), frac=frac) > 0))
    for n in (1, 2, 3, 5, 6, 9, 10, 11, 5000, 5001, 49_999, 50_000):
        want = max(min(n, int(n * frac + 0.9999)), 1)
        assert f(jnp.arange(50_000)[None] < n) == want, n


def test_of_equally_uncertain_tokens_the_first_are_taken():
    """Exactly k, where a threshold would take all. Mutation: entropy >= the k-th largest."""
    selected = lambda h, frac: WEIGHTS["top_entropy"](jnp.ones(h.shape, bool), entropy=h, frac=frac) > 0  # noqa: E731
    np.testing.assert_array_equal(selected(jnp.zeros((2, 4)), 0.25), [[1, 1, 0, 0], [0] * 4])
    entropy = jnp.array([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]])
    np.testing.assert_array_equal(selected(entropy, 0.5), [[0, 1, 0, 1], [1, 0, 1, 0]])
    np.testing.assert_array_equal(selected(entropy, 0.25), [[0, 1, 0, 1], [0] * 4])


def test_the_bottom_is_what_the_top_leaves():
    """Of four tokens ceil(0.3 * 4) = 2 are the top, .3 and .4. Mutation: the lowest ceil(0.3 n) instead."""
    got = WEIGHTS["top_entropy"](MASK, entropy=DATA_OF["entropy"], frac=0.3, bottom=True)
    np.testing.assert_allclose(got, [[0, 0.5, 0.5, 0], [0] * 4, [0] * 4])
    assert not np.any(WEIGHTS["top_entropy"](MASK, entropy=DATA_OF["entropy"], frac=1.0, bottom=True))


@pytest.mark.parametrize(
    "refined, frac, want",
    [
        # three refined tokens, .3 .1 .2: ceil(0.34 * 3) = 2 are kept, and row 1 whole, with two tokens here
        ([1, 0], 0.34, [[0.25, 0, 0.25], [0.25, 0.25, 0]]),
        ([1, 0], 0.33, [[1 / 3, 0, 0], [1 / 3, 1 / 3, 0]]),
        ([1, 0], 1.0, [[0.2] * 3, [0.2, 0.2, 0]]),
        ([0, 1], 0.5, [[0.25] * 3, [0, 0.25, 0]]),  # own tokens are more uncertain, and do not count for the share
        ([1, 1], 0.4, [[0, 0, 0], [0.5, 0.5, 0]]),
        ([0, 0], 0.2, [[0.2] * 3, [0.2, 0.2, 0]]),  # nothing is refined: the mean
    ],
)
def test_refinements_count_on_their_forks_alone(refined, frac, want):
    """Mutation: forks of the whole batch; own samples cut too; the share of the batch's tokens."""
    mask = jnp.array([[True, True, True], [True, True, False]])
    entropy = jnp.array([[0.3, 0.1, 0.2], [0.35, 0.4, 9.0]])
    if refined == [0, 1]:
        entropy = jnp.array([[0.8, 0.7, 0.9], [0.35, 0.4, 9.0]])
    got = WEIGHTS["refined_forks"](mask, entropy=entropy, refined=jnp.array(refined, bool), frac=frac)
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("name", ["top_entropy", "refined_forks"])
@pytest.mark.parametrize("frac", [0.0, -0.1, 1.1, 1e-5])
def test_a_bad_share_is_refused(name, frac):
    with pytest.raises(InputError, match="frac"):
        compose(name, frac=frac)(MASK, DATA_OF)


def test_an_advantage_of_zero_is_not_scaled():
    advantage = jnp.array([[1.0, 0.0, -1.0]])
    got = WEIGHTS["sign_scale"](jnp.ones((1, 3), bool), advantage=advantage, positive=3.0, negative=6.0)
    np.testing.assert_allclose(got, [[1, 1 / 3, 2]], rtol=1e-6)


def test_factors_may_be_traced():
    mask, advantage = jnp.ones((1, 2), bool), jnp.array([[1.0, -1.0]])
    f = jax.jit(lambda x: WEIGHTS["sign_scale"](mask, advantage=advantage, positive=x))
    np.testing.assert_allclose(f(0.25), [[0.125, 0.5]], rtol=1e-6)


def test_a_product_of_three_by_hand():
    """Row 1 is cut off; of the three tokens left the two most uncertain; a mean over sequences; by sign."""
    top = {"name": "top_entropy", "args": {"frac": 0.6, "base": "sequence_mean"}}
    base = {"name": "drop_truncated", "args": {"base": top}}
    advantage = jnp.array([[-1.0, 1.0, 1.0, 0.0], [1.0] * 4, [1.0] * 4])
    got = compose("sign_scale", positive=0.1, base=base)(MASK, DATA_OF | {"advantage": advantage})
    np.testing.assert_allclose(got, [[0.5, 0, 0.05, 0], [0] * 4, [0] * 4], rtol=1e-6)


@pytest.mark.parametrize("inner", PLAIN)
@pytest.mark.parametrize("outer", ["top_entropy", "drop_truncated"])
def test_a_refinement_is_its_base_on_a_smaller_mask(outer, inner):
    """All entropies but those of row 0 being low, dropping row 1 is what both do. Mutation: base not handed on."""
    args = HPARAMS.get(inner, {})
    data = DATA_OF | {"entropy": DATA_OF["entropy"].at[1].set(0.0)}
    outer_args = {"frac": 0.75} if outer == "top_entropy" else {}
    got = compose(outer, base={"name": inner, "args": args}, **outer_args)(MASK, data)
    np.testing.assert_allclose(got, WEIGHTS[inner](MASK.at[1].set(False), **args), rtol=1e-6)


def test_scaling_is_a_diagonal_product_whatever_the_order():
    """sign_scale inside or outside of a refinement is the same. Mutation: selection after scaling."""
    scale = {"positive": 0.3, "negative": 0.7}
    a = compose("sign_scale", **scale, base={"name": "top_entropy", "args": {"frac": 0.5}})
    b = compose("top_entropy", frac=0.5, base={"name": "sign_scale", "args": scale})
    np.testing.assert_allclose(a(MASK, DATA_OF), b(MASK, DATA_OF), rtol=1e-6)


def test_composing_does_not_eat_its_arguments():
    args = {"frac": 0.5, "base": {"name": "drop_truncated", "args": {"base": "sequence_sum"}}}
    first, second = compose("top_entropy", **args), compose("top_entropy", **args)
    np.testing.assert_array_equal(first(MASK, DATA_OF), second(MASK, DATA_OF))
    np.testing.assert_array_equal(first(MASK, DATA_OF), first(MASK, DATA_OF))


@pytest.mark.parametrize(
    "name, hparams, says",
    [
        ("top_entrpy", {}, "top_entropy"),
        ("top_entropy", {"base": "token_maen"}, "token_mean"),
        ("top_entropy", {"base": {"name": "drop_truncated", "args": {"base": "x"}}}, "unknown weight 'x'"),
        ("top_entropy", {"frca": 0.1}, "did you mean 'frac'"),
        ("top_entropy", {"entropy": 0.1}, "no hyper-parameter 'entropy'"),
        ("token_mean", {"base": "sequence_mean"}, "it has none"),
        ("fixed_length", {}, "needs a hyper-parameter 'length'"),
        ("sign_scale", {"base": {"nam": "token_mean"}}, "give a name"),
        ("sign_scale", {"base": 3}, "give a name"),
    ],
)
def test_bad_compositions_are_named(name, hparams, says):
    with pytest.raises(InputError, match=says):
        compose(name, **hparams)


def test_data_that_is_missing_is_named():
    with pytest.raises(KeyError, match="truncated"):
        compose("drop_truncated")(MASK, {"entropy": DATA_OF["entropy"]})
    assert set(DATA) == set(DATA_OF)


def test_ucpo_keeps_the_mass_of_each_group_and_leaves_wrong_ones(rng):
    """Three right of four, and one of four. Mutations: q over all responses; the softmax of the sum; no inverse."""
    mask, group = np.ones((8, 5), bool), np.repeat([4, 9], 4)
    logp = -rng.random((8, 5)).astype(np.float32)
    reward = np.array([1, 1, 0, 1, 0, 0, 1, 0], np.float32)
    got = np.asarray(compose("ucpo", tau=1.0)(mask, {"logp": logp, "reward": reward, "group": group}))[:, 0] * 40
    inverse = 1 / np.exp(logp.mean(1))  # 1 / q, but for a factor
    np.testing.assert_allclose(got[[0, 1, 3]], 3 * inverse[[0, 1, 3]] / inverse[[0, 1, 3]].sum(), rtol=1e-5)
    np.testing.assert_allclose(got[[2, 4, 5, 6, 7]], 1, rtol=1e-6)
    none = compose("ucpo", tau=0.0)(mask, {"logp": logp, "reward": reward, "group": group})
    np.testing.assert_allclose(none, WEIGHTS["token_mean"](mask), rtol=1e-6)


def test_unsolved_by_enumeration():
    """E[(1 - p)^k] of Beta(1 + s, 1 + n - s) by a sum over p. Mutation: pass@1 for pass@k; the prior left out."""
    p = (np.arange(200_000) + 0.5) / 200_000
    for s, n, k in ((0, 8, 8), (1, 8, 8), (2, 8, 4), (8, 8, 1)):
        density = p**s * (1 - p) ** (n - s)
        solved = 1 - (density * (1 - p) ** k).sum() / density.sum()
        data = {"reward": (np.arange(n) < s).astype(np.float32), "group": np.zeros(n, np.int32)}
        for threshold, kept in ((solved - 1e-3, False), (solved + 1e-3, True)):
            got = compose("unsolved", k=k, threshold=threshold)(np.ones((n, 2), bool), data)
            assert bool(np.any(got)) is kept, (s, n, k)


@pytest.mark.parametrize(
    "name, hparams, message",
    [
        ("ucpo", {"tau": 1.1}, "tau=1.1: "),
        ("unsolved", {"k": 0}, "k=0: "),
        ("unsolved", {"threshold": 0.0}, "threshold=0.0: "),
        ("unsolved", {"wrong": 0.0}, "right=1.0, wrong=0.0: "),
    ],
)
def test_bad_values_of_the_rows_of_groups(name, hparams, message):
    with pytest.raises(InputError, match=message):
        compose(name, **hparams)(MASK, DATA_OF)
