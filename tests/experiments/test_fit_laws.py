import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from entropy_rl.errors import InputError
from experiments import fit_laws

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs/laws/fit.py"
get_config = runpy.run_path(str(CONFIG))["get_config"]


@pytest.fixture
def logs(tmp_path):
    """A run of 60 evaluations on R = 1.8 - 1.2 exp(H) with noise 0.01."""
    folder = tmp_path / "run"
    folder.mkdir()
    H = np.geomspace(0.3, 0.03, 60)
    R = 1.8 - 1.2 * np.exp(H) + 0.01 * np.random.default_rng(0).standard_normal(60)
    metrics = [{"step": 5 * i, "policy/entropy_sequence": h, "policy/entropy": h / 2} for i, h in enumerate(H)]
    evals = [{"step": 5 * i, "task": "countdown", "metric": "pass@1", "value": r, "n": 8} for i, r in enumerate(R)]
    evals += [row | {"metric": "pass@8", "value": row["value"] + 0.1} for row in evals]
    for name, rows in (("metrics.jsonl", metrics), ("evals.jsonl", evals)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def config(logs):
    config = get_config("smoke")
    config.logs = str(logs)
    return config


def test_law_json_and_png(config, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    law = fit_laws.run(config, out)
    assert json.loads((out / "law.json").read_text()) == law
    assert (out / "law.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in out.iterdir()) == ["law.json", "law.md", "law.png"]  # no temporary file stays
    assert {"n", "H", "curves", "ceiling", "interval", "verdict"} <= set(law)
    assert law["n"] == 60 and law["score"] == "eval/countdown/pass@1" and law["unit"] == "fraction"
    assert law["curves"]["exp"]["a"] == pytest.approx(1.2, abs=0.1)
    low, high = law["interval"]["ceiling"]
    assert low < 0.6 < high and high - low < 0.05
    printed = capsys.readouterr().out
    for said in ("exp ", "linear ", "R2", "held-out", "90% intervals", law["verdict"], law["source"], "20%, pure"):
        assert said in printed
    page = (out / "law.md").read_text()
    for said in (law["source"], law["verdict"][1:], "law.png", "is spent", "At 1/12 of the run", "20%, given entropy"):
        assert said in page


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("logs", None, "no logs given"),
        ("min_points", 2, "config.min_points is 2"),
        ("seed", -1, "config.seed=-1: must be"),
        ("stop_left", -0.1, "config.stop_left=-0.1: must be"),
        ("follow_for", float("nan"), "config.follow_for=nan: must be"),
        ("size_at", 1e9, "config.size_at needs the parameters of each run: add --config.sizes="),
    ],
)
def test_a_bad_value_is_named_before_logs_are_read(key, value, message, tmp_path):
    """Mutation: `_check` left out."""
    config = get_config()
    config.logs = str(tmp_path / "none")
    config[key] = value
    with pytest.raises(InputError, match=message):
        fit_laws.run(config, tmp_path)


@pytest.mark.slow
def test_every_knob_is_read(config, tmp_path):
    base = fit_laws.run(config, tmp_path)

    def other(**changes):
        changed = config.copy_and_resolve_references()
        changed.update(changes)
        return fit_laws.run(changed, tmp_path)

    assert other() == base
    assert other(entropy="policy/entropy")["H"]["max"] == pytest.approx(0.15)
    assert other(score="eval/countdown/pass@8")["ceiling"] == pytest.approx(base["ceiling"] + 0.1)
    with pytest.raises(InputError, match="no column 'nope' for step"):
        other(step="nope")
    assert other(level=0.5)["interval"]["a"][0] > base["interval"]["a"][0]
    assert other(draws=300)["interval"] != base["interval"]
    assert other(seed=1)["interval"] != base["interval"]
    with pytest.raises(InputError, match="60 point.*61 needed"):
        other(min_points=61)
    assert other(shares=(0.5,))["forecast"]["summary"][0]["share"] == 0.5 and other(shares=())["forecast"] == {}
    ahead = other(horizon=600.0)["ahead"]
    assert ahead["at"] == 600 and ahead["entropy"] < 0.03 and ahead["interval"][0] < 0.6 < ahead["interval"][1]
    assert other(nonnegative=True)["curves"]["exp"] == base["curves"]["exp"]  # a is positive anyway
    assert other(weight="policy/entropy")["curves"]["exp"]["a"] != base["curves"]["exp"]["a"]
    by_compute = other(compute="policy/entropy")["curves"]
    assert by_compute["sigmoid"]["shape"] != base["curves"]["sigmoid"]["shape"]


@pytest.fixture
def family(tmp_path):
    """A csv with three runs whose a grows with size, and one whose reward falls."""
    rng = np.random.default_rng(0)
    lines = ["model,step,entropy,accuracy"]
    for name, a in (("1B", 0.1), ("3B", 0.2), ("9B", 0.3), ("odd", -0.3)):
        H = np.geomspace(0.9, 0.03, 40)
        R = 0.8 - a * np.exp(H) + 0.003 * rng.standard_normal(40)
        lines += [f"{name},{i},{h:.6f},{r:.6f}" for i, (h, r) in enumerate(zip(H, R))]
    (tmp_path / "family.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "family.csv"


def test_several_runs(config, family, tmp_path, capsys):
    config.logs, config.run = str(family), "model"
    law = fit_laws.run(config, tmp_path / "out")
    runs = {one["name"]: one for one in law["runs"]}
    assert list(runs) == ["1B", "3B", "9B", "odd"] and law["n"] == 160
    assert "1 of 4 runs allow no law (odd)" in law["verdict"] and "do not share one curve" in law["verdict"]
    assert runs["3B"]["curves"]["exp"]["a"] == pytest.approx(0.2, abs=0.02)
    assert "no law is forced" in runs["odd"]["verdict"]
    assert law["forecast"]["summary"][0]["runs"] + law["forecast"]["summary"][0]["impossible"] == 4
    page, printed = (tmp_path / "out/law.md").read_text(), capsys.readouterr().out
    assert "over 4 runs" in page and page.index("Run by run") < page.index("One fit to all")
    assert "\n3B " in printed and "allow no law" in printed


def test_groups(config, family, tmp_path, capsys):
    """Three seeds a model: a law for each model, over seeds. Mutation: groups of one run each."""
    rng, lines = np.random.default_rng(1), ["model,seed,step,entropy,accuracy"]
    H = np.geomspace(0.9, 0.03, 40)
    for name, a in (("small", 0.1), ("large", 0.2)):
        for seed in range(3):
            R = 0.8 - a * np.exp(H) + 0.003 * rng.standard_normal(40)
            lines += [f"{name},{seed},{i},{h:.6f},{r:.6f}" for i, (h, r) in enumerate(zip(H, R))]
    family.write_text("\n".join(lines) + "\n")
    config.logs, config.run, config.group, config.shares = str(family), "seed", "model", ()
    law = fit_laws.run(config, tmp_path / "out")
    assert [(one["name"], one["runs"]) for one in law["groups"]] == [
        (name, [f"{name}, {seed}" for seed in range(3)]) for name in ("small", "large")
    ]
    for one, a in zip(law["groups"], (0.1, 0.2)):
        assert one["ceiling"] == pytest.approx(0.8 - a, abs=3e-3) and one["interval"]["runs"] == 3
        assert one["share_p"] > 0.01
    for text in (capsys.readouterr().out, (tmp_path / "out/law.md").read_text()):
        assert "several laws: groups do not share one curve" in text and "\nsmall  " in text
    config.group = "nope"
    with pytest.raises(InputError, match="no column 'nope' for run"):
        fit_laws.fit(config, tmp_path / "out")


def test_coefficients_against_size(config, family, tmp_path):
    family.write_text("".join(line for line in family.read_text().splitlines(True) if not line.startswith("odd")))
    config.logs, config.run, config.sizes, config.size_at = str(family), "model", "1B=1e9,3B=3e9,9B=9e9", 27e9
    law = fit_laws.fit(config, tmp_path / "out")
    assert law["scaling"]["a"]["slope"] == pytest.approx(0.1 / np.log(3), rel=0.1)
    assert law["scaling"]["a"]["at"]["value"] == pytest.approx(0.4, abs=0.03)
    assert "Coefficients against model size" in (tmp_path / "out/law.md").read_text()
    for sizes, message in (("1B=1e9", "nothing of run '3B'"), ("1B=big", "'1B=big'")):
        config.sizes = sizes
        with pytest.raises(InputError, match=message):
            fit_laws.fit(config, tmp_path / "out")


def test_the_longest_key_says_the_size():
    sizes = fit_laws._sizes("B=1,5B=2,0.5B=3", ["qwen-0.5B", "qwen-5B"])
    assert sizes == {"qwen-0.5B": 3, "qwen-5B": 2}


def test_a_run_that_cannot_be_used_is_said(config, logs, tmp_path):
    flat = tmp_path / "flat.csv"
    flat.write_text("step,entropy,reward\n" + "".join(f"{i},0.3,0.{i}\n" for i in range(9)))
    config.logs = f"{logs},{flat}"
    law = fit_laws.fit(config, tmp_path / "out")
    assert law["n"] == 60 and "constant" in law["skipped"][0] and "flat.csv" in law["skipped"][0]
    assert law["skipped"][0] in (tmp_path / "out/law.md").read_text()


def test_a_failed_run_leaves_the_old_law(config, logs, tmp_path):
    fit_laws.run(config, tmp_path / "out")
    before = (tmp_path / "out/law.json").read_bytes()
    (logs / "evals.jsonl").write_text("")
    (logs / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="no rows in it"):
        fit_laws.run(config, tmp_path / "out")
    assert (tmp_path / "out/law.json").read_bytes() == before


def test_workdir_that_is_a_file(config, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match="give another --workdir"):
        fit_laws.run(config, tmp_path / "out")


def test_variants():
    assert get_config().draws == 1000 and get_config("smoke").draws < 1000
    with pytest.raises(InputError, match="knows no variant 'smok'"):
        get_config("smok")


def command(*arguments):
    call = [sys.executable, "-m", "experiments.fit_laws", f"--config={CONFIG}", *arguments]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_command(logs, tmp_path):
    done = command(f"--config.logs={logs}", f"--workdir={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/law.json").exists() and "held-out" in done.stdout


def test_the_command_loads_no_jax(tmp_path):
    """Nor scipy.stats, whose import takes a second. Mutation: `import jax` anywhere that it reaches."""
    table = tmp_path / "run.csv"
    H = np.geomspace(0.3, 0.03, 60)
    table.write_text("step,entropy,reward\n" + "".join(f"{i},{h},{1.8 - 1.2 * np.exp(h)}\n" for i, h in enumerate(H)))
    call = [sys.executable, "-X", "importtime", "-m", "experiments.fit_laws", f"--config={CONFIG}:smoke"]
    call += [f"--config.logs={table}", f"--workdir={tmp_path / 'out'}"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"numpy", "matplotlib.figure"} <= imported
    assert not imported & {"jax", "jaxlib", "flax", "scipy.stats", "matplotlib.pyplot", "tensorflow"}


def test_command_with_a_bad_column_is_one_line_and_status_2(logs, tmp_path):
    done = command(f"--config.logs={logs}", "--config.entropy=policy/entropi", f"--workdir={tmp_path / 'out'}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "did you mean 'policy/entropy'" in done.stderr
    assert not (tmp_path / "out/law.json").exists()
