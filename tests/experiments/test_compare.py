"""experiments/compare.py on sweep folders that are made here: numbers by hand, a planted difference, what is said."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs import compare as config_file
from entropy_rl import files, tables
from entropy_rl.errors import InputError
from experiments import compare

ROOT = Path(__file__).parents[2]


def make_run(
    folder, control, seed, right, *, distinct=None, n=16, levels=(3, 4), step=20, base=0.0, ms=(100, 50), **eval_
):
    """A run of train_rl's files: problems in turn of each level, metrics of 20 steps, evaluations at 0, 10 and 20."""
    path = folder / f"{control},seed={seed}"
    path.mkdir(parents=True)
    about = {"config": {"seed": seed, "steps": step, "eval": {"last": {"problems": len(right), **eval_}}}}
    (path / "config.json").write_text(json.dumps(about | {"git_commit": "c0ffee", "device": {"kind": "cpu"}}))
    rows = [
        {"step": i, "policy/entropy_sequence": 1 / (i + 1), "time/rollout": ms[0] / 1e3, "time/learn": ms[1] / 1e3}
        for i in range(step)
    ]
    rows[0]["time/rollout"] = 30.0  # compiles
    files.rewrite(path / "metrics.jsonl", rows)
    curve = [(0, 0.2 + base), (step // 2, 0.6 + base), (step, 0.5 + base)]
    about = {"task": "countdown", "n": 8}
    rows = [{"step": s, "metric": m, "value": v, **about} for s, v in curve for m in ("pass@1", "pass@8")]
    files.rewrite(path / "evals.jsonl", rows)
    distinct = np.minimum(right, 2) if distinct is None else distinct
    rows = [
        {"id": f"countdown/test/{i}", "level": levels[i % len(levels)], "n": n, "right": int(r), "distinct": int(d)}
        for i, (r, d) in enumerate(zip(right, distinct))
    ]
    files.rewrite(path / "problems.jsonl", [{"step": step, "task": "countdown", **row} for row in rows])
    return path


def get(folder, **changes):
    config = config_file.get_config("smoke")
    config.update({"runs": str(folder), **changes})
    return config


def with_classes(path):
    """Adds to its problems half as many classes as right attempts."""
    rows = [json.loads(line) for line in (path / "problems.jsonl").read_text().splitlines()]
    files.rewrite(path / "problems.jsonl", [row | {"classes": row["right"] // 2} for row in rows])


@pytest.fixture
def sweep(tmp_path):
    """GRPO with seeds 0 to 2, one control that is 0.1 better, and one that is the same, of two seeds."""
    rng = np.random.default_rng(0)
    chance = rng.uniform(0, 0.9, 200)
    folder = tmp_path / "study"
    for control, up, seeds in (("grpo", 0.0, 3), ("kl_cov", 0.1, 3), ("nsr,positive=0.1", 0.0, 2)):
        for seed in range(seeds):
            make_run(folder, control, seed, rng.binomial(16, chance + up), ms=(100, 50 + 300 * up))
    return folder


def test_a_table_by_hand(tmp_path):
    """Two seeds, four problems of two levels, four attempts each."""
    runs = tmp_path / "runs"
    make_run(runs, "grpo", 0, [4, 0, 2, 0], n=4, distinct=[3, 0, 2, 0])
    make_run(runs, "grpo", 1, [4, 1, 0, 0], n=4, base=0.1)
    make_run(runs, "other", 0, [4, 4, 2, 0], n=4, ms=(200, 100))
    make_run(runs, "other", 1, [4, 3, 0, 4], n=4)
    out = compare.run(get(runs), tmp_path / "out")
    assert (out["task"], out["step"], out["attempts"], out["k"]) == ("countdown", 20, 4, 4)
    assert out["problems"] == {"3": 2, "4": 2}
    grpo, other = out["controls"]["grpo"], out["controls"]["other"]
    want = {
        "pass@1": (6 / 16 + 5 / 16) / 2,
        "pass@4": (2 / 4 + 2 / 4) / 2,  # as k = n: the share of problems that were solved at all
        "distinct": (5 / 4 + 3 / 4) / 2,
        "coverage/level3": (1 + 1 / 2) / 2,
        "coverage/level4": (0 + 1 / 2) / 2,
        "peak": (0.6 + 0.7) / 2,
        "area": (0.475 + 0.575) / 2,  # (0.2 + 0.6) / 2 and (0.6 + 0.5) / 2 over halves
        "entropy": (1 / 19 + 1 / 20) / 2,  # the last two of 20 steps
        "ms": 150.0,  # without the first, which compiles
        "cost": 1.0,
    }
    assert grpo.keys() == {"seeds", "by_seed", *want}
    for key, value in want.items():
        np.testing.assert_allclose(grpo[key], value, err_msg=key)
    assert grpo["seeds"] == [0, 1] and grpo["by_seed"]["1"]["pass@1"] == 5 / 16
    np.testing.assert_allclose(other["cost"], (300 + 150) / 2 / 150)
    assert other["difference"].keys() == {"seeds", "pass@1", "pass@4", "distinct", "coverage/level4"}
    np.testing.assert_allclose(other["difference"]["pass@1"]["value"], (10 + 11 - 6 - 5) / 32)
    np.testing.assert_allclose(other["difference"]["coverage/level4"]["value"], (1 + 2 - 0 - 1) / 4)
    assert other["difference"]["pass@1"]["problems"] == 4 and other["difference"]["coverage/level4"]["problems"] == 2


def test_further_columns_by_hand(tmp_path):
    """Four attempts at problems of levels 3 4 3 4. Mutation: the level not looked at."""
    runs = tmp_path / "runs"
    for control, right in (("grpo", [4, 0, 2, 0]), ("other", [4, 4, 2, 1])):
        with_classes(make_run(runs, control, 0, right, n=4))
    more = ("pass@2", "pass@2/level3", "pass@1/level4", "classes", "classes/level4", "distinct/level4", "coverage")
    more += ("time/rollout",)
    out = compare.run(get(runs, more=more), tmp_path / "out")
    other = out["controls"]["other"]
    want = [(1 + 1 + 5 / 6 + 1 / 2) / 4, 11 / 12, 5 / 8, 5 / 4, 1, 3 / 2, 1, 0.1]
    np.testing.assert_allclose([other[key] for key in more], want)
    assert other["difference"]["classes/level4"]["value"] == 1 and out["more"] == list(more)
    assert other["difference"]["classes/level4"]["problems"] == 2
    assert (
        other["difference"]["time/rollout"]["problems"] == 1 and abs(other["difference"]["time/rollout"]["value"]) == 0
    )
    assert "| pass@2, level 3 |" in (tmp_path / "out" / "table.md").read_text()


def test_what_came_after_a_gate_by_hand(tmp_path):
    """Entropy 1 / (i + 1) is first below .22 at step 4, where pass@1 is .2 + .4 x .4; the last step, 19, has .51. Not
    below .05 at any step. Mutations: `<=` the gate; the last step below it."""
    make_run(tmp_path / "runs", "grpo", 0, [4, 0], n=4)
    out = compare.run(get(tmp_path / "runs", more=("after/0.22", "after/0.2", "after/0.05")), tmp_path / "out")
    row = out["controls"]["grpo"]["by_seed"]["0"]
    assert row["after/0.22"] == pytest.approx(0.51 - 0.36)
    assert row["after/0.2"] == pytest.approx(0.51 - 0.40)
    assert row["after/0.05"] == 0


def test_columns_of_the_course_and_of_retries_by_hand(tmp_path):
    """Mutations: the first step for the first tenth; another run's retries; a key that some runs lack is refused."""
    runs = tmp_path / "runs"
    for i, control in enumerate(("grpo", "other")):
        path = make_run(runs, control, 0, [4, 0, 2, 0], n=4)
        rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        files.rewrite(path / "metrics.jsonl", [row | {"refine/x": float(row["step"] * (1 + i))} for row in rows])
    retries = runs / "retries,other,seed=0"
    retries.mkdir()
    (retries / "scores.json").write_text(json.dumps({"repaired": {"no critique": [0.25, 0.2, 0.3]}}))
    more = ("refine/x", "refine/x:first", "refine/x:rise", "refine/x:mean", "retries/no critique")
    out = compare.run(get(runs, more=more), tmp_path / "out")
    grpo, other = out["controls"]["grpo"], out["controls"]["other"]
    np.testing.assert_allclose([grpo[key] for key in more], [18.5, 0.5, 18, 9.5, np.nan])
    np.testing.assert_allclose([other[key] for key in more], [37, 1, 36, 19, 0.25])
    assert other["difference"]["refine/x:rise"]["value"] == 18 and other["difference"]["retries/no critique"] is None
    assert not any("retries" in note for note in out["notes"])
    (retries / "scores.json").write_text("{}")
    with pytest.raises(InputError, match="has no repaired attempts: remove .*retries,other,seed=0"):
        compare.run(get(runs, more=more), tmp_path / "out")


def test_a_planted_difference_is_found(sweep, tmp_path, capsys):
    out = compare.run(get(sweep, draws=1000), tmp_path / "new" / "out")
    better, same = (out["controls"][c]["difference"] for c in ("kl_cov", "nsr,positive=0.1"))
    d = better["pass@1"]
    assert d["low"] < 0.1 < d["high"] and 0.05 < d["low"] and d["seeds_resampled"]
    assert better["seeds"] == [0, 1, 2] and same["seeds"] == [0, 1]
    assert all(same[key]["low"] < 0 < same[key]["high"] for key in ("pass@1", "pass@16", "distinct"))
    assert list(out["controls"]) == ["grpo", "kl_cov", "nsr,positive=0.1"]
    np.testing.assert_allclose(out["controls"]["kl_cov"]["cost"], 180 / 150)
    folder = tmp_path / "new" / "out"
    assert json.loads((folder / "table.json").read_text()) == out
    assert sorted(p.name for p in folder.iterdir()) == ["table.json", "table.md"]  # no temporary file stays
    text = (folder / "table.md").read_text()
    assert capsys.readouterr().out.startswith(text)
    assert tables.signed(-0.0004) == "+0.000" and tables.signed(-0.0006) == "-0.001"
    for said in (
        "| control | seeds | pass@1 | peak | area | pass@16 | distinct | coverage, level 3 | coverage, level 4 | ",
        " | entropy | ms a step | cost |",
        f"| kl_cov | 0, 1, 2 | {d['value']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}] |",
        "Differences to grpo, 90% intervals:",
        "countdown after 20 steps: 100 of level 3, 100 of level 4, 16 attempts at each.",
        "of these 8 about 1 miss the truth",
        "Runs of commit c0ffee on cpu.",
        "- nsr,positive=0.1: without a finished run of seed 2, which grpo has; it is not in the differences",
    ):
        assert said in text, said
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert [len(t) for t in blocks] == [5, 4]
    assert all(len({line.count("|") for line in t}) == 1 for t in blocks), "as many cells in every line"


def test_every_knob_is_used(sweep, tmp_path):
    def span(**changes):
        out = compare.run(get(sweep, **changes), tmp_path)
        d = out["controls"]["kl_cov"]["difference"]["pass@1"]
        return d["low"], d["high"]

    assert span() == span()
    assert span(level=0.5)[1] < span()[1]
    assert span(draws=300) != span() != span(seed=1)
    alone = span(level=0.95, draws=2 * get(sweep).draws)
    assert span(together=True) == alone  # of two arms
    assert "together for the 2 of a column (Bonferroni, each at 95.00%)." in (tmp_path / "table.md").read_text()
    other = compare.run(get(sweep, baseline="kl_cov", k=4), tmp_path)["controls"]
    assert other["grpo"]["difference"]["pass@4"]["value"] < 0 and other["kl_cov"]["cost"] == 1


def test_an_interval_does_not_depend_on_what_else_is_there(sweep, tmp_path):
    one = compare.run(get(sweep), tmp_path)["controls"]["kl_cov"]
    make_run(sweep, "aaa", 0, np.full(200, 3))
    assert compare.run(get(sweep), tmp_path)["controls"]["kl_cov"] == one


def test_the_order_of_rows_does_not_matter(sweep, tmp_path):
    """Mutation: rows as they come, which would pair different problems."""
    one = compare.run(get(sweep), tmp_path)
    path = sweep / "kl_cov,seed=1" / "problems.jsonl"
    rows, _ = files.read(path)
    files.rewrite(path, rows[::-1])
    assert compare.run(get(sweep), tmp_path) == one


def test_a_single_seed_is_said(tmp_path):
    for control in ("grpo", "other"):
        make_run(tmp_path / "runs", control, 7, [3, 4, 5, 6])
    out = compare.run(get(tmp_path / "runs"), tmp_path / "out")
    assert not out["controls"]["other"]["difference"]["pass@1"]["seeds_resampled"]
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| other | 7 (problems only) | +0.000 [" in text
    assert "a single seed, so the interval says nothing about other seeds" in text


def test_a_baseline_alone_and_few_attempts(tmp_path):
    """One level, one attempt: pass@16 becomes pass@1, once."""
    make_run(tmp_path / "runs", "grpo", 0, [1, 0, 1, 1], n=1, levels=(4,))
    out = compare.run(get(tmp_path / "runs"), tmp_path / "out")
    assert out["k"] == 1 and out["controls"]["grpo"]["pass@1"] == 0.75
    text = (tmp_path / "out" / "table.md").read_text()
    assert "Differences" not in text and text.splitlines()[0].count("pass@1 ") == 1


def test_what_is_missing_is_named(sweep, tmp_path):
    """Not started, killed in training, killed in the last evaluation, another folder, a seed that only one has."""
    (sweep / "sft").mkdir()
    (sweep / "steer,seed=0").mkdir()
    (make_run(sweep, "gspo", 0, [1] * 200) / "problems.jsonl").write_text("")
    torn = make_run(sweep, "gspo", 1, [1] * 200) / "problems.jsonl"
    torn.write_text(torn.read_text()[:-10])
    make_run(sweep, "gspo", 3, [1] * 200)
    make_run(sweep, "aaa", 3, [1] * 200)
    off = make_run(sweep, "ppo", 0, [1] * 200, problems=0)
    assert json.loads((off / "config.json").read_text())["config"]["eval"]["last"] == {"problems": 0}
    out = compare.run(get(sweep), tmp_path)
    assert out["notes"] == [
        "sft: not compared, as the name is not <control>,seed=<k>",
        "gspo,seed=0: not finished, 20 of 20 steps and 0 of 200 problems of the last evaluation",
        f"{torn}: line 200 is broken and left out",
        "gspo,seed=1: not finished, 20 of 20 steps and 199 of 200 problems of the last evaluation",
        "ppo,seed=0: left out, as it ran without a last evaluation (config.eval.last.problems)",
        "steer,seed=0: not started",
        "aaa, gspo: without a finished run of seed 0, 1, 2, which grpo has; it is not in the differences",
        "aaa, gspo: with a seed that grpo has not, 3; it is not in the differences",
        "nsr,positive=0.1: without a finished run of seed 2, which grpo has; it is not in the differences",
    ]
    text = (tmp_path / "table.md").read_text()
    assert all(f"- {note}" in text for note in out["notes"])
    assert out["controls"]["gspo"]["seeds"] == [3] and "difference" not in out["controls"]["gspo"]


def rewritten(path, **changes):
    rows, _ = files.read(path)
    files.rewrite(path, [{k: v for k, v in (row | changes).items() if v is not None} for row in rows])


def spoil_config(sweep):
    (sweep / "grpo,seed=1" / "config.json").write_text("{")


def other_problem(sweep):
    path = sweep / "kl_cov,seed=2" / "problems.jsonl"
    rows, _ = files.read(path)
    files.rewrite(path, [*rows[:-1], rows[-1] | {"id": "countdown/test/999"}])


def twice(sweep):
    path = sweep / "kl_cov,seed=2" / "problems.jsonl"
    rows, _ = files.read(path)
    files.rewrite(path, [*rows, rows[0]])


def other_seed(sweep):
    (sweep / "grpo,seed=2").rename(sweep / "grpo,seed=5")


def unfinish(sweep):
    for seed in range(3):
        (sweep / f"grpo,seed={seed}" / "problems.jsonl").write_text("")


@pytest.mark.parametrize(
    "spoil, message",
    [
        (spoil_config, r"grpo,seed=1/config\.json is not that of a run"),
        (
            other_problem,
            "cannot be compared: they have different problems, as only the first has countdown/test/199 of level 4",
        ),
        (twice, "kl_cov,seed=2: problems.jsonl is not one evaluation of different problems"),
        (other_seed, "grpo,seed=5 ran with seed 2, as its config.json says"),
        (lambda s: make_run(s, "grpo", "01", [1] * 200), "grpo,seed=1 has the seed of grpo,seed=01: remove one"),
        (lambda s: make_run(s, "x", 0, [1] * 100), "their number of problems is 200 and 100"),
        (lambda s: make_run(s, "x", 0, [1] * 200, n=8), "their number of attempts a problem is 16 and 8"),
        (lambda s: make_run(s, "x", 0, [1] * 200, step=30), "their last step is 20 and 30"),
        (
            lambda s: rewritten(s / "kl_cov,seed=0" / "problems.jsonl", task="math"),
            "kl_cov,seed=0: no row holds 'math/pass@1'",
        ),
        (lambda s: rewritten(s / "kl_cov,seed=0" / "problems.jsonl", right=None), "has a row without 'right'"),
        (lambda s: rewritten(s / "kl_cov,seed=0" / "problems.jsonl", step=None), "has a row without 'step'"),
        (
            lambda s: rewritten(s / "kl_cov,seed=0" / "metrics.jsonl", **{"time/learn": None}),
            "kl_cov,seed=0: no row holds 'time/learn'",
        ),
        (
            unfinish,
            r"no finished run of baseline 'grpo': of .*kl_cov.* there are \(grpo,seed=0: not finished, 20 of 20",
        ),
    ],
)
def test_what_is_wrong_is_one_line(sweep, tmp_path, spoil, message):
    spoil(sweep)
    with pytest.raises(InputError, match=message) as e:
        compare.run(get(sweep), tmp_path / "out")
    assert "\n" not in str(e.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"runs": None}, "no runs given: add --config.runs=FOLDER"),
        ({"runs": "/nonexistent"}, "no folder /nonexistent"),
        ({"baseline": "grop"}, r"no finished run of baseline 'grop' \(did you mean 'grpo'\?\): of grpo, kl_cov, nsr"),
        ({"k": 0}, r"config\.k=0: must be a number above 0"),
        ({"seed": -1}, r"config\.seed=-1"),
        ({"level": 2.0}, "level 2: give a share between 0 and 1"),
        ({"more": ("pass@0",)}, r"config\.more has 'pass@0': give pass@<k>, coverage"),
        ({"more": ("pass@17",)}, "pass@17 needs at least 17 samples"),
        ({"more": ("coverage/level7",)}, "'coverage/level7', and no problem has that level"),
        ({"more": ("classes",)}, "problems.jsonl has no classes: leave 'classes' out of config.more"),
        ({"draws": 3}, "3 bootstrap draws: give at least 100"),
    ],
)
def test_bad_values_are_one_line(sweep, tmp_path, changes, message):
    with pytest.raises(InputError, match=message) as e:
        compare.run(get(sweep, **changes), tmp_path / "out")
    assert "\n" not in str(e.value)


def test_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match="no runs in .*: it needs folders with names such as grpo,seed=0"):
        compare.run(get(tmp_path), tmp_path / "out")


def test_the_command(sweep, tmp_path):
    out, config = tmp_path / "out", "--config=configs/compare.py:smoke"
    command = [sys.executable, "-m", "experiments.compare", config, f"--config.runs={sweep}", f"--workdir={out}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == (out / "table.md").read_text() + f"\nwrote {out / 'table.json'} and {out / 'table.md'}\n"
    command[-2] = "--config.runs=/nonexistent"
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: no folder /nonexistent") and not done.stdout
