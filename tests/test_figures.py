import io

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import AxLine

from entropy_rl import figures
from entropy_rl.laws.analyse import analyse
from entropy_rl.laws.curves import CURVES
from entropy_rl.laws.scaling import scaling
from entropy_rl.methods.confidence.calibration import reliability

STEP = np.arange(30)
H = np.geomspace(0.3, 0.03, 30)
R = 1.8 - 1.2 * np.exp(H) + 0.01 * np.random.default_rng(0).standard_normal(30)


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def test_law_draws_points_curves_and_ceiling(ax):
    analysis = analyse(STEP, H, R, draws=200)
    figures.law(ax, H, R, STEP, analysis, score="pass@1", curves=("exp", "linear", "exp_rate"))
    points = ax.collections[0]
    np.testing.assert_array_equal(points.get_offsets(), np.stack([H, R], 1))
    np.testing.assert_array_equal(points.get_array(), STEP)
    lines = {line.get_label().split(":")[0]: line for line in ax.lines}
    for name in ("exp", "linear", "exp_rate"):
        x, y = lines[name].get_data()
        fit = analysis["curves"][name]
        np.testing.assert_allclose(y, CURVES[name].predict(x, fit["a"], fit["b"], *fit["shape"].values()))
        assert x[0] == 0 and x[-1] > H.max() and y[0] == pytest.approx(fit["ceiling"])
    bands = [c for c in ax.collections[1:] if isinstance(c, PolyCollection)]
    assert len(bands) == 2  # exp and linear have one
    low, high = analysis["curves"]["exp"]["band"]["low"], analysis["curves"]["exp"]["band"]["high"]
    assert bands[0].get_datalim(ax.transData).intervaly == pytest.approx((min(low), max(high)))
    (bar,) = ax.containers
    assert bar[0].get_xydata()[0] == pytest.approx([0, analysis["ceiling"]])
    assert bar[2][0].get_segments()[0][:, 1] == pytest.approx(analysis["interval"]["ceiling"])
    assert "nats" in ax.get_xlabel() and ax.get_ylabel() == "pass@1"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(labels) == 4 and "90% interval" in labels[-1]
    assert [a.get_ylabel() for a in ax.figure.axes] == ["pass@1", "step"]  # the second is the colour bar


def test_law_draws_a_curve_without_a_ceiling(ax):
    figures.law(ax, H, R, STEP, analyse(STEP, H, R, draws=200), curves=("log",))
    ax.figure.savefig(io.BytesIO(), format="png")


def test_residuals_are_scores_less_curves(ax):
    analysis = analyse(STEP, H, R, draws=200)
    figures.residuals(ax, H, R, STEP, analysis, curves=("exp", "linear"))
    zero, exp, linear = ax.lines
    fit = analysis["curves"]["exp"]
    np.testing.assert_allclose(exp.get_data(), [STEP, R - CURVES["exp"].predict(H, fit["a"], fit["b"])])
    assert exp.get_label().startswith("exp: rmse") and linear.get_label().startswith("linear: rmse")
    assert set(zero.get_ydata()) == {0}


def test_law_takes_a_ceiling_outside_its_interval(ax):
    analysis = analyse(STEP, H, R, draws=200)
    analysis["interval"]["ceiling"] = [analysis["ceiling"] + 0.1, analysis["ceiling"] + 0.2]
    figures.law(ax, H, R, STEP, analysis)
    ax.figure.savefig(io.BytesIO(), format="png")


def test_coefficients_have_bars_and_a_line(ax):
    N, values = np.array([1e8, 1e9, 1e10, 1e11]), np.array([0.1, 0.2, 0.3, 0.42])
    line = scaling(N, values)
    figures.coefficients(ax, N, values, np.stack([values - 0.01, values + 0.02], 1), line, label="a")
    x, y = ax.lines[0].get_data()
    np.testing.assert_allclose(y, line.intercept + line.slope * np.log(x))
    assert x[0] < N.min() and x[-1] > N.max() and ax.get_xscale() == "log" and ax.get_ylabel() == "a"
    (bars,) = ax.containers
    np.testing.assert_allclose(np.array(bars[2][0].get_segments())[:, :, 1] - values[:, None], [[-0.01, 0.02]] * 4)


def test_entropy_and_reward_have_an_axis_each(ax):
    right = figures.entropy_and_reward(ax, STEP, H, STEP[::5], R[::5], score="pass@1")
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.stack([STEP, H], 1))
    np.testing.assert_array_equal(right.lines[0].get_xydata(), np.stack([STEP, R], 1)[::5])
    assert "nats" in ax.get_ylabel() and right.get_ylabel() == "pass@1" and ax.get_xlabel() == "step"
    # each axis has the colour of its line
    assert ax.yaxis.label.get_color() == ax.lines[0].get_color() != right.lines[0].get_color()
    assert right.yaxis.label.get_color() == right.lines[0].get_color()
    ax.figure.savefig(io.BytesIO(), format="png")


