import json

import numpy as np
import pytest

from entropy_rl.logs import consoles
from entropy_rl.logs import read as logs
from tests.logs.writing import H, N, R, one, refused, write

BEFORE = ["", "0: ", "[1,0]<stdout>:", "\x1b[36m(Trainer pid=7, ip=10.0.0.1)\x1b[0m ", "INFO 08-01 a.py:7] step {i}: "]


@pytest.mark.parametrize("before", [*BEFORE, "  3%|#  | 1/9 [00:01<00:08, 1.0it/s]"])
@pytest.mark.parametrize("number", ["{!r}", "np.float64({!r})", "'{!r}'", "tensor({!r}, device='cuda:0')"])
def test_objects_behind_what_others_print(tmp_path, before, number):
    """ray, slurm, mpi, clocks, bars; numbers plain, numpy's, texts (transformers 5) and torch's."""
    lines = ["[rank0] starting", "{'model': 'x', 'lr': 1e-6, 'path': 'y', 'flag': True}"]
    for i in range(N):
        h, r = (number.format(float(x)) for x in (H[i], R[i]))
        lines.append(f"{before.format(i=i)}{{'step': {i}, 'loss': nan, 'entropy': {h}, 'eval_reward': {r}}}")
    points = one(write(tmp_path / "log.out", lines))
    assert (points.format, points.entropy, points.score) == ("console", "entropy", "eval_reward")
    np.testing.assert_array_equal(points.step, np.arange(N))
    np.testing.assert_allclose(points.H, H)
    np.testing.assert_allclose(points.R, R)


@pytest.mark.parametrize("kind", ["json", "python"])
def test_objects_over_several_lines(tmp_path, kind):
    """One of them torn: it is counted, and takes no other with it. Mutation: `held` goes on over whatever comes."""
    lines = ["starting {"]
    for i in range(N):
        row = {"step": i, "critic": {"entropy/mean": float(H[i])}, "val_correct/all/mean": float(R[i])}
        text = "metrics: " + json.dumps(row, indent=2) if kind == "json" else f"INFO {row}".replace(", '", ",\n '")
        lines += [text, *[f"{{'loss': 0.1, 'x': {i}}}"] * 5]
    torn = 6 * (N - 2) + 1
    lines[torn] = lines[torn].rpartition(",")[0] + ","
    points = one(write(tmp_path / "log.log", lines))
    assert (points.format, points.entropy, points.score) == ("console", "critic/entropy/mean", "val_correct/all/mean")
    assert len(points.R) == N - 1 and points.broken
    np.testing.assert_allclose(points.R, np.delete(R, N - 2))


