import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from entropy_rl import figures
from entropy_rl.laws.compare import analyse
from entropy_rl.laws.curves import CURVES

STEP = np.arange(30)
H = np.geomspace(0.3, 0.03, 30)
R = 1.8 - 1.2 * np.exp(H) + 0.01 * np.random.default_rng(0).standard_normal(30)


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def test_law_draws_points_curves_and_ceiling(ax):
    analysis = analyse(STEP, H, R, draws=200)
    figures.law(ax, H, R, STEP, analysis, score="pass@1")
    points = ax.collections[0]
    np.testing.assert_array_equal(points.get_offsets(), np.stack([H, R], 1))
    np.testing.assert_array_equal(points.get_array(), STEP)
    lines = {line.get_label().split(":")[0]: line for line in ax.lines}
    for name, curve in CURVES.items():
        x, y = lines[name].get_data()
        fit = analysis["curves"][name]
        np.testing.assert_allclose(y, curve.predict(x, fit["a"], fit["b"]))
        assert x[0] == 0 and x[-1] > H.max() and y[0] == pytest.approx(fit["ceiling"])
    (bar,) = ax.containers
    assert bar[0].get_xydata()[0] == pytest.approx([0, analysis["ceiling"]])
    assert bar[2][0].get_segments()[0][:, 1] == pytest.approx(analysis["interval"]["ceiling"])
    assert "nats" in ax.get_xlabel() and ax.get_ylabel() == "pass@1"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(labels) == len(CURVES) + 1 and "90% interval" in labels[-1]
    assert [a.get_ylabel() for a in ax.figure.axes] == ["pass@1", "step"]  # the second is the colour bar


def test_law_takes_a_ceiling_outside_its_interval(ax):
    analysis = analyse(STEP, H, R, draws=200)
    analysis["interval"]["ceiling"] = [analysis["ceiling"] + 0.1, analysis["ceiling"] + 0.2]
    figures.law(ax, H, R, STEP, analysis)
    ax.figure.savefig(io.BytesIO(), format="png")


def test_entropy_and_reward_have_an_axis_each(ax):
    right = figures.entropy_and_reward(ax, STEP, H, STEP[::5], R[::5], score="pass@1")
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.stack([STEP, H], 1))
    np.testing.assert_array_equal(right.lines[0].get_xydata(), np.stack([STEP, R], 1)[::5])
    assert "nats" in ax.get_ylabel() and right.get_ylabel() == "pass@1" and ax.get_xlabel() == "step"
    # each axis has the colour of its line
    assert ax.yaxis.label.get_color() == ax.lines[0].get_color() != right.lines[0].get_color()
    assert right.yaxis.label.get_color() == right.lines[0].get_color()
    ax.figure.savefig(io.BytesIO(), format="png")
