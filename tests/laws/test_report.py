import numpy as np
import pytest

from entropy_rl.laws import report
from entropy_rl.laws.analyse import analyse, series
from entropy_rl.laws.together import together

H = np.geomspace(0.5, 0.03, 40)
ADDED = {"sources": ["csv run.csv: H = h, R = r"], "skipped": [], "scaling": None, "forecast": {}, "ahead": None}


def law(a=1.2, offset=0.0, seed=0, **more):
    """What fit_laws has of a run on R = 2 + offset - a exp(H), and `more`."""
    R = 2 + offset - a * np.exp(H) + 0.01 * np.random.default_rng(seed).standard_normal(40)
    return analyse(np.arange(40), H, R, draws=200) | ADDED | more, series(np.arange(40), H, R)


def test_a_run_with_a_law():
    one, _ = law(skipped=["b.csv: no rows in it"])
    page = report.page(one, command="python -m x")
    head = "# Reward against entropy\n\n- csv run.csv: H = h, R = r\n- left out: b.csv: no rows in it\n"
    assert page.startswith(head)
    for said in (report.law_line(one), report.table(one), "By exp, ", "94% is spent", "Made by `python -m x`."):
        assert said in page
    assert "not as a law" not in page and "Forecast" not in page and page.endswith(".\n")


def test_a_run_without_one():
    page = report.page(law(a=-0.5)[0])
    assert "reward falls as entropy is spent" in page.lower() and "For the record, and not as a law" in page
    assert "Without a law there is no ceiling" in page and "By exp, " not in page


def test_a_forecast_and_what_could_not_be_forecast():
    ahead = {"at": 90.0, "until": 39.0, "score": 0.8, "interval": [0.7, 0.9], "level": 0.9}
    ahead |= {"entropy": 0.02, "entropy_interval": [0.01, 0.03]}
    line = {"share": 0.2, "kind": "pure", "runs": 0, "impossible": 1}
    made = line | {"share": 0.33, "runs": 1, "impossible": 0, "bias": 0.01, "rmse": 0.01, "median_error": 0.01}
    made |= {"coverage": 1.0, "width": 0.1, "rmse_after": None}
    found = {"summary": [line, made], "runs": {"run": [{"reason": "too few"}, {"reason": ""}]}}
    page = report.page(law(ahead=ahead, forecast=found)[0])
    assert "At step 90, from all points up to 39: score 0.8 [0.7, 0.9] at an entropy of 0.02 [0.01, 0.03] nats" in page
    assert "no forecast from the first 20% (1) of the runs: too few" in page
    (row,) = [line for line in page.splitlines() if line.startswith("33%, pure")]
    assert row.split() == ["33%,", "pure", "1", "0.01", "0.01", "0.01", "100%", "0.1", "-"]


@pytest.mark.parametrize(("offset", "first"), [(0.0, "## Curves"), (0.3, "## Run by run")])
def test_runs_that_share_no_curve_come_before_the_fit_to_all(offset, first):
    each, runs = {}, {}
    for k in range(3):
        each[f"run{k}"], runs[f"run{k}"] = law(offset=k * offset, seed=k)
    listed = [{"name": name, **one} for name, one in each.items()]
    page = report.page(together(runs, each, draws=200) | ADDED | {"runs": listed})
    heads = [line for line in page.splitlines() if line.startswith("## ")]
    assert heads[0] == first and "## Run by run" in heads
    assert ("## One fit to all, which is a mean over runs that differ" in heads) == (offset > 0)
    assert page.count("\nrun1 ") == 1 and "- run2: exp is identified" in page


def test_alarms_are_counted_over_runs():
    raised = [{"name": "plateau"}, {"name": "collapse"}, {"name": "plateau"}]
    law = {"runs": [{}, {}, {}], "alarms": raised}
    assert report.alarm_counts(law) == "alarms in 3 runs: plateau in 2, collapse in 1"
    assert report.alarm_counts({"runs": [{}, {}], "alarms": []}) == "alarms in 2 runs: none"
    assert report.alarm_counts({"runs": [{}], "alarms": raised}) == ""


def test_knobs_are_said_once_for_alarms_alike():
    """Mutation: a line of them after every alarm."""
    raised = [("plateau", "a", "wait"), ("collapse", "a", "widen"), ("plateau", "b", "wait")]
    law = {"alarms": [{"name": n, "run": r, "step": 5, "evidence": "seen", "knobs": k} for n, r, k in raised]}
    assert [line.strip() for line in report.alarms(law).splitlines()] == [
        *(f"ALARM plateau in {run} at step 5: seen" for run in "ab"),
        "knobs: wait",
        "ALARM collapse in a at step 5: seen",
        "knobs: widen",
    ]
