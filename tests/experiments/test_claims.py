"""The rule by hand; runs that are planted on a claim, and off it."""

import json
import math
import shutil

import numpy as np
import pytest

from entropy_rl import files
from experiments.claims import arms, change, confidence, control, course, critique, data, dual, law, select, verdicts
from tests.experiments.planted import HOW, cell, config, curves, outcomes, plant, study, verdict_on

# ------------------------------------------------------------------------------------------------- the rule


@pytest.mark.parametrize(
    "given, verdict",
    [
        (["for", "for"], "holds"),
        (["for", "open"], "holds partly"),
        (["for", "against"], "holds partly"),
        (["against", "open"], "fails"),
        (["open"], "undecided"),
        ([], "undecided"),
    ],
)
def test_verdicts_from_outcomes(given, verdict):
    assert verdicts.rule(given) == verdict


@pytest.mark.parametrize(
    "span, side, count, outcome",
    [
        ((0.05, 0.01, 0.09), {"above": 0.0}, 3, "for"),
        ((0.05, 0.01, 0.09), {"above": 0.0}, 2, "open"),  # too few seeds
        ((0.05, -0.01, 0.09), {"above": 0.0}, 3, "open"),
        ((-0.05, -0.09, -0.01), {"above": 0.0}, 3, "against"),
        ((0.0, -0.01, 0.01), {"above": 0.0, "slack": 0.02}, 3, "against"),  # none worth the name
        ((0.01, 0.005, 0.015), {"above": 0.0, "slack": 0.02}, 3, "against"),
        ((0.0, -0.01, 0.03), {"above": 0.0, "slack": 0.02}, 3, "open"),
        ((0.01, 0.0, 0.015), {"below": 0.02}, 3, "for"),
        ((0.03, 0.025, 0.04), {"below": 0.02}, 3, "against"),
        ((0.0, -0.1, 0.1), {"within": (-0.2, 0.2)}, 3, "for"),
        ((0.5, 0.3, 0.7), {"within": (-0.2, 0.2)}, 3, "against"),
        ((0.2, 0.1, 0.3), {"within": (-0.2, 0.2)}, 3, "open"),
        ((math.nan,) * 3, {"above": 0.0}, 3, "open"),
        (None, {"above": 0.0}, 3, "open"),
    ],
)
def test_outcomes_from_intervals(span, side, count, outcome):
    """Mutation: `<` for `>` in criterion, or no look at the count."""
    assert verdicts.criterion("x", span, HOW, count, **side).outcome == outcome


def test_intervals_by_hand():
    # mean 2, s = 1, t(0.95; 2) = 2.920
    np.testing.assert_allclose(verdicts.mean_span([1.0, 2.0, 3.0], HOW), (2, 2 - 1.6859, 2 + 1.6859), atol=1e-4)
    assert verdicts.mean_span([1.0], HOW) == (1.0, -math.inf, math.inf) and verdicts.mean_span([], HOW) is None
    # 2 errors: chi2 of 2 degrees is exponential of mean 2, quantiles -2 ln(1 - q)
    high, low = (math.sqrt(5 / (-2 * math.log(1 - q))) for q in (0.05, 0.95))
    np.testing.assert_allclose(verdicts.rms_span([1.0, 2.0], HOW), (math.sqrt(2.5), low, high))


def test_spread_by_hand():
    """Two settings 2 apart, two seeds, rest ((0, 1), (1, 0)) less its means: MS(rest) 1, MS(settings) 4, F 4."""
    y = np.array([[0.0, 1.0], [3.0, 2.0]])
    assert y.mean(axis=1).tolist() == [0.5, 2.5]
    tau, low, high = verdicts.spread_span(y, HOW)
    assert tau == pytest.approx(math.sqrt((4 - 1) * 1 / 2))
    # F of 1 and 1 degrees: q = 2/pi atan(sqrt(F)), so the quantile at .05 is tan(.05 pi/2)^2
    assert low == 0.0 and high == pytest.approx(math.sqrt((4 / math.tan(0.05 * math.pi / 2) ** 2 - 1) / 2))


# ------------------------------------------------------------------------------------------------- what a run is


