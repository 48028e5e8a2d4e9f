import inspect
import json
import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.losses.policy import POLICY_LOSSES, sees_whole
from entropy_rl.losses.weights import WEIGHTS

FOLDER = pathlib.Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((FOLDER / "verl_losses.json").read_text())
GOLDEN_2026 = json.loads((FOLDER / "verl_losses_2026.json").read_text())
IN = {k: jnp.asarray(v, jnp.float32) for k, v in GOLDEN["inputs"].items()}
MASK = IN["mask"] > 0
ARGS = (IN["logp"], IN["old_logp"], IN["advantage"], MASK)

# At their defaults these would select none of the 97 tokens.
SELECTING = {"frac": 0.15, "lower": 0.1, "upper": 1.5}
DRAWING = ("clip_cov", "random_clip", "shaped_clip_cov")
HPARAMS = {
    "clip_cov": SELECTING, "shaped_clip_cov": SELECTING, "random_clip": SELECTING, "kl_cov": {"frac": 0.1},
    "lp_reg": {"frac": 0.25}, "erc": {"band_low": 0.2, "band_high": 0.2},
}  # fmt: skip
# What the battery runs: every row, and more settings of some.
CASES = {name: (name, HPARAMS.get(name, {})) for name in POLICY_LOSSES} | {
    "ppo+dual": ("ppo", {"dual_clip": 1.5}),
    "ce_gppo+dual": ("ce_gppo", {"dual_clip": 1.5}),
    "clip_cov+all": ("clip_cov", {**SELECTING, "frac": 1.0}),
    "clip_cov+microbatch": ("clip_cov", {"scope": "microbatch"}),
    "random_clip+microbatch": ("random_clip", {"lower": 0.1, "scope": "microbatch"}),
    "kl_cov+microbatch": ("kl_cov", {"scope": "microbatch"}),
    "steer+exponential": ("steer", {"form": "exponential"}),
    "shaped+refined": ("shaped", {}),
    "shaped_clip_cov+refined": ("shaped_clip_cov", SELECTING),
    "bapo+dual": ("bapo", {"dual_clip": 3.0}),
    "erc+dual": ("erc", {"dual_clip": 1.5}),
    "dppo_tv+cap": ("dppo_tv", {"cap": 1.1}),
}


def call(case, logp, old_logp, advantage, mask, key=None, **more):
    """(token_loss, marks) of a case, with data made of the arrays: junk where they are, and permuted with them."""
    name, hparams = CASES[case]
    made = {
        "entropy": jax.lax.stop_gradient(0.3 - 0.5 * logp),
        "old_entropy": 0.3 - 0.5 * old_logp,
        "filtered_logp": jnp.where(old_logp < -2.5, -jnp.inf, old_logp + 0.2),
    }
    data = {k: v for k, v in made.items() if k in inspect.signature(POLICY_LOSSES[name]).parameters}
    if case.endswith("+refined"):
        data["refined"] = jnp.sum(mask, axis=1) % 2 == 1
    return POLICY_LOSSES[name](logp, old_logp, advantage, mask, key=key, **{**hparams, **data, **more})


@pytest.mark.parametrize(
    "golden, loss, hparams, weight, args",
    [
        ("ppo|token-mean", "ppo", {"dual_clip": 3.0}, "token_mean", {}),
        ("ppo|seq-mean-token-sum", "ppo", {"dual_clip": 3.0}, "sequence_sum", {}),
        ("ppo|seq-mean-token-mean", "ppo", {"dual_clip": 3.0}, "sequence_mean", {}),
        ("ppo|seq-mean-token-sum-norm", "ppo", {"dual_clip": 3.0}, "fixed_length", {"length": 17}),
        ("ppo_cliphigher_c10|token-mean", "ppo", {"clip_high": 0.28, "dual_clip": 10.0}, "token_mean", {}),
        ("gspo|seq-mean-token-mean", "gspo", {"clip_low": 0.03, "clip_high": 0.04}, "sequence_mean", {}),
        ("cispo|token-mean", "cispo", {"clip_low": 10.0, "clip_high": 0.2}, "token_mean", {}),
        # All candidates, which leaves nothing to the draw: verl's and ours cannot be the same.
        ("clip_cov_all|token-mean", "clip_cov", {"frac": 1.0, "lower": 0.3, "upper": 2.0}, "token_mean", {}),
        ("clip_cov_all|token-mean", "clip_cov", {"frac": 1.0, "lower": 0.3, "upper": 2.0, "scope": "microbatch"},
         "token_mean", {}),
        ("kl_cov_10pct|token-mean", "kl_cov", {"frac": 0.1}, "token_mean", {}),
        ("kl_cov_10pct|token-mean", "kl_cov", {"frac": 0.1, "scope": "microbatch"}, "token_mean", {}),
    ],
)  # fmt: skip
def test_golden_losses_and_gradients(golden, loss, hparams, weight, args):
    """verl 0.9.1. It does not write down all of its settings; those of gspo and clip_cov_all are the round ones that
    give its numbers."""

    def total(logp):
        token_loss, _ = POLICY_LOSSES[loss](logp, IN["old_logp"], IN["advantage"], MASK, **hparams)
        return jnp.sum(WEIGHTS[weight](MASK, **args) * token_loss)

    value, grad = jax.value_and_grad(total)(IN["logp"])
    np.testing.assert_allclose(value, GOLDEN["losses"][golden]["loss"], rtol=1e-6)
    np.testing.assert_allclose(grad, GOLDEN["losses"][golden]["grad"], atol=1e-6)


