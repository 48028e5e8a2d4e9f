"""experiments/check_verifiers.py: a small run, and that a wrong verifier shows in it."""

import json

import pytest

from entropy_rl.answers import exact
from entropy_rl.errors import InputError
from experiments import check_verifiers
from experiments.lib import launch
from experiments.verifiers.answer_pairs import KINDS


def get(**changes):
    config = launch.load_config("configs/verifiers.py:smoke")
    config.update_from_flattened_dict(changes)
    return config


@pytest.mark.slow
def test_what_is_measured(tmp_path, capsys):
    found = check_verifiers.run(get(), str(tmp_path))
    assert json.loads((tmp_path / "verifiers.json").read_text()) == json.loads(json.dumps(found))
    assert all(rate > 1000 for rate in found["speed"].values()) and len(found["speed"]) == 3
    junk = found["junk"]
    assert (junk["strings"], junk["exceptions"], junk["taken for right"]) == (300, 0, 0)
    assert 0 < junk["value(show(v)) is v"] == junk["with a value"]
    assert [row["kind"] for row in found["math_verify"]] == list(KINDS)
    assert all(row["ours wrong"] == 0 for row in found["math_verify"])
    assert len(found["gym"]) > 30 and all(row["right, not ours"] == row["perturbed, ours"] == 0 for row in found["gym"])
    for row in [*found["math_verify"], *found["gym"]]:
        if row["only ours"] or row["only theirs"]:
            assert row["why"], f"a disagreement that nobody explained: {row}"
    assert "| kind | pairs |" in capsys.readouterr().out


def test_a_verifier_that_is_wrong_shows(monkeypatch):
    """Mutation: counts of agreement alone."""
    monkeypatch.setattr(exact, "equal", lambda gold, answer: True)
    rows = {row["kind"]: row for row in check_verifiers.math_verify(2, 1, 0, {"count": 1, "seconds": 20.0})}
    assert rows["integer, other"]["ours wrong"] == 2 and rows["integer, other"]["only ours"] == 2
    assert check_verifiers.junk(5, 0)["taken for right"] > 100


@pytest.mark.parametrize(
    "changes, message", [({"junk": 0}, "config.junk=0"), ({"gym.seconds": 0.0}, "config.gym.seconds")]
)
def test_bad_values_are_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        check_verifiers.run(get(**changes), str(tmp_path))