def test_kinds_and_arms_by_content(tmp_path):
    """Names are nothing: the plain arm is the one that the others differ from, settings are told by their values."""
    plant(tmp_path / "a,seed=0", config())
    plant(tmp_path / "b,seed=1", config(seed=1, init="elsewhere/start,seed=1", eval={"every": 3}))
    plant(tmp_path / "grpo,seed=0", config(loss__name="kl_cov"))
    plant(tmp_path / "c,seed=0", config(advantage__name="rloo"))
    plant(tmp_path / "d,seed=0", config(critique__source="oracle"))
    plant(tmp_path / "e,seed=0", config(weight={"name": "top_entropy", "args": {"frac": 0.2}}))
    plant(tmp_path / "i,seed=0", config(init="runs/another"))
    plant(tmp_path / "f,seed=0", config(optimizer={"learning_rate": 1.0}))
    off = {"predicate": {"name": "off"}, "combine": {"name": "multiplicative"}}
    plant(tmp_path / "g,seed=2", config(seed=2, diversity=off, init_temperature=1.0))
    plant(tmp_path / "h,seed=0", config(diversity=off | {"predicate": {"name": "answer"}}))
    plant(tmp_path / "j,seed=0", config(distillation={"coef": 1.0}))
    plant(tmp_path / "k,seed=0", config(rollout={"lag": 4}))  # of an older policy's samples
    (study,) = arms.studies(data.read([tmp_path]).runs)
    plain = study.plain()
    assert sorted(plain.runs) == [0, 1, 2] and plain.name == "a" and study.kind == "rl"
    of = {arm.name: arm for arm in study.arms}
    assert {arm.name for arm in arms.algorithms(study, plain)} == {"a", "c"}
    assert of["d"].source == "oracle" and of["e"].share == 0.2 and arms.controls(of["grpo"].first) == {"loss"}
    assert arms.differ(of["i"], plain) == {"init"}
    assert [name for name in "acijk" if arms.is_plain(of[name].first)] == ["a", "c", "i"]
    assert arms.controls(of["h"].first) == {"diversity"} and arms.differ(of["f"], plain) == {"optimizer.learning_rate"}


def test_levels_are_believed_only_where_they_give_what_was_logged(tmp_path):
    settings = config(task={"name": "toy", "args": {"levels": [3, 4]}})
    right = [8, 0, 8, 4]
    run = plant(tmp_path / "a", settings, solved=[(0, right)])
    rows = files.read(run / "evals.jsonl")[0]
    row = {"step": 0, "task": "toy", "n": 2}
    told = [row | {"metric": f"pass@1/level{n}", "value": v} for n, v in ((3, 1.0), (4, 0.25))]
    files.rewrite(run / "evals.jsonl", rows + told)
    (one,) = data.read([tmp_path]).runs
    assert one.attempts().levels.tolist() == [3, 4, 3, 4]
    told[1]["value"] = 0.3
    files.rewrite(run / "evals.jsonl", rows + told)
    (one,) = data.read([tmp_path]).runs
    assert one.attempts().levels is None


# ------------------------------------------------------------------------------------------------- claims


def test_the_law_holds_on_it_and_fails_off_it(tmp_path):
    """Mutation: heldout_rmse of another curve in the place of exp's."""
    on = verdict_on(law.FORM, curves(tmp_path / "on", lambda H: 0.9 - 0.15 * np.exp(H)))
    assert on.verdict == "holds" and len(on.criteria) == 3 and len(on.runs) == 3
    off = verdict_on(law.FORM, curves(tmp_path / "off", lambda H: 0.4 - 0.1 * np.log(H)))
    assert off.verdict == "fails"
    few = verdict_on(law.FORM, curves(tmp_path / "few", lambda H: 0.9 - 0.15 * np.exp(H), seeds=2))
    assert few.verdict == "undecided" and {test.outcome for test in few.criteria} == {"open"}


@pytest.mark.parametrize("shift, verdict", [(0.0, "holds"), (0.15, "fails")])
def test_coefficients_of_two_algorithms(tmp_path, shift, verdict):
    """The second algorithm's curve is the first's, or has another slope and lies elsewhere."""
    curves(tmp_path, lambda H: 0.9 - 0.15 * np.exp(H), noise=1e-4)
    H = 1.6 * np.exp(-np.linspace(0, 4, 300)) + 0.02
    at = np.linspace(0, 299, 60).round().astype(int)
    for advantage in ("rloo", "reinforce_pp"):
        shift = -shift
        for seed in range(3):
            score = 0.9 + shift - (0.15 + 0.5 * shift) * np.exp(H[at])
            noisy = score + np.random.default_rng(seed).normal(0, 1e-4, 60)
            plant(tmp_path / f"{advantage}{seed}", config(seed=seed, advantage__name=advantage), H, noisy)
    found = verdict_on(law.COEFFICIENTS, tmp_path)
    assert found.verdict == verdict
    assert [test.units for test in found.criteria] == ["3 seeds of 3 algorithms"] * 3