@pytest.mark.parametrize(
    "golden, loss, hparams, weight",
    [
        ("dppo_tv_.2|token-mean", "dppo_tv", {}, "token_mean"),
        ("dppo_tv_.1_.15_c1.2|token-mean", "dppo_tv", {"delta_low": 0.1, "delta_high": 0.15, "cap": 1.2}, "token_mean"),
        ("dppo_kl_.05|token-mean", "dppo_kl", {}, "token_mean"),
        ("dppo_kl_.01_.02|seq-mean-token-mean", "dppo_kl", {"delta_low": 0.01, "delta_high": 0.02}, "sequence_mean"),
        ("sapo|seq-mean-token-mean", "sapo", {}, "sequence_mean"),
        ("geo_mean_.4|seq-mean-token-mean", "gmpo", {}, "sequence_mean"),
    ],
)
def test_golden_losses_of_2026(golden, loss, hparams, weight):
    """verl 0.9.1. Mutations: old and new swapped in either divergence; a cap that the gradient goes through; tau_pos
    for both signs; a clip on both sides of GMPO's log-ratio."""
    logp, old_logp, advantage = (
        jnp.asarray(GOLDEN_2026["inputs"][k], jnp.float32) for k in ("logp", "old_logp", "advantage")
    )
    mask = jnp.asarray(GOLDEN_2026["inputs"]["mask"]) > 0

    def total(logp):
        token_loss, _ = POLICY_LOSSES[loss](logp, old_logp, advantage, mask, **hparams)
        return jnp.sum(WEIGHTS[weight](mask) * token_loss)

    value, grad = jax.value_and_grad(total)(logp)
    np.testing.assert_allclose(value, GOLDEN_2026["losses"][golden]["loss"], atol=1e-6)
    np.testing.assert_allclose(grad, GOLDEN_2026["losses"][golden]["grad"], atol=1e-6)


def test_every_golden_loss_is_compared():
    marks = test_golden_losses_of_2026.pytestmark
    assert {case[0] for case in marks[0].args[1]} == set(GOLDEN_2026["losses"])
    marks = test_golden_losses_and_gradients.pytestmark
    assert {case[0] for case in marks[0].args[1]} == {k for k, v in GOLDEN["losses"].items() if "grad" in v}


def test_gppo_has_the_value_of_ppo():
    gppo, _ = POLICY_LOSSES["gppo"](*ARGS)
    ppo, marks = POLICY_LOSSES["ppo"](*ARGS, clip_high=0.28)
    assert marks["clip"].any()
    np.testing.assert_allclose(gppo, ppo, rtol=1e-6)


@pytest.mark.parametrize("name", ["clip_cov", "random_clip", "kl_cov"])
def test_counts_of_the_scopes(name):
    """97 tokens are too few for the papers' fractions: nothing is selected, or one, as in the reference code."""
    hparams = {"frac": 2e-4} if name == "kl_cov" else {"lower": 0.1, "frac": 2e-4}
    count = lambda **kw: POLICY_LOSSES[name](*ARGS, **{**hparams, **kw})[1]["selected"].sum()  # noqa: E731
    assert count() == 0 and count(scope="microbatch") == 1
    assert count(frac=0.1) == count(frac=0.1, scope="microbatch") == 9


@pytest.mark.parametrize("name", ["clip_cov", "random_clip"])
def test_the_draw_depends_on_the_key(name):
    draw = lambda seed: call(name, *ARGS, key=jax.random.key(seed))[1]["selected"]  # noqa: E731
    np.testing.assert_array_equal(draw(1), draw(1))
    assert np.any(draw(1) != draw(2)) and draw(1).sum() == draw(2).sum() == 14


