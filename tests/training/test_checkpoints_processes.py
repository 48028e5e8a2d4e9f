"""entropy_rl/training/checkpoints.py between processes: other meshes, kills, several processes, a disk that is full."""

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from entropy_rl.errors import InputError
from entropy_rl.training import checkpoints
from entropy_rl.training.checkpoints import Checkpoints
from tests.training.saving import bits, halve, restore


def test_onto_another_mesh(tmp_path):
    if jax.device_count() < 4:  # once more, in a process that has them
        env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
        env["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # experiments/lib/process.py says why
        again = [sys.executable, "-m", "pytest", __file__, "-k", "test_onto_another_mesh"]
        done = subprocess.run(again, env=env, capture_output=True, text=True)
        assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
        return

    def sharded(shape, *spec):
        mesh = jax.make_mesh(shape, ("a", "b"), axis_types=(AxisType.Auto,) * 2)
        return NamedSharding(mesh, PartitionSpec(*spec))

    value = np.arange(64 * 8, dtype=np.float32).reshape(64, 8)
    state = {"w": jax.device_put(value, sharded((4, 1), "a", "b")), "r": jax.device_put(value, sharded((4, 1)))}
    with Checkpoints(tmp_path / "checkpoints") as c:
        c.save(1, state, {})
    new = {"w": sharded((2, 2), "b", "a"), "r": sharded((2, 2), None, "b")}
    wanted = {k: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=s) for k, s in new.items()}
    with Checkpoints(tmp_path / "checkpoints") as c:
        _, restored, _ = c.restore_latest(wanted)
    assert {k: v.sharding for k, v in restored.items()} == new
    assert bits(restored) == bits(state)


CHILD = """
import sys, jax
from entropy_rl.training.checkpoints import Checkpoints
def state(step):
    return {f"w{i}": jax.random.normal(jax.random.key(10 * step + i), (1_000_000,)) for i in range(4)}
if __name__ == "__main__":
    with Checkpoints(sys.argv[1]) as c:
        c.save(1, state(1), {"cursor": 1})
        c.wait()
        two = jax.block_until_ready(state(2))
        print("ready", flush=True)
        sys.stdin.readline()
        c.save(2, two, {"cursor": 2})
"""