def test_the_front_and_the_forecast(tmp_path):
    """Entropy that is gone after a twentieth of the steps, and entropy that goes evenly to the end."""
    steep = 1.6 * np.exp(-np.linspace(0, 60, 300)) + 0.02
    fast = curves(tmp_path / "fast", lambda H: 0.9 - 0.15 * np.exp(H), noise=1e-3, H=steep)
    assert verdict_on(course.FRONT, fast).verdict == "holds"
    even = curves(tmp_path / "even", lambda H: 0.9 - 0.15 * np.exp(H), noise=1e-3, H=np.linspace(1.6, 0.02, 300))
    assert verdict_on(course.FRONT, even).verdict == "fails"
    slow = curves(tmp_path / "slow", lambda H: 0.9 - 0.15 * np.exp(H), noise=1e-4)
    told = outcomes(verdict_on(course.EARLY, slow))
    assert all(outcome == "for" for what, outcome in told.items() if "given entropy" in what) and len(told) == 4
    bent = verdict_on(course.EARLY, curves(tmp_path / "bent", lambda H: 0.4 - 0.1 * np.log(H), noise=1e-4))
    assert bent.verdict == "fails"


@pytest.mark.parametrize("sign, verdict", [(1, "holds"), (-1, "fails")])
def test_the_covariance(tmp_path, sign, verdict):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rows = []
        for step in range(20):
            m = float(rng.normal())
            row = {"change_measured": m, "change_predicted": sign * m, "change_predicted_cross": sign * m * m}
            row |= {"change_predicted_square": m * m, "change_single_token": sign * 3 * m}
            rows.append({"step": step} | {f"entropy/{key}": value for key, value in row.items()})
        plant(tmp_path / f"seed{seed}", config(seed=seed), rows=rows)
    assert verdict_on(change.CHANGE, tmp_path).verdict == verdict


def test_holding_entropy(tmp_path):
    """What holds it is measured: a control that does not is no evidence. Mutation: HELD of 100."""
    held = {"loss__name": "clip_cov"}
    up = verdict_on(control.CEILING, study(tmp_path / "up", (0, 2), entropy=0.3, **held))
    assert up.verdict == "holds" and [test.units for test in up.criteria] == ["3 seeds", "3 seeds"]
    assert verdict_on(control.CEILING, study(tmp_path / "down", (2, 0), entropy=0.3, **held)).verdict == "fails"
    assert verdict_on(control.CEILING, study(tmp_path / "not", (0, 2), entropy=0.1, **held)).verdict == "undecided"
    few = verdict_on(control.CEILING, study(tmp_path / "few", (0, 2), seeds=2, entropy=0.3, **held))
    assert few.verdict == "undecided" and "common seeds" in few.missing[0]


def test_what_limits_a_policy_that_holds_entropy(tmp_path):
    """Half of the problems never solved, half always: coverage. All solved half of the time: selection."""
    held = {"loss__name": "clip_cov"}
    for name, right, outcome in (("c", [0, 8], "against"), ("s", [4, 4], "for")):
        for seed in range(3):
            for arm, H, of in (("p", 0.1, {}), ("q", 0.3, held)):
                run = tmp_path / name / f"{arm},seed={seed}"
                plant(run, config(seed=seed, **of), [H] * 20, solved=[(0, right * 10), (99, right * 10)])
        found = verdict_on(select.BOTTLENECK, tmp_path / name)
        assert [test.outcome for test in found.criteria] == [outcome]
    # selection gap less coverage gap: pass@8 - pass@1 = 1/2, 1 - pass@8 = 0
    assert found.criteria[0].value == pytest.approx(0.5)


@pytest.mark.parametrize(
    "share, gain, verdict",
    [(0.2, 2, "holds"), (0.2, 0, "fails"), (0.5, 2, "undecided"), (0.05, 0, "undecided"), (1.0, 2, "undecided")],
)
def test_forking_tokens(tmp_path, share, gain, verdict):
    study(tmp_path, (2, gain), weight={"name": "top_entropy", "args": {"frac": share}})
    assert verdict_on(control.FORKING, tmp_path).verdict == verdict


