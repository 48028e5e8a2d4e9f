"""TensorBoard's and W&B's files: written by their own libraries, read by ours, and spoiled."""

import json
import random
import struct
import zlib

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.logs import read as logs
from entropy_rl.logs import tracker_formats, wire
from tests.logs import writing
from tests.logs.writing import H, N, R, one

DTYPES = ["float32", "float64", "float16", "int32", "int64"]


def check(points, kind, entropy, score):
    assert (points.format, points.entropy, points.score, points.broken) == (kind, entropy, score, 0)
    np.testing.assert_array_equal(points.step, np.arange(N))
    np.testing.assert_allclose(points.H, H, rtol=1e-3)
    np.testing.assert_allclose(points.R, R, rtol=1e-3)


# The wire format, by hand (protobuf.dev/programming-guides/encoding).


def test_varints():
    assert wire.varint(b"\x96\x01", 0) == (150, 2)
    assert wire.varint(b"\0\xff" + b"\xff" * 8 + b"\x01", 1) == (2**64 - 1, 11)
    assert wire.signed(2**64 - 1) == -1 and wire.signed(5) == 5
    assert [wire.zigzag(x) for x in (0, 1, 2, 3, 4294967295)] == [0, -1, 1, -2, -(2**31)]


def test_fields():
    message = b"\x08\x96\x01" + b"\x12\x07testing" + b"\x1d" + struct.pack("<f", 0.5) + b"\x21" + struct.pack("<d", 2)
    assert list(wire.fields(message)) == [
        (1, wire.VARINT, 150),
        (2, wire.BYTES, b"testing"),
        (3, wire.FIXED32, struct.pack("<f", 0.5)),
        (4, wire.FIXED64, struct.pack("<d", 2)),
    ]


@pytest.mark.parametrize(
    "message", [b"\x08", b"\x12\x07test", b"\x1d\0\0", b"\x0b\x0c", b"\x08" + b"\xff" * 11, b"\x02\x00"]
)
def test_what_is_no_message(message):
    with pytest.raises(wire.WireError):
        list(wire.fields(message))


def test_crc():
    """RFC 3720, B.4: the CRC-32C of 32 zeros is 0x8a9136aa; TFRecord's mask is on top."""
    crc = 0x8A9136AA
    assert wire.masked_crc(b"\0" * 32) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# TensorBoard.


def test_tensorboardx(tmp_path):
    folder = writing.tensorboardx(tmp_path / "grpo")
    for path in (folder, next(folder.iterdir())):
        check(one(path), "TensorBoard", "train/entropy", "train/reward")
    assert one(folder).name == "grpo"


def test_tensorboards_own_writer(tmp_path):
    check(one(writing.tensorboard(tmp_path, None)), "TensorBoard", "train/entropy", "train/reward")