def test_sigkill_in_a_save(tmp_path):
    """Killed when the save has just begun, while it writes, and near its end."""
    scope = {"__name__": "child"}
    exec(CHILD, scope)
    folders = [tmp_path / str(delay) / "checkpoints" for delay in (0.0, 0.03, 0.3)]
    command = [sys.executable, "-c", CHILD]
    children = [
        subprocess.Popen([*command, str(f)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for f in folders
    ]
    outcomes = []
    try:
        for folder, child in zip(folders, children):
            assert child.stdout.readline() == "ready\n"
            child.stdin.write("\n")
            child.stdin.flush()
            deadline = time.monotonic() + 60
            while not list(folder.glob("2*")):  # the first sign of the save
                assert time.monotonic() < deadline
                time.sleep(0.001)
            time.sleep(float(folder.parent.name))
            child.send_signal(signal.SIGKILL)
            child.wait()
            left = sorted(p.name for p in folder.iterdir())
            (step, state, meta), said = restore(folder.parent, scope["state"](0))
            assert meta == {"cursor": step} and bits(state) == bits(scope["state"](step))
            if step == 1:
                assert len(said) == 1 and "still being written" in said[0] and "set_aside" in said[0]
                assert [p.name for p in (folder.parent / "set_aside").iterdir()] == [
                    f"checkpoints.{name}" for name in left if name != "1"
                ]
            outcomes.append(step)
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert outcomes[0] == 1, "no kill hit a save"


PROCESS = """
import sys, jax, jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
number, port, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.distributed.initialize(f"localhost:{port}", 2, number)
import numpy as np
from entropy_rl.training.checkpoints import Checkpoints, restore_params
mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
shardings = {"params": {"w": NamedSharding(mesh, P("data")), "r": NamedSharding(mesh, P())}}
def make(step):
    w = jax.random.normal(jax.random.key(step), (512, 64))
    return {"params": {"w": w, "r": w[:3] * 2}}
make_sharded = jax.jit(make, static_argnums=0, out_shardings=shardings)
abstract = jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), jax.eval_shape(lambda: make(0)), shardings
)
def same(tree, step):
    whole = make(step)["params"]
    return all(
        np.array_equal(shard.data, np.asarray(whole[name])[shard.index])
        for name, x in tree["params"].items() for shard in x.addressable_shards
    )
with Checkpoints(folder + "/checkpoints") as c:
    found = c.restore_latest(abstract)
    if found is None:
        for step in (1, 2):
            c.save(step, make_sharded(step), {"cursor": step})
    else:
        step, state, meta = found
        assert meta == {"cursor": step} and same(state, step)
        assert same({"params": restore_params(folder, abstract["params"])}, step)
        print("restored", step)
"""


@pytest.mark.slow
def test_two_processes(tmp_path):
    """Each writes its shards; a damaged part is noticed by both, whoever reads it."""

    def launch():
        with socket.socket() as s:
            s.bind(("localhost", 0))
            port = s.getsockname()[1]
        env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
        command = [sys.executable, "-c", PROCESS]
        children = [
            subprocess.Popen([*command, str(i), str(port), str(tmp_path)], env=env, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for i in range(2)
        ]  # fmt: skip
        outs = []
        for child in children:
            try:
                out, err = child.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                child.kill()
                raise
            assert child.returncode == 0, err
            outs.append([line for line in out.splitlines() if not line.startswith("[Gloo]")])
        return outs

    step = tmp_path / "checkpoints" / "2" / "state"
    assert launch() == [[], []]
    assert {p.name for p in step.glob("ocdbt.process_*")} == {"ocdbt.process_0", "ocdbt.process_1"}
    assert launch() == [["restored 2"]] * 2
    halve(max((step / "ocdbt.process_1" / "d").iterdir(), key=lambda p: p.stat().st_size))
    (message, first), (second,) = launch()
    assert "is damaged" in message and "set_aside" in message
    assert first == second == "restored 1"


def test_full_disk(tmp_path, monkeypatch, caplog):
    """The kernel refuses to write on in the midst of the values, in tensorstore's threads.

    It does so for the process's limit on file sizes, whose error stands in for that of a full disk: to mount a small
    one is not allowed everywhere.
    """
    monkeypatch.setattr(checkpoints, "_FULL", (errno.EFBIG,))
    state = {"w": jax.random.normal(jax.random.key(0), (500_000,))}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(InputError, match=r"no space left.*previous one is intact") as e:
        with Checkpoints(tmp_path / "checkpoints") as c:
            c.save(1, state, {})
            c.wait()
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
                c.save(2, state, {})
                c.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(e.value)
    assert not caplog.records  # orbax logs a traceback for each of its threads
    (at, restored, _), said = restore(tmp_path, state)
    assert at == 1 and bits(restored) == bits(state)
    assert len(said) == 1 and "still being written" in said[0]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("RESOURCE_EXHAUSTED: Error writing local file: [OS error 28: ENOSPC No space left on device]"),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EDQUOT, "full"),
    ],
    ids=["tensorstore_has_words_alone", "ENOSPC", "EDQUOT"],
)
def test_what_says_that_a_disk_is_full(tmp_path, monkeypatch, error):
    def full(*args, **kwargs):
        raise RuntimeError("a save failed") from error

    with Checkpoints(tmp_path / "checkpoints") as c:
        monkeypatch.setattr(c._manager, "save", full)
        with pytest.raises(InputError, match="no space left"):
            c.save(1, {"w": jnp.ones(3)}, {})


def test_other_errors_in_a_save_keep_their_type(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as c, pytest.raises(TypeError):
        c.save(1, {"w": jnp.ones(3)}, {"not json": object()})
