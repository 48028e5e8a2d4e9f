import numpy as np
import pytest

from entropy_rl.logs import lengths, live
from tests.logs.writing import one, write_csv

N = 60
RNG = np.random.default_rng(0)
LENGTH = 400 + 300 * np.arange(N) / N + 40 * RNG.standard_normal(N)
H = 0.9 * np.exp(-np.arange(N) / 30) * np.exp(0.02 * RNG.standard_normal(N))
R = 0.9 - 0.3 * np.exp(H)


def write(path, H, **more):
    """verl's, with response_length/max at the cap of 1000 where more says so."""
    columns = {"step": range(N), "actor/entropy": H, "val-core/x/acc/mean@8": R, "response_length/mean": LENGTH} | more
    return write_csv(path, list(columns), zip(*columns.values()))


def test_an_entropy_per_token_is_none(tmp_path):
    assert lengths.scaled(H, LENGTH, 1000) is None
    assert "SCALED" not in one(write(tmp_path / "log.csv", H)).source


@pytest.mark.parametrize(("power", "found"), [(0.4, False), (0.8, True), (1.0, True), (1.2, True), (2.0, False)])
def test_only_a_slope_near_one_is_taken_for_it(power, found):
    assert (lengths.scaled(H * (LENGTH / 1000) ** power, LENGTH, 1000) is not None) == found


@pytest.mark.parametrize("mode", ["norm", "sum"])
def test_one_that_goes_with_length_is_said_and_undone(tmp_path, mode):
    logged = H * LENGTH / 1000 if mode == "norm" else H * LENGTH
    longest = np.where(np.arange(N) % 3, 990.0, 1000.0)
    points = one(write(tmp_path / "log.csv", logged, **{"response_length/max": longest}))
    np.testing.assert_allclose(points.H, H)
    said = "times 1000 / length" if mode == "norm" else "divided by the length"
    assert said in points.source and said in points.estimator


def test_without_the_cap_it_is_said_and_left(tmp_path):
    path = write(tmp_path / "log.csv", H * LENGTH / 1000)
    points = one(path)
    assert "IS SCALED BY LENGTH" in points.warnings[-1] and "--config.length_limit=TOKENS" in points.source
    np.testing.assert_allclose(points.H, H * LENGTH / 1000)
    np.testing.assert_allclose(one(path, length_limit=1000).H, H)


def test_a_length_that_grows_smoothly_is_told_by_the_law(tmp_path):
    """No step tells it then; the score does. Without the limit it is said only."""
    length = np.linspace(300, 900, N)
    logged = H * length / 1000
    path = write(tmp_path / "log.csv", logged, **{"response_length/mean": length})
    points = one(path)
    assert "MAY BE SCALED BY LENGTH" in points.warnings[-1]
    np.testing.assert_allclose(points.H, logged)
    np.testing.assert_allclose(one(path, length_limit=1000).H, H)
    assert "SCALED" not in one(path, length_limit=0).source
    assert "SCALED" not in one(write(path, H, **{"response_length/mean": length})).source


def test_a_score_that_rises_with_length_undoes_nothing(tmp_path):
    """Entropy held, length and score rising: the score goes with H / length for that alone. Mutation: undone at 4."""
    length = np.linspace(300, 900, N)
    held = 0.3 + 0.01 * RNG.standard_normal(N)
    more = {"response_length/mean": length, "response_length/max": [1000] * N, "val-core/x/acc/mean@8": length / 2000}
    points = one(write(tmp_path / "log.csv", held, **more))
    np.testing.assert_allclose(points.H, held)
    assert "MAY BE SCALED BY LENGTH" in points.warnings[-1]


def test_what_it_does_to_a_ceiling(tmp_path):
    """The figures of docs/your_log.md and of trainers.ERRATA: the planted ceiling is .9 - .3."""
    path = write(tmp_path / "log.csv", H * LENGTH / 1000)
    wrong, right = (live.law_of(one(path, length_limit=limit), draws=200) for limit in (0, 1000))
    assert right["ceiling"] == pytest.approx(0.6) and wrong["ceiling"] == pytest.approx(0.679, abs=5e-4)
    assert wrong["interval"]["ceiling"] == pytest.approx((0.64, 0.72), abs=0.01)
