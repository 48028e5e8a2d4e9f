"""Five ways side by side: the report by hand, and the script end to end with untrained policies."""

import json

import numpy as np
import pytest

from entropy_rl.errors import InputError
from experiments import elicit
from experiments.lib import build, checks, launch
from experiments.studies import elicit_report
from experiments.studies.dual_matrix import at_equal_tokens


def config(**changes):
    c = launch.load_config("configs/elicit.py:smoke")
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


def way(right, **more):
    about = {"samples": 4, "right": right, "distinct": right, "entropy": 0.1, "length": 9.0, "steered": 0.0}
    return about | more


def parts():
    """Two problems and two seeds with four samples. The base is right in (1, 0) and (1, 0), RL in (4, 1) and (2, 0)."""
    votes = {"1": {"right": [0.25, 0.0], "tokens": [9, 11]}, "2": {"right": [0.75, 0.5], "tokens": [20, 20]}}
    share = {"source": "mean", "layer": "0", "where": "all", "strength": 1.0, "pass@1": 0.2}
    span = {"greedy": [1, 0], "modes": {"max": [1, 1]}, "branches": [[1, 0], [0, 1]], "tokens": [15, 15]}
    pick = {"choice": {"ranking": "rl"}, "best": [], "quality": [{"explained": 0.9, "dead": 0.1, "active": 3.0}]}
    vector = [
        way([2, 0], choice={}, shares=[share | {"test": way(r, steered=s)}]) for r, s in (([2, 0], 0.4), ([1, 1], 0.6))
    ]
    return {
        "base": [way([1, 0], votes=votes), way([1, 0], votes=votes)],
        "vector": vector,
        "sae": [way([1, 0], **pick), way([1, 0], **pick)],
        "random": [way([1, 0], **pick), way([0, 0], **pick)],
        "cot": [{"choice": {"span": "answer", "mode": "max"}, "tried": [], "spans": {"answer": span}}] * 2,
        "rl": [way([4, 1]), way([2, 0])],
    }


PROBLEMS = [{"id": "a", "level": 3}, {"id": "b", "level": 4}]


def test_the_report_by_hand():
    out = elicit_report.table(parts(), PROBLEMS, interval=0.9, draws=200, seed=0)
    base, rl = out["ways"]["base"], out["ways"]["rl"]
    # 1 - C(3, 2) / C(4, 2) = 1/2 for the base's first problem, nothing for the second
    assert [base["pass"][k] for k in ("1", "2", "4")] == pytest.approx([1 / 8, 1 / 4, 1 / 2])
    # seeds (1, 1/4) and (1/2, 0): mean 7/16; two of four: (1, 1/2) and (5/6, 0)
    assert [rl["pass"][k] for k in ("1", "2", "4")] == pytest.approx([7 / 16, 7 / 12, 3 / 4])
    assert rl["less base"]["1"][0] == pytest.approx(5 / 16)
    assert rl["crossover"] == {"mean": None, "seeds": [None, 4.0]}  # the second seed solves what the base does
    assert rl["gap"] == pytest.approx(1 / 2 - 7 / 16) and rl["new"] == [["b"], []]
    (row,) = out["recovery"]
    assert row["steered"] == 0.5 and row["pass@1"] == pytest.approx(0.25)
    # seeds: (1/4 - 1/8) / (5/8 - 1/8) and (1/4 - 1/8) / (1/4 - 1/8)
    assert row["recovery of seeds"] == pytest.approx([1 / 4, 1.0])
    assert row["recovery"] == pytest.approx((1 / 4 - 1 / 8) / (7 / 16 - 1 / 8))
    greedy, chosen = out["cot"]["rows"]
    assert greedy["recovery"] == pytest.approx((1 / 2 - 1 / 8) / (7 / 16 - 1 / 8))
    assert greedy["pass@1"] == 0.5 and chosen["way"] == "max, answer" and chosen["pass@1"] == 1.0
    # 15 tokens lie half-way between votes of one and of two: (.5, .25)
    assert chosen["vote"] == pytest.approx(3 / 8) and chosen["less vote"][0] == pytest.approx(5 / 8)
    assert out["cot"]["coverage"] == [0.5, 1.0] and out["cot"]["crossover"] is None and out["cot"]["new"] == [1, 1]
    page = elicit_report.page(out)
    assert "| RLVR (GRPO) | 0.438 | +0.312 [" in page and "| CoT-decoding (max, answer) | 1.000 |" in page
    assert "| mean, all | 0.500 | 0.250 | +0.125 [" in page and "> 4" in page


def test_votes_beyond_what_was_sampled_are_not_guessed():
    votes = parts()["base"][0]["votes"]
    assert at_equal_tokens(votes, 9.0, "right") is None and at_equal_tokens(votes, 21.0, "right") is None
    np.testing.assert_allclose(at_equal_tokens(votes, 20.0, "right"), [0.75, 0.5])


@pytest.mark.slow
def test_end_to_end_and_again(tmp_path, monkeypatch):
    """A second call makes only what is missing, and the same table. Mutation: a stage without its own noise."""
    # shorter texts and fewer of the dear ways
    small = {"vector__shares": (), "vector__steps": 0, "cot__spans": ("answer",)}
    out = elicit.run(config(**small), tmp_path)
    assert out["ways"].keys() == {"base", "again", "vector", "sae", "random", "rl"} and out["samples"] == 4
    assert (tmp_path / "elicit.md").read_text() == elicit_report.page(out)
    (tmp_path / "parts" / "again,seed=0.json").unlink()
    monkeypatch.setattr(elicit, "vector", None)
    monkeypatch.setattr(elicit, "features", None)
    monkeypatch.setattr(elicit, "sampled", None)
    again = elicit.run(config(**small), tmp_path)
    assert json.dumps(again) == json.dumps(out)
    part = json.loads((tmp_path / "parts" / "sae,seed=0.json").read_text())
    assert part["choice"]["ranking"] in ("rl", "reason") and part["steered"] > 0
    assert {t["where"] for t in part["tried"]} == {"all", "first"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"choose__split": "test"}, "choose on other problems"),
        ({"vector__shares": (1.5,)}, "config.vector.shares has 1.5"),
        ({"vector__strengths": ()}, "config.vector.strengths is empty"),
        ({"cft": ("a", "b")}, "config.cft has 2 workdirs and config.rl 0"),
        ({"rl": ("nowhere",)}, "config.rl=nowhere holds no checkpoints"),
        ({"sae__k": 0}, "config.sae.k=0"),
        ({"model__path": "x"}, "config.cot.spans has 'solution', the decisions of a response, and which tokens of"),
        ({"layers": (0, 5)}, "config.layers has 5: this model has blocks 0 to 1"),
    ],
)
def test_bad_values(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        elicit.run(config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_activations_that_do_not_fit(tmp_path, monkeypatch):
    """Before anything is sampled. Mutation: one text's."""
    c = config()
    task = build.task(c)
    tokens = 6 * 4 * task.response_length
    size = 3 * 2 * tokens * build.model(c, task.tokenizer.vocab_size).config.d_model * 4
    monkeypatch.setattr(checks, "host_memory", lambda: size - 1000.0)
    with pytest.raises(InputError, match=f"up to {tokens} tokens after 2 blocks takes .* 1e-06 GB too few: lower"):
        elicit.run(c, tmp_path / "run")
    assert not (tmp_path / "run").exists()
