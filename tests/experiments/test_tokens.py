"""experiments/tokens.py: summaries by hand, and a run of a tiny policy."""

import json
import math

import jax
import numpy as np
import optax
import pytest

from configs import tokens as config_file
from entropy_rl.data.tokenizers import WordTokenizer
from entropy_rl.entropy import record as entropy
from entropy_rl.errors import InputError
from entropy_rl.training import learner
from entropy_rl.training.checkpoints import Checkpoints
from entropy_rl.training.rollouts import Rollout
from experiments import tokens
from experiments.lib import build
from experiments.studies import token_measures

WORDS = WordTokenizer(["go", "left", "right"])
GO, LEFT, RIGHT = WORDS.encode("go left right")
END, PAD = WORDS.eos_id, WORDS.pad_id


def get(**changes):
    config = config_file.get_config("smoke")
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture
def case():
    """Two responses to one prompt `go`: `left right <eos>` is right, `right <eos>` is wrong."""
    rollout = Rollout(
        tokens=np.array([[GO, LEFT, RIGHT, END], [GO, RIGHT, END, PAD]], np.int32),
        mask=np.array([[0, 1, 1, 1], [0, 1, 1, 0]], bool),
        sampler_logp=np.array([[9, -1.0, -3.0, 0], [9, -0.5, -0.5, 9]], np.float32),
        entropy=np.array([[9, 0.6, 0.5, 0], [9, 0.6, 0.001, 9]], np.float32),
        reward=np.array([1, 0], np.float32),
        group=np.zeros(2, np.int32),
        truncated=np.zeros(2, bool),
    )
    advantage = np.array([[1.0], [-1.0]], np.float32) * rollout.mask
    decisions = rollout.mask & (rollout.tokens > END)
    return rollout, advantage, decisions


def test_a_histogram_by_hand():
    """[low, high) but for the last; what is beyond counts at the ends. Mutation: no clip, which loses -3 and 9."""
    out = token_measures.histogram(np.array([0.0, 0.5, 1.0, 2.5, 3.0, 9.0, -3.0]), np.array([0.0, 1.0, 2.0, 3.0]))
    assert out == {"edges": [0, 1, 2, 3], "counts": [3, 1, 3]}


def test_edges_are_even_in_the_logarithm():
    edges = token_measures.entropy_edges(40, 7)
    assert len(edges) == 8 and edges[0] == 0 and edges[1] == 1e-6 and edges[-1] == pytest.approx(math.log(40))
    np.testing.assert_allclose(np.diff(np.log(edges[1:])), np.log(edges[2] / edges[1]))
    edges = token_measures.covariance_edges(6)
    assert len(edges) == 12
    np.testing.assert_allclose(edges[6:], [1e-3, 1e-2, 1e-1, 1, 10, 100])
    np.testing.assert_array_equal(edges, -edges[::-1])


def test_summaries_by_hand(case):
    """Mean log-probability -1, mean advantage 1/5, so the covariances are 0, -1.6, 0.8, -0.6, -0.6.

    Mutation: a summary that counts prompt tokens, or forks of the words alone.
    """
    rollout, advantage, decisions = case
    out = token_measures.measure(rollout, advantage, decisions, WORDS, bins=7, top=0.6, words=3)
    assert (out["reward"], out["tokens"], out["zero_variance"]) == (0.5, 5, 0)
    assert out["kinds"]["decision"] == {
        "count": 3, "entropy": pytest.approx(1.7 / 3), "covariance": pytest.approx(-2.2 / 3), "forking": 3
    }  # fmt: skip
    assert out["kinds"]["format"] == {
        "count": 2, "entropy": pytest.approx(0.0005), "covariance": pytest.approx(0.1), "forking": 0
    }  # fmt: skip
    assert [(row["word"], row["decision"], row["count"]) for row in out["words"]] == [
        ("right", True, 2), ("<eos>", False, 2), ("left", True, 1)
    ]  # fmt: skip
    assert [row["forking"] for row in out["words"]] == [2, 0, 1]  # the top 3 of 5, however many decisions there are
    assert [row["covariance"] for row in out["words"]] == pytest.approx([-1.1, 0.1, 0.0], abs=1e-6)
    assert [row["count"] for row in out["places"]] == [2, 2, 1]
    assert [row["entropy"] for row in out["places"]] == pytest.approx([0.6, 0.2505, 0.0])
    table = out["covariance"]["table"]
    assert list(table) == ["0.0002", "0.002", "0.02", "0.2", "0.5", "1"]
    assert table["0.2"] == pytest.approx(0.8) and table["1"] == pytest.approx(-0.4)
    assert sum(out["entropy"]["counts"]) == sum(out["covariance"]["counts"]) == 5
    assert out["record"]["policy/entropy"] == pytest.approx(1.701 / 5)