@pytest.mark.parametrize("content", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_scalars_in_tensors(tmp_path, dtype, content):
    """As tf.summary.scalar and torch's new style write them, by tensorboard's protos; in either place for a number."""
    from tensorboard.compat.proto import tensor_pb2
    from tensorboard.util import tensor_util

    scale = 1 if dtype.startswith("float") else -1000

    def tensor(value):
        array = np.array(value * scale).astype(dtype)
        if not content:
            return tensor_util.make_tensor_proto(array)
        kind = tensor_util.make_tensor_proto(array).dtype
        return tensor_pb2.TensorProto(dtype=kind, tensor_content=array.tobytes())

    writing.tensorboard(tmp_path, tensor)
    (run,) = tracker_formats.read_events(tmp_path)
    tolerance = 1e-3 if dtype == "float16" else 1e-6
    cells = run.tables[0].columns["train/reward"].value
    np.testing.assert_allclose(cells, (R * scale).astype(dtype), rtol=tolerance)


def test_what_is_no_scalar_is_no_column(tmp_path):
    from tensorboard.util import tensor_util

    writing.tensorboard(tmp_path, lambda value: tensor_util.make_tensor_proto(np.full(3, value, np.float32)))
    assert "no rows" in str(pytest.raises(InputError, one, tmp_path).value)
    writing.tensorboard(tmp_path, lambda value: tensor_util.make_tensor_proto(f"{value}"))
    assert "no rows" in str(pytest.raises(InputError, one, tmp_path).value)


def test_folders_are_runs_and_restarts_are_one(tmp_path):
    writing.tensorboardx(tmp_path / "sweep" / "a", range(8), ".1")
    first = next((tmp_path / "sweep" / "a").iterdir())
    first.rename(first.with_name("events.out.tfevents.1.host"))
    writing.tensorboardx(tmp_path / "sweep" / "a", range(5, N), ".2")
    writing.tensorboardx(tmp_path / "sweep" / "b" / "logs")
    (tmp_path / "sweep" / "b" / "logs" / "events.out.tfevents.2.host").touch()
    found = logs.read(tmp_path / "sweep")
    assert [p.name for p in found.runs] == ["a", "b/logs"]
    for p in found.runs:
        check(p, "TensorBoard", "train/entropy", "train/reward")
    assert "3 row(s) of train/entropy repeat a step, the last one counts" in found.runs[0].source


def test_negative_and_large_steps(tmp_path):
    from tensorboard.compat.proto import event_pb2, summary_pb2

    for step in (-3, 2**40):
        value = summary_pb2.Summary.Value(tag="x", simple_value=1)
        event = event_pb2.Event(step=step, summary=summary_pb2.Summary(value=[value])).SerializeToString()
        assert tracker_formats._event(event) == {"x": 1.0, "step": step}


def test_a_folder_with_several_tries(tmp_path):
    """Files that go back to the first step are tries, one that goes on from the middle is not."""
    for n, steps in enumerate((range(0, 10), range(6, N), range(0, 9), range(0, 8))):
        writing.tensorboardx(tmp_path, steps, f".{n}")
        for file in tmp_path.glob(f"*.{n}"):
            file.rename(tmp_path / f"events.out.tfevents.100{n}.host.{n}")
    found = logs.read(tmp_path)
    assert [(run.name.partition(" ")[2], len(run.R)) for run in found.runs] == [
        ("(try 1 of 3)", N),
        ("(try 2 of 3)", 9),
        ("(try 3 of 3)", 8),
    ]
    assert len(found.independent()) == 1 and len(found.independent()[0].R) == N
    assert "4 row(s) of train/entropy repeat a step" in found.runs[0].source


def records(data):
    """Where each TFRecord begins."""
    at, found = 0, []
    while at < len(data):
        found.append(at)
        at += 16 + struct.unpack("<Q", data[at : at + 8])[0]
    return found


def test_broken_records_of_tensorboard(tmp_path):
    file = next(writing.tensorboardx(tmp_path).iterdir())
    whole = file.read_bytes()
    starts = records(whole)
    rewards = [i for i, at in enumerate(starts) if b"train/reward" in whole[at : at + 60]]
    broken = bytearray(whole)
    broken[starts[rewards[3]] + 30] ^= 1  # a flipped bit
    file.write_bytes(broken)
    points = one(tmp_path)
    assert points.broken == 1 and list(points.step) == [0, 1, 2, *range(4, N)]
    assert f"record {rewards[3] + 1} (its checksum is wrong)" in points.source
    file.write_bytes(whole[: starts[rewards[10]] + 25])
    points = one(tmp_path)
    assert points.broken == 1 and points.step.max() == 9 and f"record {rewards[10] + 1} (cut off)" in points.source
    broken[starts[rewards[9]]] ^= 1
    file.write_bytes(broken)
    assert "its length is broken, no record after it can be found" in one(tmp_path).source


def test_long_records_are_checked_where_they_matter(tmp_path):
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    values = [summary_pb2.Summary.Value(tag=f"metric/{i}", simple_value=i) for i in range(300)]
    writer = EventFileWriter(str(tmp_path))
    writer.add_event(event_pb2.Event(step=1, summary=summary_pb2.Summary(value=values)))
    writer.close()
    file = next(tmp_path.iterdir())
    (run,) = tracker_formats.read_events(tmp_path)
    assert len(run.names()) == 301 and not run.tables[0].broken
    data = bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    (run,) = tracker_formats.read_events(tmp_path)
    assert not run.names() and "its checksum is wrong" in run.tables[0].broken[0]


# Weights & Biases.


def wandb_rows(scale=1.0, count=N):
    """Entropy and score in rows of their own, nested, with what is no number beside them."""
    rows = []
    for i in range(count):
        cells = {"actor": {"entropy": H[i]}, "text": "x" * 5000, "nothing": None, "flag": True, "bad": float("nan")}
        rows.append({"step": i, "cells": cells})
        rows.append({"step": i, "cells": {"val-core/math/acc/mean@8": scale * R[i], "lr": 1e-6}})
    return rows


@pytest.fixture(scope="module")
def wandb(tmp_path_factory):
    """Two offline runs. The texts make the first long enough that records go over the ends of its blocks."""
    folder = tmp_path_factory.mktemp("wandb")
    return writing.wandb_runs(folder, {"grpo": wandb_rows(), "ppo seed=1": wandb_rows(0.5)})


def grpo_of(wandb):
    """The folder of the first run: folders sort by second and random id, and both may be of one second."""
    return next(f for f in wandb.glob("offline-run-*") if one(f).name == "grpo")


def test_wandb_offline(wandb):
    for path in (wandb, wandb.parent):
        found = logs.read(path)
        runs = {run.name: run for run in found.runs}
        assert runs.keys() == {"grpo", "ppo seed=1"} and not found.skipped
        check(runs["grpo"], "W&B run", "actor/entropy", "val-core/math/acc/mean@8")
        np.testing.assert_allclose(runs["ppo seed=1"].R, R / 2)
    folder = grpo_of(wandb)
    for path in (folder, *folder.glob("*.wandb")):
        check(one(path), "W&B run", "actor/entropy", "val-core/math/acc/mean@8")
    assert next(folder.glob("*.wandb")).stat().st_size > 2 * wire.BLOCK


def test_wandb_runs_that_were_resumed_are_one(wandb, tmp_path):
    """Two folders with one run id; a link to the latest, as wandb leaves it, is no third."""
    source = next(grpo_of(wandb).glob("*.wandb"))
    for name in ("offline-run-20261122_120000-abc", "run-20261121_120000-abc"):  # the older one was online
        folder = tmp_path / name
        folder.mkdir()
        (folder / source.name).write_bytes(source.read_bytes())
    (tmp_path / "latest-run").symlink_to(folder)
    assert [file.parent.name[:3] for file in tracker_formats.find_wandb(tmp_path)] == ["run", "off"]
    points = one(tmp_path)
    check(points, "W&B run", "actor/entropy", "val-core/math/acc/mean@8")
    assert f"{N} row(s) of actor/entropy repeat a step" in points.source


def test_typed_values_of_wandb(wandb):
    """Fields that wandb's proto declares for numbers and texts, beside the JSON that it writes so far."""
    cases = json.loads((wandb.parent / "typed.json").read_text())
    assert cases  # dev asks for a wandb that declares them
    for message, value in cases:
        row = tracker_formats._wandb_row(bytes.fromhex(message), {})
        assert row == {"a/b": value, "_step": 4} or (value == [1] and np.isnan(row["a/b"]))


def test_broken_records_of_wandb(wandb, tmp_path):
    whole = next(grpo_of(wandb).glob("*.wandb")).read_bytes()
    file = tmp_path / "run-x.wandb"
    file.write_bytes(whole[: wire.BLOCK + 100] + b"\x01" + whole[wire.BLOCK + 101 :])
    points = one(file, min_points=2)
    assert points.broken >= 1 and "the rest of its block is lost" in points.source
    assert points.step.max() == N - 1  # what is in later blocks is found
    file.write_bytes(whole[: wire.BLOCK + 100])
    assert "(cut off)" in one(file, min_points=2).source
    file.write_bytes(whole[:6] + b"\x01" + whole[7:])
    assert "no W&B run file of a known version" in str(pytest.raises(InputError, one, file).value)


def frames(payload):
    """A `.wandb` file of these messages, whatever is in them."""
    parts = [wire.WANDB]
    for data in payload:
        parts.append(struct.pack("<IHB", zlib.crc32(b"\1" + data), len(data), 1) + data)
    return b"".join(parts)


def junk(message, rng):
    """A message with one byte in fifty overwritten."""
    return bytes(rng.randrange(256) if rng.random() < 0.02 else byte for byte in message)


@pytest.mark.parametrize("kind", ["tensorboardx", "tensorboard", "wandb", "wandb messages"])
def test_spoiled_files_are_read_or_refused(tmp_path, wandb, kind):
    """Nothing but InputError, also where the checksums are right and the messages are junk."""
    rng = random.Random(kind)
    if kind == "tensorboardx":
        file = next(writing.tensorboardx(tmp_path).iterdir())
    elif kind == "tensorboard":
        from tensorboard.util import tensor_util

        file = next(writing.tensorboard(tmp_path, tensor_util.make_tensor_proto).iterdir())
    else:
        file = tmp_path / "run-x.wandb"
        file.write_bytes(next(grpo_of(wandb).glob("*.wandb")).read_bytes())
    whole = file.read_bytes()
    messages = [record.data for record in wire.wandb_records(file)][:40] if kind == "wandb messages" else []
    outcomes = set()
    for _ in range(60):
        data = bytearray(whole[: rng.choice([len(whole), rng.randrange(len(whole))])])
        for _ in range(rng.randrange(4) if data else 0):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if messages:
            data = frames([junk(message[:900], rng) for message in messages])
        file.write_bytes(data)
        try:
            points = one(file, min_points=2)
            assert np.isfinite([*points.H, *points.R, *points.step]).all()
            outcomes.add("read")
        except InputError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert "read" in outcomes or messages


def test_junk_messages_are_broken_and_raise_nothing_else():
    """Mutation: let `_fill` catch WireError alone."""
    rng = random.Random(0)
    from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2

    tensor = tensor_pb2.TensorProto(dtype=1, float_val=[0.5])
    value = summary_pb2.Summary.Value(tag="train/entropy", tensor=tensor)
    event = event_pb2.Event(step=3, summary=summary_pb2.Summary(value=[value])).SerializeToString()
    table = tracker_formats.Table("junk", unit="record")
    records = []
    for i in range(3000):
        data = bytearray(event)
        data[rng.randrange(len(data))] = rng.randrange(256)
        records.append(wire.Record(i, bytes(data)))
    tracker_formats._fill(table, iter(records), tracker_formats._event)
    assert len(table.lines) > 500 and len(table.broken) > 500