@pytest.mark.parametrize("frac, lower, upper", [(0.1, 0.1, 1.5), (1.0, 0.1, 1.5), (1.0, 0.1, 0.4), (1.0, 9.0, 10.0)])
def test_random_clip_drops_as_many_as_clip_cov_and_of_positive_advantage(frac, lower, upper):
    """Mutation: draw among the tokens of any sign."""
    hparams = {"frac": frac, "lower": lower, "upper": upper}
    want = POLICY_LOSSES["clip_cov"](*ARGS, **hparams)[1]["selected"].sum()
    loss, marks = POLICY_LOSSES["random_clip"](*ARGS, **hparams)
    assert marks["selected"].sum() == want
    assert np.all(IN["advantage"][marks["selected"]] > 0) and not np.any(marks["selected"] & marks["clip"])
    plain, _ = POLICY_LOSSES["ppo"](*ARGS, clip_low=1.0, clip_high=1.0)
    np.testing.assert_array_equal(loss, jnp.where(marks["selected"], 0.0, plain))


def test_shaped_without_refinements_is_ppo():
    want, _ = POLICY_LOSSES["ppo"](*ARGS)
    for refined in (None, jnp.zeros(12, bool)):
        np.testing.assert_array_equal(POLICY_LOSSES["shaped"](*ARGS, refined=refined)[0], want)


@pytest.mark.parametrize(
    "name, hparams, message",
    [(name, {"dual_clip": 0.5}, "dual_clip must be > 1") for name in ("ppo", "gppo", "ce_gppo", "steer", "shaped")]
    + [
        ("shaped", {"gamma": 0.0}, "gamma must be > 0"),
        ("steer", {"form": "cubic"}, "form must be linear or exponential"),
        ("steer", {"scope": "rollout"}, "scope must be one of"),
        ("clip_cov", {"scope": "rollout"}, "scope must be one of"),
        ("kl_cov", {"frac": 20}, "frac must be a number from 0 to 1"),
        ("dppo_tv", {"cap": 0.0}, "cap must be > 0"),
        ("dppo_kl", {"cap": 0.0}, "cap must be > 0"),
        ("sapo", {"tau_neg": 0.0}, "tau_neg must be > 0"),
        ("aspo", {"cap": 1.0}, "cap must be > 1"),
        ("bapo", {"low": 0.95}, "low, low_max, high, high_max must rise"),
        ("bapo", {"step": 0.0}, "step must be > 0"),
        ("bapo", {"scope": "rollout"}, "scope must be one of"),
        ("lp_reg", {"frac": 2.0}, "frac must be a number from 0 to 1"),
    ],
)
def test_bad_values_are_refused(name, hparams, message):
    with pytest.raises(ValueError, match=message):
        call(name, *ARGS, **hparams)


def test_which_losses_see_the_whole_mini_batch():
    """Mutation: look at the function of a partial and not at what is bound."""
    whole = {name for name, loss in POLICY_LOSSES.items() if sees_whole(loss)}
    assert whole == {"bapo", "clip_cov", "kl_cov", "lp_reg", "random_clip", "shaped_clip_cov", "steer"}
    for name in whole:
        other = {"kl_cov": {"coef": 2.0}, "bapo": {"step": 0.1}}.get(name, {"clip_low": 0.3})
        assert sees_whole(partial(POLICY_LOSSES[name], **other))
        assert not sees_whole(partial(POLICY_LOSSES[name], scope="microbatch"))


