"""Logs in the formats that `entropy_rl.logs.formats` knows, of one planted run, and how tests read them."""

import csv
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.logs import read as logs

N = 12
H = np.geomspace(0.3, 0.03, N)
R = 1.0 - H


def write(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def one(path, **kwargs):
    """The points of the one run at a path."""
    found = logs.read(path, **kwargs)
    assert len(found.runs) == 1 and not found.skipped
    return found.runs[0]


def refused(path, **kwargs):
    """The message for a path that cannot be used: one line that names it."""
    with pytest.raises(InputError) as caught:
        logs.read(path, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def write_jsonl(path, rows, end="\n"):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + end)
    return path


def write_csv(path, header, rows, delimiter=","):
    with open(path, "w", newline="") as f:
        csv.writer(f, delimiter=delimiter).writerows([header, *rows])
    return path


def wandb_csv(path, runs, key, values):
    """A chart exported from W&B: each run's values, by run, at steps 0, 1, ..."""
    header = ["Step", *(f"{run} - {key}{end}" for run in runs for end in ("", "__MIN", "__MAX"))]
    rows = [[i, *(x for run in runs for x in [values[run][i]] * 3)] for i in range(N)]
    return write_csv(path, header, rows)


def verl_line(step, metrics):
    """As verl's LocalLogger prints them."""
    return " - ".join([f"step:{step}", *(f"{k}:{v}" for k, v in metrics.items())])


def verl_console(path):
    """Validation before training and at each step, among the output of Ray and a progress bar."""
    grey, end = "\x1b[36m", "\x1b[0m"
    lines = ["{'actor_rollout_ref': {'actor': {'entropy_coeff': 0}}}", f"{grey}(TaskRunner pid=7){end} loading"]
    for i in range(N):
        train = {"actor/entropy": f"np.float64({H[i]})", "critic/score/mean": 0.5, "actor/pg_loss": "-1.5e-05"}
        metrics = (train if i else {}) | {"val-core/openai/gsm8k/acc/mean@8": R[i], "training/global_step": i}
        bar = "Training:  1%|   | 1/9 [00:01<?, 2it/s]\x1b[A"
        prefix = f"{grey}(TaskRunner pid=7, ip=10.0.0.1){end} " if i % 2 else bar
        lines += [f"(WorkerDict pid=9) global_step:{i} - other output", prefix + verl_line(i, metrics)]
    path.write_text("\n".join(lines) + "\n")
    return path


def tensorboardx(folder, steps=range(N), suffix=""):
    """By tensorboardX, as Tunix and TRL without torch write."""
    import tensorboardX

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its own use of numpy
        with tensorboardX.SummaryWriter(str(folder), filename_suffix=suffix) as writer:
            for i in steps:
                writer.add_scalar("train/entropy", H[i], i)
                writer.add_scalar("train/reward", R[i], i)
                writer.add_text("sample", "a text " * 1000, i)
            writer.add_histogram("weights", R, 0)
    return folder


def tensorboard(folder, tensor):
    """By tensorboard's own writer: `tensor(value)` gives the proto, as tf.summary.scalar does, None simple values."""
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for i in range(N):
        values = []
        for tag, value in (("train/entropy", H[i]), ("train/reward", R[i])):
            if tensor is None:
                values.append(summary_pb2.Summary.Value(tag=tag, simple_value=value))
            else:
                values.append(summary_pb2.Summary.Value(tag=tag, tensor=tensor(value)))
        writer.add_event(event_pb2.Event(step=i, wall_time=1.0, summary=summary_pb2.Summary(value=values)))
    writer.close()
    return folder


WANDB = """
import json, pathlib, sys
import wandb
from wandb.proto import wandb_internal_pb2 as proto

folder = pathlib.Path(sys.argv[2])
for name, rows in json.loads(sys.argv[1]).items():
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, x_disable_meta=True)
    run = wandb.init(project="p", name=name, dir=folder, mode="offline", settings=settings)
    for row in rows:
        run.log(row["cells"], step=row["step"])
    run.finish()

typed = []
if "number" in proto.HistoryItem.DESCRIPTOR.fields_by_name:
    for field, value, expected in [
        ("number", 0.5, 0.5), ("integer", -7, -7), ("text", "x", "x"), ("boolean", True, True),
        ("json", "[1]", [1]), ("none", 0, None), ("value_json", "3", 3),
    ]:
        item = proto.HistoryItem(nested_key=["a", "b"], **{field: value})
        record = proto.Record(history=proto.HistoryRecord(item=[item], step=proto.HistoryStep(num=4)))
        typed.append([record.SerializeToString().hex(), expected])
(folder / "typed.json").write_text(json.dumps(typed))
"""


def wandb_runs(folder, runs):
    """By wandb itself, offline, in a process of its own: `runs` is {name: [{"step": n, "cells": {...}}, ...]}.

    Beside its folder, typed.json has messages that wandb's protobuf classes wrote, in hex, and their values.
    """
    env = os.environ | {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    subprocess.run([sys.executable, "-c", WANDB, json.dumps(runs), str(folder)], check=True, env=env, timeout=240)
    return folder / "wandb"