def test_the_other_tokens_alone(tmp_path):
    """A sweep of shares has no arm of token_mean: all tokens are share 1, and the others alone are no plain arm."""
    weights = {"p": {"frac": 1.0}, "q": {"frac": 0.2}, "r": {"frac": 0.2, "bottom": True}}
    start = np.arange(40) % 5
    for name, gain in (("p", 2), ("q", 2), ("r", 0)):
        for seed in range(3):
            of = config(seed=seed, weight={"name": "top_entropy", "args": weights[name]}, loss__args__clip_high=0.28)
            plant(tmp_path / f"{name}{seed}", of, [0.1] * 20, solved=[(0, start), (99, start + gain)])
    (study,) = arms.studies(data.read([tmp_path]).runs)
    assert study.plain().leaves["weight.args.frac"] == 1.0
    found = verdict_on(control.FORKING, tmp_path)
    assert found.verdict == "holds" and [test.value for test in found.criteria] == pytest.approx([0.0, 0.0, 0.25])


def test_critiques(tmp_path):
    """Against the plain arm alone when there is nothing else, and then something is missing."""
    oracle = {"critique__source": "oracle"}
    up = verdict_on(critique.PRESERVES, study(tmp_path / "up", (1, 1), entropy=0.3, **oracle))
    assert up.verdict == "holds" and "fresh" in up.missing[0] and "none or random" in up.missing[1]
    assert verdict_on(critique.PRESERVES, study(tmp_path / "down", (1, 1), entropy=0.05, **oracle)).verdict == "fails"
    assert verdict_on(critique.PLATEAU, tmp_path / "up").verdict == "undecided"
    words = study(tmp_path / "words", (0, 2), **oracle)
    for seed in range(3):
        plain = words / f"p,seed={seed}"
        fresh = words / f"fresh,seed={seed}"
        shutil.copytree(plain, fresh)
        (fresh / "config.json").write_text(json.dumps({"config": config(seed=seed, critique__source="fresh")}))
    told = verdict_on(critique.PLATEAU, words)
    assert [test.outcome for test in told.criteria][:2] == ["for", "for"] and "never" not in told.criteria[0].what


@pytest.mark.parametrize("gain, verdict", [(0.01, "holds"), (0.9, "fails")])
def test_critiques_at_test_time(tmp_path, gain, verdict):
    """Trained with critiques 2 of 8 more attempts are right: more than a gain of .01 at test time, less than .9."""
    study(tmp_path, (0, 2), critique__source="oracle")
    way = {"parallel": {"1": {"less majority": [gain, gain - 0.005, gain + 0.005]}}}
    command = "python -m experiments.test_time --config=x.py:task=toy --config.critique.source=oracle"
    path = tmp_path / "test_time.json"
    path.write_text(json.dumps({"command": command, "ways": way}))
    found = verdict_on(critique.TEST_TIME, tmp_path)
    assert found.verdict == verdict and found.files == [path]
    for own, other in (("oracle", "self"), ("=toy", "=grid"), (":task=toy", "")):
        path.write_text(json.dumps({"command": command.replace(own, other), "ways": way}))
        assert verdict_on(critique.TEST_TIME, tmp_path).verdict == "undecided"


def test_selecting_and_creating(tmp_path):
    """Right attempts where there were some: selects. Right attempts where there was none: creates, too."""
    for name, end in (("selects", [0, 8]), ("creates", [8, 8])):
        for seed in range(3):
            plant(
                tmp_path / name / f"a,seed={seed}",
                config(seed=seed),
                [0.1] * 20,
                solved=[(0, [0, 2] * 20), (99, end * 20)],
            )
    assert verdict_on(select.SELECTS, tmp_path / "selects").verdict == "holds"
    created = verdict_on(select.SELECTS, tmp_path / "creates")
    assert [test.outcome for test in created.criteria] == ["for", "against"]
    # pass@8 of both is 1/2: k* = 7, the first k at which 2 right of 8 are always among the k
    assert verdict_on(select.SELECTS, tmp_path / "selects").details[0][2][0][-1] == "7, 7, 7"