def test_words_beyond_the_vocabulary_of_rows_are_left_out(case):
    out = token_measures.measure(*case, WORDS, bins=2, top=0.2, words=1)
    assert [row["word"] for row in out["words"]] == ["right"] and out["tokens"] == 5


def test_a_word_is_apart_as_decision_and_as_format(case):
    rollout, advantage, decisions = case
    decisions[1, 1] = False
    out = token_measures.measure(rollout, advantage, decisions, WORDS, bins=2, top=0.2, words=9)
    assert [(row["word"], row["decision"]) for row in out["words"] if row["word"] == "right"] == [
        ("right", True), ("right", False)
    ]  # fmt: skip


def test_changes_by_sign_add_up_to_theorem_1(rng):
    """Mutation: without the minus, or divided by the tokens of the row."""
    p = rng.dirichlet(np.ones(5), 200)
    h = -(p * np.log(p)).sum(axis=1)
    logp = np.log(p[:, 0])
    advantage = rng.choice([-1.0, 0.0, 2.0], 200)
    rows = token_measures.signs(h, logp, advantage)
    assert sum(row["count"] for row in rows) == 200
    mask = np.ones((1, 200), bool)
    theory = entropy.state_covariance(*(x[None].astype(np.float32) for x in (h, logp, advantage)), mask)
    assert sum(row["change"] for row in rows) == pytest.approx(-float(theory["policy/cov_state"]), rel=1e-4)
    for row in rows:
        assert np.sign(row["change"]) == -row["advantage"] * row["polarity"]


def test_examples_are_word_by_word(case):
    rollout, advantage, _ = case
    (out,) = token_measures.examples(rollout, [("go", 1)], advantage, WORDS)
    assert (out["prompt"], out["reward"], out["advantage"], out["words"]) == ("go", 0, -1, ["right", "<eos>"])
    np.testing.assert_array_equal(out["entropy"], np.float32([0.6, 0.001]))
    np.testing.assert_array_equal(out["logp"], np.float32([-0.5, -0.5]))


def test_a_run(tmp_path, capsys):
    out = tokens.run(get(), tmp_path / "a")
    assert json.loads((tmp_path / "a" / "tokens.json").read_text()) == out
    assert tokens.run(get(), tmp_path / "b") == out
    said = capsys.readouterr().out
    assert f"{out['tokens']} tokens, reward 0.000" in said and "wrote " in said
    assert out["record"]["policy/entropy"] == pytest.approx(math.log(40), rel=0.01)  # a policy that nothing has trained
    assert len(out["examples"]) == 4 and out["zero_variance"] == 1
    assert sum(row["forking"] for row in out["kinds"].values()) == math.ceil(0.2 * out["tokens"])
    assert sum(row["count"] for row in out["words"]) == sum(row["count"] for row in out["places"]) == out["tokens"]
    assert (tmp_path / "a" / "config.json").exists() and (tmp_path / "a" / "tokens.json").stat().st_size < 50_000


def test_the_policy_is_that_of_the_run(tmp_path):
    """Mutation: config.init not used. The other policy's head is 100 times as large, so that it is nearly certain."""
    config = get()
    model = build.model(config, 40)
    state = learner.init_state(model, optax.adam(1e-3), build.mesh(config), jax.random.key(1))
    state = learner.with_params(state, jax.tree.map(lambda x: 100 * x if x.ndim > 1 else x, state.params))
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        checkpoints.save(7, state, {})
    out = tokens.run(get(init=str(tmp_path / "run")), tmp_path / "out")
    assert out["record"]["policy/entropy"] < 1


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"init": "/nonexistent"}, "config.init=/nonexistent holds no checkpoints"),
        ({"bins": 1}, "config.bins=1: must be a whole number of 2 or more"),
        ({"top": 1.5}, "config.top=1.5: must be a share of the tokens"),
        ({"words": 0}, "config.words=0: must be a number above 0"),
        ({"examples": -1}, "config.examples=-1"),
        ({"split": "tset"}, "countdown split"),
        ({"advantage.name": "gropo"}, "advantage"),
        ({"rollout.samples": 0}, "config.rollout.samples=0"),
    ],
)
def test_bad_values_are_one_line_and_leave_no_workdir(tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as e:
        tokens.run(get(**changes), tmp_path / "out")
    assert "\n" not in str(e.value) and not (tmp_path / "out").exists()
