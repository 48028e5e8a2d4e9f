"""experiments/lib/progress.py: a bar on a terminal, few lines in a log."""

import io
import sys

import pytest

from experiments.lib import progress as module
from experiments.lib.progress import progress


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_few_lines_with_the_time_left(clock, capsys):
    with progress(100, desc="rl") as bar:
        for n in range(100):
            clock.now += 0.5
            bar.note({"reward": 0.123456, "n": n})
            bar.update()
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and "\r" not in err
    assert len(lines) == 5  # 50 s
    assert lines[0] == "rl 20/100, 00:10, 00:40 left, 2.00/s, reward 0.1235, n 19"
    assert lines[-1] == "rl 100/100, 00:50, 2.00/s, reward 0.1235, n 99"


def test_time_left_counts_from_where_the_run_went_on(clock, capsys):
    with progress(100, initial=90) as bar:
        clock.now += 20
        bar.update(5)
    assert capsys.readouterr().err.splitlines() == ["95/100, 00:20, 00:20 left, 4.00 s each"]


def test_a_short_run_ends_with_one_line(clock, capsys):
    with progress(3) as bar:
        bar.update(3)
    assert capsys.readouterr().err == "3/3, 00:00\n"


def test_nothing_done_nothing_said(capsys):
    with progress(3):
        pass
    assert capsys.readouterr().err == ""


def test_a_failing_run_says_how_far_it_came(clock, capsys):
    with pytest.raises(KeyboardInterrupt):
        with progress(10) as bar:
            clock.now += 1
            bar.update(4)
            raise KeyboardInterrupt
    assert capsys.readouterr().err.startswith("4/10, 00:01")


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress(10, initial=4, desc="sft") as bar:
        bar.note({"loss": 1.5})
        bar.update(6)
    text = sys.stderr.getvalue()
    assert "sft" in text and "10/10" in text and "loss 1.5" in text and "\r" in text