def test_elicitations(tmp_path):
    way = {"pass": {"1": 0.5, "16": 0.9}, "crossover": {"mean": 3.0}}
    rl = way | {"less base": {"1": [0.2, 0.1, 0.3], "16": [-0.05, -0.1, -0.01]}, "new": [["a"], [], ["b"]]}
    again = way | {"less base": {}, "new": [["a"], ["c"], []]}
    content = {"ways": {"base": way, "rl": rl, "again": again}, "samples": 16, "seeds": 3, "problems": 100}
    (tmp_path / "elicit.json").write_text(json.dumps(content))
    found = verdict_on(select.SELECTS, tmp_path)
    assert [test.outcome for test in found.criteria] == ["for"] * 3 and found.criteria[2].value == pytest.approx(0.0)
    content["ways"]["rl"]["less base"]["16"] = [0.1, 0.05, 0.2]
    (tmp_path / "elicit.json").write_text(json.dumps(content))
    assert verdict_on(select.SELECTS, tmp_path).verdict == "holds partly"
    (tmp_path / "elicit.json").write_text(json.dumps(content | {"ways": {"rl": {}, "base": 3}}))
    assert "not as experiments.elicit" in verdict_on(select.SELECTS, tmp_path).missing[0]


@pytest.mark.parametrize("inflation, verdict", [(0.0, "holds"), (0.8, "holds partly")])
def test_two_failures_or_one(tmp_path, inflation, verdict):
    """A control that holds token entropy leaves the inflation of answers alone, or does not."""
    base = {"entropy": cell(-0.2, 0.1), "inflation": cell(0.1, 0.5), "gain": cell(0, 1)}
    held = {"entropy": cell(0.1, 0.05), "inflation": cell(inflation, 0.05), "gain": cell(0, 1)}
    content = {
        "baseline": "grpo",
        "rounds": 3,
        "training": {"grpo less the start": base, "clip_cov": held},
        "test": {"wait 3": {"surprise": cell(0.5, 0.2)}},
        "correlation": {"inflation": {"within": [0.1, -0.2, 0.3], "runs": 9}},
    }
    (tmp_path / "dual.json").write_text(json.dumps(content))
    found = verdict_on(dual.DUAL, tmp_path)
    assert found.verdict == verdict and len(found.criteria) == 4
    content["training"]["clip_cov"] = "junk"
    (tmp_path / "dual.json").write_text(json.dumps(content))
    assert len(verdict_on(dual.DUAL, tmp_path).criteria) == 3


@pytest.mark.parametrize("after, verdict", [(10.0, "holds"), (40.0, "holds partly")])
def test_calibration(tmp_path, after, verdict):
    """Calibrations belong to a policy by their config's init: the start's, and that of the run which began there."""
    for seed in range(3):
        taught = {"arm": "dpo", "branches": {"span": "answer"}, "loss": {}, "rollout": {}, "init": "runs/sft"}
        plant(tmp_path / f"x,seed={seed}", taught | {"seed": seed})
        for name, init, ece in ((f"l{seed}", "runs/sft", 30.0 + seed), (f"m{seed}", f"w/x,seed={seed}", after + seed)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "config.json").write_text(json.dumps({"config": {"seed": seed, "init": init}}))
            (tmp_path / name / "calibration.json").write_text(json.dumps({"ece/answer": ece, "greedy": 0.4}))
    found = verdict_on(confidence.CALIBRATION, tmp_path)
    assert found.verdict == verdict and found.criteria[0].value == pytest.approx(after - 30)


def test_a_table_of_calibrations(tmp_path):
    """Its arms are told by the configs of their runs: without those nothing is known of them."""
    row = {"ece/answer": cell(-5, 1), "greedy": cell(0.0, 0.01)}
    (tmp_path / "t").mkdir()
    arms_of = {"base": {}, "x": {"difference": row}, "y": {"difference": row}}
    (tmp_path / "t" / "table.json").write_text(json.dumps({"arms": arms_of, "spans": ["answer"], "baseline": "base"}))
    assert "none of its arms" in verdict_on(confidence.CALIBRATION, tmp_path).missing[0]
    plant(tmp_path / "x,seed=0", {"arm": "dpo", "branches": {"span": "answer"}, "init": "s"})
    found = verdict_on(confidence.CALIBRATION, tmp_path)
    assert found.verdict == "holds" and len(found.criteria) == 2


# ------------------------------------------------------------------------------------------------- the script
