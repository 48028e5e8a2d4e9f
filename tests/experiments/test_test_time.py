"""Critiques at test time, end to end with an untrained policy."""

import dataclasses
import json

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.methods.critique import critics
from entropy_rl.methods.critique.sentences import Critique, write
from experiments import test_time
from experiments.lib import launch


def config(**changes):
    c = launch.load_config("configs/critique/test_time.py:smoke")
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


@pytest.fixture
def lucky(monkeypatch):
    """An untrained policy solves nothing; here an attempt of an even number of tokens counts as right, and knows it."""
    task = test_time.build.task(config(), split="test")
    monkeypatch.setattr(type(task), "verify", lambda self, problem, text: float(len(text.split()) % 2 == 0))
    monkeypatch.setitem(critics.SOURCES, "oracle", lambda tried, rng, **_: [write(Critique(t.right)) for t in tried])


@pytest.mark.parametrize("source", ["self", "oracle", "random", "none"])
def test_all_sources(tmp_path, source):
    out = test_time.run(config(critique__source=source), tmp_path)
    assert json.loads((tmp_path / "test_time.json").read_text())["ways"].keys() == out["ways"].keys()
    assert ("best of n" in out["ways"]) == (source != "none")
    assert out["privileged"] == (source in ("oracle", "random")) and out["unreadable"] == float(source == "self")
    assert out["ways"]["majority"].keys() == {"1", "2"} and out["ways"]["last"].keys() == {"0", "1"}
    assert "| majority | 1 |" in (tmp_path / "test_time.md").read_text()


def test_a_judge_who_is_never_wrong(lucky, tmp_path, monkeypatch):
    """Best of n is pass@n then, nothing that is right is lost, and only what is wrong costs more tokens."""
    judge, asked = test_time.Tester.judge, []
    monkeypatch.setattr(
        test_time.Tester, "judge", lambda self, answers: asked.append(answers.right) or judge(self, answers)
    )
    many = {"eval__problems": 12, "eval__samples": 4, "chains": 4, "rounds": 3}
    ways = test_time.run(config(critique__source="oracle", **many), tmp_path)["ways"]
    value = lambda way, budget: ways[way][str(budget)]["accuracy"][0]  # noqa: E731
    tokens = lambda way, budget: ways[way][str(budget)]["tokens"]  # noqa: E731
    one = value("majority", 1)
    assert 0 < one < 1 and one == value("pass", 1) == value("best of n", 1) == value("last", 0)
    for size in (2, 4):
        assert value("best of n", size) == value("pass", size) >= one
        assert value("chosen", size) >= value("pass", size)
        assert tokens("best of n", size) == tokens("majority", size)  # the solver's critiques cost none
        assert tokens("majority", size) < tokens("parallel", size) < 2 * 25 * size
    last = [value("last", n) for n in range(4)]
    assert last == sorted(last) and last[-1] > last[0]  # right ones stay as they are
    first, _, *rounds = asked  # of all samples, of their refinements, of the chains after each round
    assert len(first) == 12 * 4 and len(rounds) == 2
    going = (~first).sum()
    for again in rounds:  # chains that were judged right are not judged again
        assert len(again) == going
        going = (~again).sum()
    spent = [tokens("last", n) for n in range(4)]
    assert np.isclose(spent[0], tokens("majority", 1)) and (np.diff(spent) > 0).all()


def test_a_chain_ends_where_its_conversation_is_too_long():
    """Its answer is no second vote, and nothing is asked again. Mutation: it goes on as if it had been refined."""
    t = test_time.Tester(config(critique__source="oracle", rounds=3))
    t._critique = dataclasses.replace(t._critique, fits=lambda prompt: False)
    problems = [t.task[i] for i in range(len(t.task)) for _ in range(t.config.eval.samples)]
    wrong, one = np.zeros(len(problems), bool), np.ones(len(problems))
    first = test_time.Answers(problems, ["1 + 1 = 3"] * len(problems), wrong, one)
    ways = test_time.sequential(t, first, t.judge(first))
    assert t.too_long == len(t.task) * t.config.chains
    assert [ways["last"][n][1].tolist() for n in range(4)] == [[1.0] * len(t.task)] * 4


def test_without_keeping(lucky, tmp_path):
    """`keep=False` refines what is judged right as well, so that more tokens are spent."""
    kept, all_ = (
        test_time.run(config(critique__source="oracle", keep=keep), tmp_path / str(keep))["ways"]
        for keep in (True, False)
    )
    assert all_["parallel"]["2"]["tokens"] > kept["parallel"]["2"]["tokens"]
    assert all_["majority"]["2"] == kept["majority"]["2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"critique__source": "fresh"}, "critique.source"),
        ({"critique__source": "learned"}, "give the workdir of a critique model"),
        ({"task__args__talk": False}, "words of critiques"),
        ({"chains": 3}, "at most eval.samples=2"),
        ({"vote": "length"}, "config.vote"),
        ({"init": "/nowhere"}, "config.init=/nowhere holds no checkpoints"),
    ],
)
def test_bad_input(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        test_time.run(config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