PAIRS = {  # trainer: how it prints a step, its entropy, its score, and what it is recognised as
    "MaxText": ("I0922 12:00:00.1 7 metric_logger.py:187] completed step: {i}, seconds: 0.2, TFLOP/s/device: 3.1, "
                "entropy: {h}, eval_reward: {r}", "entropy", "eval_reward", None),
    "logfmt": ("2026-01-01T00:00:00Z level=info msg=train step={i} entropy={h} eval_acc={r}", "entropy", "eval_acc",
               None),
    "torchtitan": ("[rank0]:[titan] 2026-08-01 10:00:00,1 - root - INFO - \x1b[31mstep:  {i}  \x1b[32mloss:  0.1  "
                   "entropy: {h}  reward: {r}\x1b[39m", "entropy", "reward", None),
    "clu": ("I0101 00:00:00.1 1 logging_writer.py:48] [{i}] entropy={h}, eval_accuracy={r}, grad_norm=0.1", "entropy",
            "eval_accuracy", None),
    "OpenRLHF": ("Train epoch [1/1]: 100%|##| 8/8 [00:10<00:00,  1.2s/it, policy_loss=-0.01, actor_lr=1e-6, "
                 "reward={r}, entropy_loss={h}]", "entropy_loss", "reward", "OpenRLHF"),
    "Tinker": ("ml_log:170 [INFO]      Step {i}   \n\u2503 Metric \u2503 Value \u2503\n\u2502 env/all/reward/total "
               "\u2502 0.9 \u2502\n\u2502 optim/entropy  \u2502 {h} \u2502\n\u2502 test/env/all/correct \u2502 {r} "
               "\u2502", "optim/entropy", "test/env/all/correct", "Tinker cookbook"),
    "AReaL": ("INFO: Epoch 1/10 Step 5/140 Train step {i}/1400 done.\n\u2502 ppo_actor/update/entropy/avg "
              "\u2502 {h} \u2502\n\u2502 eval-rollout/reward \u2502 {r} \u2502", "ppo_actor/update/entropy/avg",
              "eval-rollout/reward", "AReaL"),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_names_and_numbers_on_lines(tmp_path, name):
    """Mutations: take the first step of a line; do not close a row where a name comes again."""
    line, entropy, score, trainer = PAIRS[name]
    lines = ["starting, with seed: 3", *(line.format(i=10 * i, h=H[i], r=R[i]) for i in range(N))]
    points = one(write(tmp_path / "log.log", lines))
    assert (points.format, points.entropy, points.score) == ("console of pairs", entropy, score)
    assert points.trainer == trainer
    steps = 10 * np.arange(N) if "{i}" in line else 2 + np.arange(N)
    np.testing.assert_array_equal(points.step, steps)
    np.testing.assert_allclose(points.H, H)
    np.testing.assert_allclose(points.R, R)


def test_a_bar_that_writes_over_itself(tmp_path):
    """Mutation: lines end at newlines only."""
    bars = [f"\rRL: 1%|# | {i}/9 [00:10<01:00,  1.2it/s, entropy={H[i]:.6f}, acc={R[i]:.6f}]" for i in range(N)]
    points = one(write(tmp_path / "log.log", ["".join(bars)]))
    assert points.format == "console of pairs" and len(points.R) == N
    np.testing.assert_allclose(points.R, R, atol=1e-6)


def test_a_last_pair_that_was_cut_off_is_no_number(tmp_path):
    lines = [f"step={i} entropy={H[i]:.6f} eval_acc={R[i]:.6f}" for i in range(N)]
    (tmp_path / "log.log").write_text("\n".join(lines)[:-3])
    points = one(tmp_path / "log.log")
    assert len(points.R) == N - 1 and f"log.log line {N} (torn)" in points.source


@pytest.mark.parametrize(
    ("line", "there", "where"),
    [
        ("=== Step {i}/9 ===\n \u2022 Generation KL Error: 0.1\n \u2022 Avg Reward: {r}",
         "step, Generation KL Error, Avg Reward", "logger.wandb_enabled"),  # NeMo RL
        ("SUCCESS Step {i} | Time: 3.2s | Reward: {r} | Async Level: 1", "step, Time, Reward, Async Level",
         "RUN/metrics.jsonl"),  # prime-rl's orchestrator
    ],
)  # fmt: skip
def test_a_console_without_entropy_says_where_it_is(tmp_path, line, there, where):
    message = refused(write(tmp_path / "log.log", [line.format(i=i, r=R[i]) for i in range(N)]))
    assert f"there are {there}" in message and where in message


def test_the_bar_of_training_counts_and_not_that_of_evaluation(tmp_path):
    lines = ["Map: 100%|##| 99/99 [00:01<00:00, 99.0 examples/s]"]
    for i in range(N):
        bar = f"  1%|# | {10 * i}/500 [00:01<00:08, 1.0it/s]"
        lines += [bar + "\r" + f"{bar}{{'loss': 0.1, 'entropy': {H[i]}, 'reward': 9.0}}"]
        lines += ["100%|##| 4/4 [00:01<00:00, 4.0it/s]\r" + f"{{'eval_loss': 0.1, 'eval_reward': {R[i]}}}"]
    points = one(write(tmp_path / "log.txt", lines))
    np.testing.assert_array_equal(points.step, 10 * np.arange(N))
    np.testing.assert_allclose(points.R, R)
    assert "steps are those of the progress bar of 500" in points.source


def test_several_training_steps_a_rollout(tmp_path):
    """slime: the axis of training is twice as long as that of rollouts."""
    lines = []
    for i in range(N):
        lines.append(f"[2026-08-01 00:00:00] a.py:1 - rollout {i}: {{'rollout/raw_reward': {R[i]}}}")
        for k in range(2):
            entropy = H[i] + 0.01 * k
            lines.append(f"[2026-08-01 00:00:00] b.py:2 - step {2 * i + k}: {{'train/entropy_loss': {entropy}, "
                         f"'train/step': {2 * i + k}}}")  # fmt: skip
    points = one(write(tmp_path / "log.txt", lines))
    np.testing.assert_array_equal(points.step, np.arange(N))
    np.testing.assert_allclose(points.R, R)
    assert "2 training steps a rollout" in points.source


def test_a_torn_line_is_no_row(tmp_path):
    lines = [f"x {{'step': {i}, 'entropy': {H[i]}, 'eval_reward': {R[i]}}}" for i in range(N)]
    lines[4] = lines[4][:-6]
    (tmp_path / "log.txt").write_text("\n".join(lines)[:-9])
    points = one(tmp_path / "log.txt")
    assert len(points.R) == N - 2 and "log.txt line 5 (torn), log.txt line 12 (torn)" in points.source


def test_no_object_in_it(tmp_path):
    write(tmp_path / "log.txt", ["{x}", "{'a': 'b'}", "{", "}" * 9, "{'a': __import__('os')}"])
    assert "no known format" in refused(tmp_path / "log.txt")
    assert consoles.one_object("{'a': 1} {'b': 2}", 0) == ({"a": 1}, 8)


def test_pairs_between_bars(tmp_path):
    """prime-rl's."""
    lines = [f"12:00:00 SUCCESS Step {i} | Time: 30.1s | Entropy: {H[i]} | Reward: {R[i]}" for i in range(N)]
    points = one(write(tmp_path / "log.txt", lines))
    assert (points.entropy, points.score) == ("Entropy", "Reward")
    np.testing.assert_allclose(points.R, R)
    np.testing.assert_array_equal(points.step, np.arange(N))


@pytest.mark.parametrize("digits", [3, 1])
def test_a_console_without_steps_that_was_begun_anew(tmp_path, digits):
    """TRL's where bars went to stderr: epochs tell, also where they are rounded. Mutation: line numbers only."""
    lines = [f"{{'loss': 0.1, 'entropy': {H[i]}, 'reward': {R[i]}, 'epoch': {round(i / N, digits)}}}"
             for i in [*range(9), *range(N)]]  # fmt: skip
    found = logs.read(write(tmp_path / "log.log", lines))
    assert [len(run.R) for run in found.runs] == [9, N]
    np.testing.assert_allclose(found.runs[1].R, R)


def test_lines_that_ray_saw_twice_and_lines_that_were_wrapped(tmp_path):
    lines = [f"(TaskRunner pid=1) step:{i} - actor/entropy:{H[i]} - val/acc:{R[i]}" for i in range(N)]
    again = [f"{line} [repeated 2x across cluster] (Ray deduplicates logs by default)" for line in lines]
    points = one(write(tmp_path / "log.out", again))
    np.testing.assert_allclose(points.R, R)
    assert not points.broken
    wrapped = [part for line in lines for part in (line[: line.index("val") + 2], line[line.index("val") :])]
    assert f"{N} row(s) are broken" in refused(write(tmp_path / "log.out", wrapped))


@pytest.mark.parametrize("number", ["array({!r}, dtype=float32)", "jnp.bfloat16({!r})", "Decimal('{!r}')"])
def test_a_step_above_an_object_and_numbers_of_any_type(tmp_path, number):
    """Mutations: names of types in a list; without `above`."""
    lines = []
    for i in range(N):
        h, r = (number.format(float(x)) for x in (H[i], R[i]))
        row = f"{{'actor': {{'entropy': {h},\n           'lr': 1e-6}},\n 'eval': {{'acc': {r}}}}}"
        lines += [f"Step {5 * i}:", row]
    points = one(write(tmp_path / "log.log", lines))
    assert (points.entropy, points.score) == ("actor/entropy", "eval/acc")
    np.testing.assert_array_equal(points.step, 5 * np.arange(N))
    np.testing.assert_allclose(points.R, R)


def test_the_count_of_a_bar_with_names_and_numbers(tmp_path):
    """Drawn again and again, and begun anew. Mutation: a line is a step."""
    bars = [f"\rRL: 1%|# | {i}/{N} [00:10<01:00,  1.2it/s, ent={H[i]:.6f}, rew={R[i]:.6f}]" for i in range(N)]
    points = one(write(tmp_path / "log.log", ["".join(bar for bar in bars for _ in range(3))]))
    assert (points.entropy, points.score) == ("ent", "rew") and f"the progress bar of {N}" in points.source
    np.testing.assert_array_equal(points.step, np.arange(N))
    np.testing.assert_allclose(points.R, R, atol=1e-6)
    again = [bar for part in (bars[:9], bars) for bar in part for _ in range(3)]
    assert [len(run.R) for run in logs.read(write(tmp_path / "log.log", again)).runs] == [9, N]


@pytest.mark.parametrize(
    "line", ["iter {i:4d} | entropy {h:.6f} | acc {r:.6f}", "update {i}: entropy {h:.6f}, acc {r:.6f}"]
)
def test_names_and_numbers_without_a_mark(tmp_path, line):
    points = one(write(tmp_path / "log.log", [line.format(i=3 * i, h=H[i], r=R[i]) for i in range(N)]))
    assert (points.format, points.entropy, points.score) == ("console of pairs", "entropy", "acc")
    np.testing.assert_allclose([points.step, points.R], [3 * np.arange(N), R], atol=1e-6)
