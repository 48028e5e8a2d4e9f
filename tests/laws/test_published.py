"""The law's own points, digitised (notebooks/data/law_paper): our fits against the lines that the paper draws."""

import csv
import pathlib

import pytest

from entropy_rl.laws.analyse import analyse
from entropy_rl.laws.scaling import scaling
from entropy_rl.logs import read as logs

DATA = pathlib.Path(__file__).parents[2] / "notebooks" / "data" / "law_paper"
LINES = {row["model"]: row for row in csv.DictReader((DATA / "lines.csv").read_text().splitlines())}


@pytest.fixture(scope="module")
def laws():
    columns = {"run": "model", "entropy": "H_nats_approx", "score": "val_acc_pct_approx"}
    found = logs.read(DATA / "points.csv", **columns)
    assert {points.unit for points in found.runs} == {"percent"} and sum(len(p.R) for p in found.runs) == 91
    return {points.name: analyse(points.step, points.H, points.R) for points in found.runs}


@pytest.mark.parametrize("model", LINES)
def test_the_published_lines_are_in_our_intervals(laws, model):
    for key in ("a", "b"):
        low, high = laws[model]["interval"][key]
        assert low < float(LINES[model][key]) < high
    assert laws[model]["curves"]["exp"]["a"] == pytest.approx(float(LINES[model]["a"]), rel=0.13)
    assert laws[model]["curves"]["exp"]["b"] == pytest.approx(float(LINES[model]["b"]), rel=0.09)


@pytest.mark.parametrize("model", LINES)
def test_exp_is_not_identified_there(laws, model):
    assert not laws[model]["identified"] and laws[model]["verdict"].startswith("exp is not identified")


def test_coefficients_grow_with_size(laws):
    """0.0465 ln N + 0.100 and 0.1167 ln N + 0.332 as fractions, from the lines; here from the points."""
    N = [float(LINES[model]["parameters_billion"]) for model in LINES]
    for key, slope in (("a", 4.65), ("b", 11.67)):
        from_lines = scaling(N, [float(LINES[model][key]) for model in LINES])
        from_points = scaling(N, [laws[model]["curves"]["exp"][key] for model in LINES])
        assert from_lines.slope == pytest.approx(slope, rel=0.01)
        low, high = from_points.slope_interval
        assert low < slope < high
