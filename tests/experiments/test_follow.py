import os
import runpy
from pathlib import Path

import numpy as np
import pytest

from entropy_rl.errors import InputError
from experiments import fit_laws
from experiments.lib import follow

CONFIG = Path(__file__).parents[2] / "configs/laws/fit.py"
H = np.geomspace(0.9, 0.05, 40)
R = 0.9 - 0.3 * np.exp(H)


@pytest.fixture
def config():
    config = runpy.run_path(str(CONFIG))["get_config"]("smoke")
    config.shares, config.poll = (), 0.02
    return config


def rows(n, first=0):
    return "".join(f"{i},{H[i]},{R[i]}\n" for i in range(first, n))


def test_the_watch_survives_what_happens_to_files(tmp_path, monkeypatch):
    """Not there, empty, growing, replaced, cut to nothing, gone; each evaluation is shown once."""
    path, shown, said = tmp_path / "log.csv", [], []
    steps = iter([
        lambda: path.write_text(""),
        lambda: path.write_text("3"),
        lambda: path.write_text("5"),
        lambda: os.utime(path, ns=(1, 1)),  # touched, nothing new
        lambda: (path.with_suffix(".new").write_text("5 "), path.with_suffix(".new").replace(path)),
        lambda: path.write_text(""),
        lambda: path.unlink(),
        lambda: path.write_text("7"),
    ])  # fmt: skip

    def read():
        text = path.read_text().strip() if path.exists() else ""
        if not text:
            raise InputError("no rows in it")
        return int(text)

    real = follow.stamp

    def stamp(logs):
        next(steps, lambda: None)()
        return real(logs)

    monkeypatch.setattr(follow, "stamp", stamp)
    monkeypatch.setattr(follow, "READING", 1e9)
    show = lambda n: shown.append(n) or n < 7  # noqa: E731
    follow.follow(str(path), read, lambda n: n, show, poll=0.001, until=60.0, say=said.append)
    assert shown == [3, 5, 7] and set(said) == {"waiting: no rows in it"}


def test_between_evaluations_only_names_and_times_are_looked_at(tmp_path, monkeypatch):
    """Mutation: reading at every look."""
    path, reads = tmp_path / "log.csv", []
    path.write_text("x")
    looks = []
    real = follow.stamp

    def stamp(logs):
        looks.append(1)
        return real(logs)

    monkeypatch.setattr(follow, "stamp", stamp)
    follow.follow(str(path), lambda: reads.append(1) or 1, lambda n: n, lambda n: True, poll=0.001, until=0.2)
    assert len(reads) == 1 and len(looks) > 1


def test_a_line_an_evaluation(config, tmp_path, monkeypatch, capsys):
    path = tmp_path / "log.csv"
    config.logs, config.follow, config.horizon = str(path), True, 80.0
    config.fail_on, config.stop_left, config.follow_for = "spent", 0.02, 100.0
    sizes, real = iter((0, 6, 39, 40)), follow.stamp

    def grow(logs):
        if n := next(sizes, None):
            path.write_text("step,entropy,accuracy\n" + rows(n))
        return real(logs)

    monkeypatch.setattr(follow, "stamp", grow)
    monkeypatch.setattr(follow, "READING", 1e9)
    config.stop_left = 0.03
    with pytest.raises(SystemExit) as ended:
        fit_laws.run(config, tmp_path / "out")
    assert ended.value.code == 3
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in printed] == ["waiting", "waiting", "step 38", "status 3"]
    assert "no such file" in printed[0] and "6 point(s)" in printed[1]
    for said in ("H 0.05", "ceiling 0.6", "by exp", "by a line", "at step 80", "SPENT"):
        assert said in printed[2]
    assert printed[-1] == "status 3: spent in log"


def test_fail_on_and_what_law_json_says(config, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,entropy,accuracy\n" + rows(40))
    config.logs, config.stop_left, config.fail_on = str(path), 0.5, "collapse"
    law = fit_laws.run(config, tmp_path / "out")
    (run,) = law["runs"]
    assert run | {"step": 0, "warnings": 0} == {
        "name": "log", "entropy": "entropy", "score": "accuracy", "estimator": "unknown", "unit": "fraction",
        "trainer": None, "held_out": False, "n": 40, "step": 0, "warnings": 0,
    }  # fmt: skip
    assert run["step"] == {"min": 0, "max": 39} and [alarm["name"] for alarm in law["alarms"]] == ["spent"]
    config.fail_on = "collapse, spent"
    with pytest.raises(SystemExit) as ended:
        fit_laws.run(config, tmp_path / "out")
    assert ended.value.code == 3 and "ALARM spent" in (tmp_path / "out/law.md").read_text()
    config.fail_on = "colapse"
    with pytest.raises(InputError, match="unknown alarm 'colapse'.*did you mean 'collapse'"):
        fit_laws.run(config, tmp_path / "out")


def test_tries_are_not_counted_as_runs(config, tmp_path, capsys):
    path = tmp_path / "log.csv"
    path.write_text("step,entropy,accuracy\n" + rows(12) + rows(40) + rows(9))
    config.logs, config.show_columns = str(path), True
    law = fit_laws.run(config, tmp_path / "out")
    assert [(run["name"], run["n"]) for run in law["runs"]] == [(f"log (try {i + 1} of 3)", n) for i, n in
                                                                enumerate((12, 40, 9))]  # fmt: skip
    assert law["n"] == 40 and "agreement" not in law and "runs" not in law["interval"]
    printed = capsys.readouterr().out
    assert "entropy, choice 1" in printed and "not counted as independent runs" in printed
