import json

import numpy as np
import pytest

from entropy_rl.logs import alarms
from entropy_rl.logs import read as logs
from experiments.studies.doctors import compare, planted


@pytest.mark.parametrize("name", planted.RUNS)
def test_what_is_planted_is_said_and_nothing_else(tmp_path, name):
    """Mutation: NO_VARIANCE = 0.95 in alarms.py, or SPENT = 0.0001."""
    truth = planted.RUNS[name]
    (tmp_path / "run.jsonl").write_text("".join(json.dumps(row) + "\n" for row in planted.rows(truth, seed=0)))
    points = logs.read(tmp_path / "run.jsonl").runs[0]
    assert (points.entropy, points.score, len(points.R)) == ("entropy", "eval/accuracy", 41)
    said = {alarm.name for alarm in alarms.find(points, {})}
    right = set().union(*(compare.SAME[trouble] for trouble in truth.trouble))
    assert bool(said & right) == bool(truth.trouble)
    assert said - right <= compare.TOO.get(name, set())


def test_reward_is_by_the_law_where_a_ceiling_is_planted():
    for name, truth in planted.RUNS.items():
        assert ((truth.R > 0) & (truth.R < 1)).all() and (truth.H > 0).all()
        if truth.ceiling is not None and name != "by a line":
            slope, ceiling = np.polyfit(np.expm1(truth.H), truth.R, 1)
            np.testing.assert_allclose(truth.R, ceiling + slope * np.expm1(truth.H), atol=1e-12)
            assert ceiling == pytest.approx(planted.CEILING)


def test_counts_of_found_and_of_others():
    said = {
        "a-0": {"planted": ["kl_drift"], "rldoctor": ["kl_drift"], "toolkit": ["plateau"], "ours": ["kl", "length"]},
        "kl_blowup-0": {"planted": ["kl_drift"], "rldoctor": [], "toolkit": [], "ours": ["kl", "plateau"]},
        "b-0": {"planted": [], "rldoctor": ["plateau"], "toolkit": [], "ours": []},
    }
    rows = [["rldoctor", "1 of 2", "0 of 2", "1 of 1"], ["toolkit", "0 of 2", "1 of 2", "0 of 1"]]
    assert compare.counts(said) == [*rows, ["ours", "2 of 2", "1 of 2", "0 of 1"]]


@pytest.mark.parametrize(
    ("name", "said", "holds"),
    [
        ("collapse-3", "0.603 [0.599, 0.606] by exp", True),
        ("collapse-3", "0.603 [0.601, 0.606] by exp", False),
        ("collapse-3", "no law (summit)", False),
        ("entropy held-1", "no law (held entropy)", True),
        ("entropy held-1", "0.603 [0.599, 0.606] by exp", False),
    ],
)
def test_a_ceiling_that_is_held(name, said, holds):
    assert compare._holds(name, said) == holds