@pytest.mark.parametrize("case", CASES)
class TestLaws:
    """What holds for every row of the table."""

    def total(self, case, logp, old_logp, advantage, mask, **more):
        token_loss, _ = call(case, logp, old_logp, advantage, mask, **more)
        return jnp.sum(WEIGHTS["token_mean"](mask) * token_loss)

    def test_masked_junk_is_invisible(self, case):
        """Mutation: multiply by the mask instead of selecting with it."""
        clean = [jnp.where(MASK, IN[k], 0.0) for k in ("logp", "old_logp", "advantage")]
        junk = [jnp.where(MASK, x, jnp.nan) for x in clean]
        f = jax.value_and_grad(lambda *a: self.total(case, *a, MASK))
        (a, grad_a), (b, grad_b) = f(*clean), f(*junk)
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(grad_a, grad_b)
        loss, marks = call(case, *junk, MASK)
        assert not np.any(np.where(MASK, 0.0, loss))
        for mark in marks.values():
            assert mark.dtype == bool and not np.any(mark & ~MASK)

    def test_nothing_masked_in_gives_zero(self, case):
        none = jnp.zeros_like(MASK)
        value, grad = jax.value_and_grad(lambda x: self.total(case, x, IN["old_logp"], IN["advantage"], none))(
            IN["logp"]
        )
        assert value == 0.0 and not np.any(grad)
        assert not any(np.any(mark) for mark in call(case, *ARGS[:3], none)[1].values())

    def test_jit_is_eager(self, case):
        f = lambda *a: call(case, *a, MASK, key=jax.random.key(7))  # noqa: E731
        (loss, marks), (want, want_marks) = jax.jit(f)(*ARGS[:3]), f(*ARGS[:3])
        np.testing.assert_allclose(loss, want, rtol=1e-6, atol=1e-6)
        jax.tree.map(np.testing.assert_array_equal, marks, want_marks)

    def test_on_policy_gradient_is_reinforce(self, case):
        """At pi = pi_old the gradient is -w A. Mutation: a wrong sign, a clip around 0."""
        name, _ = CASES[case]
        # Weights of 1: by default this row's gradient is REINFORCE's times its weights, which it is there for.
        more = {"weight_low": 1.0, "weight_high": 1.0} if name == "steer" else {}
        if name == "lp_reg":  # its penalty pulls from the start: REINFORCE without it
            more = {"coef": 0.0}
        f = lambda x: call(case, x, IN["logp"], IN["advantage"], MASK, **more)  # noqa: E731
        grad = jax.grad(lambda x: jnp.sum(WEIGHTS["token_mean"](MASK) * f(x)[0]))(IN["logp"])
        want, marks = jnp.where(MASK, -IN["advantage"], 0.0) / MASK.sum(), f(IN["logp"])[1]
        if "selected" in marks:
            assert marks["selected"].any()
        if name in DRAWING:  # they drop tokens: REINFORCE on the others
            want = jnp.where(marks["selected"], 0.0, want)
        if case.endswith("+refined"):  # there is no ratio in these rows: REINFORCE times Psi(pi)
            p = jnp.exp(IN["logp"])
            assert marks["refined"].any() and not marks["refined"].all()
            want = jnp.where(marks["refined"], 0.1 * p / (p + 0.1) ** 2, 1.0) * want
        np.testing.assert_allclose(grad, want, atol=1e-7)

    def test_permuting_rows_permutes_the_result(self, case, rng):
        (name, _), order = CASES[case], rng.permutation(12)
        whole, marks = call(case, *ARGS)
        mixed, mixed_marks = call(case, *(x[order] for x in ARGS))
        if name in DRAWING and case != "clip_cov+all":  # a draw of places: only its size stays
            assert marks["selected"].sum() == mixed_marks["selected"].sum() > 0
            return
        np.testing.assert_allclose(mixed, whole[order], rtol=1e-6, atol=1e-6)
        jax.tree.map(np.testing.assert_array_equal, mixed_marks, {k: v[order] for k, v in marks.items()})

    def test_rows_alone_are_as_in_company_unless_the_loss_sees_the_whole(self, case):
        """What learner.make_update takes `sees_whole` for. Mutation: center something over the batch."""
        whole, _ = call(case, *ARGS)
        parts = [call(case, *(x[rows] for x in ARGS))[0] for rows in (slice(0, 6), slice(6, 12))]
        alike = np.allclose(jnp.concatenate(parts), whole, rtol=1e-6)
        # those with a scope decide over all rows that they are handed, in either scope
        assert alike != ("scope" in inspect.signature(POLICY_LOSSES[CASES[case][0]]).parameters)

    def test_a_huge_log_ratio_stays_finite(self, case):
        whole = jnp.ones(MASK.shape, bool)  # of the shape of all other tests: eager operations are compiled already
        logp = jnp.where(jnp.arange(MASK.size).reshape(MASK.shape) % 2, 1e3, -1e4)
        for sign in (1.0, -1.0):
            advantage = jnp.full(MASK.shape, sign)
            f = lambda x: self.total(case, x, jnp.zeros(MASK.shape), advantage, whole)  # noqa: E731, B023
            value, grad = jax.value_and_grad(f)(logp)
            assert np.isfinite(value) and np.isfinite(grad).all()

    def test_a_bandit_improves(self, case):
        """200 steps on three arms with rewards 0, 0.5, 1: the best arm ends above 0.9."""
        key, logits = jax.random.key(1), jnp.zeros(3)

        @jax.jit
        def step(logits, key):
            arms = jax.random.categorical(key, logits, shape=(64,))
            advantage = arms / 2 - jnp.mean(arms / 2)
            old = jax.nn.log_softmax(logits)[arms]

            def loss(z):
                logp = jax.nn.log_softmax(z)[arms]
                mask = jnp.ones((64, 1), bool)
                return self.total(case, logp[:, None], old[:, None], advantage[:, None], mask, key=key)

            return logits - 0.5 * jax.grad(loss)(logits)

        for k in jax.random.split(key, 200):
            logits = step(logits, k)
        assert jax.nn.softmax(logits)[2] > 0.9
