"""experiments/bench_peers.py with workers that only say what they took, and this project's own one."""

import json
import sys
import textwrap

import jax
import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.models import hf
from experiments import bench_peers
from experiments.hardware import bench_work
from experiments.hardware.peers import pace
from experiments.lib import launch

FAKE = """
import json, sys
name, start, dies = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
def say(about):
    print(json.dumps(about), flush=True)
say({"ready": {name: "1.0"}, "parameters": 7, "gflop": 4.0, "logp": -3.0 + (name == "impostor")})
n = 0
for line in sys.stdin:
    print(name, line.strip(), file=open(sys.argv[4], "a"))
    if line.strip() == "peak":
        say({"wall_s": 0.1, "cpu_s": 0.2})
        continue
    n += 1
    if n == dies:
        sys.exit("out of luck")
    say({"wall_s": start / 2, "cpu_s": start + n})
"""


def compare(tmp_path, *workers, repeats=3):
    script, order = tmp_path / "fake.py", tmp_path / "order.txt"
    script.write_text(textwrap.dedent(FAKE))
    commands = {
        name: [sys.executable, str(script), name, str(start), str(dies), str(order), "spec"]
        for name, start, dies in workers
    }
    made = bench_peers.compare(commands, repeats, tmp_path)
    return made, order.read_text().splitlines()


def test_steps_take_turns_and_ratios_are_of_one_round(tmp_path):
    """First steps and second ones apart. Mutations: all of one worker's steps first, a ratio of medians."""
    made, order = compare(tmp_path, ("entropy_rl", 0, 0), ("other", 10, 0))
    assert order == [
        *("entropy_rl step", "other step", "entropy_rl step", "other step"),
        *("entropy_rl peak", "entropy_rl step", "other step") * 3,
    ]
    own, other = made["rows"]["entropy_rl"], made["rows"]["other"]
    assert (own["first_cpu_s"], own["cpu_s"], own["ratio"]) == (1, 4, 1)  # 3, 4, 5 after the first two
    assert (other["first_cpu_s"], other["cpu_s"], other["wall_s"]) == (11, 14, 5)
    assert other["ratio"] == 14 / 4 and other["cpu_s_quartiles"] == [13.5, 14.5]
    peak = 4 * 2 * 1024**3 / 0.2
    assert made["bound_cpu_s"] == pytest.approx(4e9 / peak)
    assert other["of_bound"] == pytest.approx(14 / (4e9 / peak))


def test_a_worker_that_dies_is_named_and_the_others_go_on(tmp_path):
    made, _ = compare(tmp_path, ("entropy_rl", 0, 0), ("other", 10, 4))
    assert made["rows"]["other"] == {"failed": "out of luck"} and made["rows"]["entropy_rl"]["cpu_s"] == 4
    text = bench_peers.table({"machine": "m", "repeats": 3, "commit": None, "sizes": {"small": made}})
    assert "other       failed: out of luck" in text and "entropy_rl     4.000" in text


def test_a_worker_that_is_killed_says_by_what(tmp_path):
    """A worker that ran out of memory left a warning as its last line. Mutation: the last line alone."""
    dies = "import os, sys; print('a warning', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)"
    worker = bench_peers.Worker("other", [sys.executable, "-c", dies], tmp_path)
    worker.close()
    assert worker.failed == "ended by SIGKILL, for want of memory perhaps, after: a warning"


def test_a_worker_with_another_model_is_named(tmp_path):
    made, _ = compare(tmp_path, ("entropy_rl", 0, 0), ("impostor", 10, 0))
    assert made["rows"]["impostor"] == {
        "failed": "its log-probability of the prompts is -2.00000 a token and not -3.00000"
    }


def test_this_project_in_a_process_of_its_own(tmp_path, capsys):
    """A folder is written, loaded and trained on; entropies are recorded."""
    result = bench_peers.run(launch.load_config("configs/bench_peers.py:smoke"), tmp_path)
    assert json.loads((tmp_path / "bench_peers.json").read_text()) == result
    row = result["sizes"]["tiny"]["rows"]["entropy_rl"]
    assert row["ratio"] == 1 and row["cpu_s"] > 0 and row["parameters"] > 1000
    assert "entropy_rl" in capsys.readouterr().out


def test_the_weights_of_a_folder(tmp_path):
    """They are those of the folder, under words of the benchmark. Mutation: random ones."""
    config = launch.load_config("configs/bench_peers.py:smoke")
    model, params, _ = bench_work.policy(config.sizes.tiny, 7)
    hf.save(tmp_path / "own", model, params)
    config.sizes.tiny.folder = str(tmp_path / "own")
    spec = json.loads(bench_peers.write_spec(config.sizes.tiny, config, tmp_path).read_text())
    jax.tree.map(np.testing.assert_array_equal, hf.load(spec["folder"])[1], params)
    assert "t63" in (tmp_path / "model" / "tokenizer.json").read_text()
    config.sizes.tiny.folder = "nowhere"
    with pytest.raises(InputError, match="nowhere is not there: make smollm2 makes it"):
        bench_peers.run(config, tmp_path / "x")


def test_an_environment_that_is_not_there(tmp_path):
    config = launch.load_config("configs/bench_peers.py:smoke")
    config.peers = ("nobody",)
    with pytest.raises(InputError, match=r"\.venv-nobody/bin/python is not there: make bench-peers"):
        bench_peers.run(config, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_step_that_goes_on_in_the_background_counts_whole(monkeypatch):
    """Until it is quiet, without the quiet itself. Mutation: the time at which the next one is asked for."""
    now, said = [0.0], []
    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(pace.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(pace, "used", lambda: 2 * min(now[0], 1.0))  # two threads, for a second
    monkeypatch.setattr(pace, "answer", said.append)
    clock = pace.Clock()
    now[0] = 0.3
    clock.settle()
    assert said[0]["cpu_s"] == pytest.approx(2.0) and said[0]["wall_s"] == pytest.approx(1.0, abs=2 * pace.POLL)
