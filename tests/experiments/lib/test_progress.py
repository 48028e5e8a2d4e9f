"""experiments/lib/progress.py: a bar on a terminal, few lines in a log."""

import io
import sys

import jax
import pytest

from experiments.lib.progress import Progress, progress


class Clock:
    now = 100.0

    def time(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    init = Progress.__init__

    def with_clock(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self._time, self.start_t, self.last_print_t = clock.time, clock.now, clock.now

    monkeypatch.setattr(Progress, "__init__", with_clock)
    return clock


def test_few_lines_with_the_time_left(clock, capsys):
    """Mutation: tqdm's own interval, its carriage returns, or a refresh at each note."""
    with progress(100, desc="RL") as bar:
        for n in range(100):
            clock.now += 0.5
            bar.note({"entropy": 0.123456, "reward": float(n)})
            bar.update()
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and "\r" not in err and "|" not in err and all(lines)
    assert len(lines) == 7  # the start, 50 s, the end
    assert "20/100 [00:10<00:40," in lines[1] and "2.00it/s, entropy=0.123, reward=19" in lines[1]
    assert lines[1].startswith("RL:") and "100/100 [00:50<00:00," in lines[-1] and "reward=99" in lines[-1]


def test_time_left_counts_from_where_the_run_went_on(clock, capsys):
    """Mutation: no `initial`, or the steps before as done in this process."""
    with progress(100, 90) as bar:
        clock.now += 20
        bar.update(5)
    assert "95/100 [00:20<00:20," in capsys.readouterr().err.splitlines()[1]


def test_slow_steps_after_fast_ones_are_seen(clock, capsys):
    """Mutation: tqdm's `miniters`, which waits for as many steps as came in the interval before."""
    with progress(1000) as bar:
        for seconds in [0.1] * 200 + [20] * 3:
            clock.now += seconds
            bar.update()
    shown = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert shown[-4:] == ["201/1000", "202/1000", "203/1000", "203/1000"]


def test_a_failing_run_says_how_far_it_came(clock, capsys):
    with pytest.raises(KeyboardInterrupt):
        with progress(10) as bar:
            clock.now += 1
            bar.update(4)
            raise KeyboardInterrupt
    assert "4/10 [00:01<" in capsys.readouterr().err.splitlines()[-1]


def test_only_the_first_process_writes(monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with progress(3) as bar:
        bar.note({"loss": 1.5})
        bar.update(3)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress(10, 4, desc="SFT") as bar:
        bar.note({"loss": 1.5})
        bar.update(6)
    text = sys.stderr.getvalue()
    assert "SFT" in text and "10/10" in text and "loss=1.5" in text and "\r" in text