def test_seeds_have_thin_lines_and_their_mean(ax):
    """By place as far as the shortest goes, in x too. Mutation: the mean over y alone."""
    figures.seeds(ax, [([0, 1, 2], [1.0, 2, 3]), ([2, 3], [3.0, 6])], label="x")
    thin, also_thin, mean, end = (line.get_xydata().tolist() for line in ax.lines)
    assert (thin, also_thin) == ([[0, 1], [1, 2], [2, 3]], [[2, 3], [3, 6]])
    assert mean == [[1, 2], [2, 4]] and end == [[2, 4]]
    assert [line.get_label() for line in ax.lines if not line.get_label().startswith("_")] == ["x"]
    assert ax.lines[2].get_linewidth() > ax.lines[0].get_linewidth()


@pytest.mark.parametrize("edges", [[0, 1e-3, 1e-2, 1], [-1, -0.1, 0.1, 1]])
def test_histograms_show_shares_on_a_logarithmic_axis(ax, edges):
    """Mutation: counts, or a linear axis. A bin at 0 has a width of its own."""
    figures.histogram(ax, edges, [6, 3, 1], label="start")
    for patch in ax.patches:
        data = patch.get_data()
        np.testing.assert_allclose(data.values, [0.6, 0.3, 0.1])
        np.testing.assert_array_equal(data.edges, edges)
    assert ax.get_xscale() == "symlog" and ax.get_xlim() == (edges[0], edges[-1])
    x = ax.transData.transform(np.stack([edges, np.zeros(4)], 1))[:, 0]
    assert (np.diff(x) > 0.05 * (x[-1] - x[0])).all()
    assert ax.get_legend_handles_labels()[1] == ["start"]
    figures.histogram(ax, edges, [1, 8, 1])
    assert ax.get_ylim()[1] > 0.8  # the second is not cut off at the height of the first
    ax.figure.savefig(io.BytesIO(), format="png")


def test_measured_stands_against_predicted(ax):
    """Mutation: the axes exchanged; a line that is drawn where none is asked for."""
    figures.measured(ax, [0.1, -0.2], [0.3, -0.1], slope=None)
    assert ax.collections[0].get_offsets().tolist() == [[0.1, 0.3], [-0.2, -0.1]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted", "measured")
    assert ax.get_ylim()[1] < 0.4 and len(ax.lines) == 2  # those at 0
    figures.measured(ax, [0.1], [0.3])
    assert [line.get_slope() for line in ax.lines if isinstance(line, AxLine)] == [1]
    ax.figure.savefig(io.BytesIO(), format="png")


def test_a_ranking_reads_from_top_to_bottom(ax):
    figures.ranking(ax, ["+", "7"], [0.4, 0.3], reference=0.2)
    assert [bar.get_width() for bar in ax.patches] == [0.4, 0.3]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["+", "7"]
    top, bottom = ax.transData.transform([[0, 0], [0, 1]])[:, 1]
    assert top > bottom
    assert ax.lines[0].get_xdata() == [0.2, 0.2]


def test_intervals_read_from_top_to_bottom(ax):
    figures.intervals(ax, ["a", "b"], [[0.1, 0.0, 0.3], [0.2, -np.inf, np.inf]], reference=0.0)
    (bars,) = ax.collections
    ends = [segment[:, 0].tolist() for segment in bars.get_segments()]
    np.testing.assert_allclose(ends, [[0.0, 0.3], [0.2, 0.2]])  # infinite ends are not drawn
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"] and ax.yaxis_inverted()


def test_responses_are_coloured_word_by_word(ax):
    """Rows of different lengths. Mutation: a colour scale of each row's own."""
    image = figures.responses(ax, [["7", "+", "5"], ["<eos>"]], [[0.5, 1.0, 0.0], [0.1]])
    np.testing.assert_array_equal(image.get_array().filled(-1), [[0.5, 1.0, 0.0], [0.1, -1, -1]])
    assert image.get_clim() == (0, 1)
    assert [(t.get_text(), t.get_position()) for t in ax.texts] == [
        ("7", (0, 0)), ("+", (1, 0)), ("5", (2, 0)), ("<eos>", (0, 1))
    ]  # fmt: skip
    assert [t.get_color() for t in ax.texts] == ["white", "black", "white", "white"]
    ax.figure.savefig(io.BytesIO(), format="png")
    assert figures.responses(ax, [["7"]], [[0.5]], limit=2.0).get_clim() == (0, 2)


def test_reliability_leaves_out_empty_bins(ax):
    rows = reliability([0.15, 0.95, 0.95], [0, 1, 0])
    figures.reliability(ax, {"base": rows, "after": rows[:2]})
    diagonal, base, after = ax.lines
    np.testing.assert_array_equal(diagonal.get_xydata(), [[0, 0], [1, 1]])
    np.testing.assert_allclose(base.get_xydata(), [[0.15, 0.0], [0.95, 0.5]])
    np.testing.assert_allclose(after.get_xydata(), [[0.15, 0.0]])
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["confidence = accuracy", "base", "after"]
