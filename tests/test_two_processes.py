"""train_rl in two processes of one machine, a device each, against one process, and with one of them killed."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.models import presets
from entropy_rl.models.transformer import RULES
from entropy_rl.parallel import sharding
from entropy_rl.training.checkpoints import restore_params
from experiments.lib import build, launch

pytestmark = pytest.mark.slow
CONFIG = "configs/rl/grpo.py:smoke"
SETTINGS = {"optimizer.learning_rate": 1e-3, "checkpoint.every": 5, "eval.every": 1000, "kl.coef.args.value": 0.1}


def start(folder, settings, index=None, port=None, slurm=False):
    command = [sys.executable, "-m", "tests.rl_child", f"--config={CONFIG}", f"--workdir={folder}"]
    command += [f"--config.{k}={v}" for k, v in (SETTINGS | settings).items()]
    # most of the time is compilation, of which quick code needs half
    env = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0", "JAX_PLATFORMS": "cpu"}
    if slurm:  # which tells a process who it is; jax takes a port from the job's number
        command += ["--distributed=auto"]
        job = {"SLURM_JOB_ID": str(port), "SLURM_STEP_NODELIST": "localhost", "SLURM_LOCALID": "0"}
        env |= job | {"SLURM_NTASKS": "2", "SLURM_PROCID": str(index)}
    elif index is not None:
        command += [f"--distributed=localhost:{port}", "--processes=2", f"--process={index}"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def two(folder, settings, **more):
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    return [start(folder, settings, index, port, **more) for index in (0, 1)]


def finish(*children):
    """What they printed; all of them ended well."""
    said = [child.communicate(timeout=300)[0] for child in children]
    assert [child.returncode for child in children] == [0] * len(children), "\n".join(said)
    return said


def parameters(folder, mesh=None):
    config = launch.load_config(CONFIG)
    model = presets.make(config.model.name, build.task(config).tokenizer.vocab_size)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 2), "int32"))
    mesh = mesh or sharding.make_mesh(devices=jax.devices()[:1])
    shardings = sharding.infer_sharding(shapes, RULES, mesh)
    wanted = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)
    return jax.device_get(restore_params(folder, wanted))


def rows(folder):
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in metrics.read(folder).metrics]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "run"
    finish(start(folder, {"steps": 4}))
    return folder


@pytest.mark.parametrize(
    "axes", [{"mesh.data": 2}, {"mesh.data": 1, "mesh.fsdp": 2}, {"mesh.data": 1, "mesh.tensor": 2}]
)
def test_two_processes_learn_what_one_does(tmp_path, one, axes):
    """Rows, parameters and the checkpoint that both wrote. Mutations: rewards of the own share only, a batch of which
    each process gives its devices the first rows."""
    said = finish(*two(tmp_path / "run", {"steps": 4, **axes}))
    assert "RL: 100% 4/4" in said[0] and "RL" not in said[1]
    a, b = rows(one), rows(tmp_path / "run")
    assert len(a) == len(b) == 4 and max(row["rollout/reward"] for row in a) > 0
    for x, y in zip(a, b):
        assert x.keys() == y.keys()
        for name in ("rollout/reward", "rollout/length", "policy/entropy_sequence", "update/loss", "update/grad_norm"):
            np.testing.assert_allclose(y[name], x[name], rtol=1e-4, atol=1e-5, err_msg=name)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(y, x, atol=1e-5), parameters(one), parameters(tmp_path / "run")
    )


def test_eight_devices_read_what_two_processes_wrote(tmp_path):
    """Processes that are told by SLURM's environment who they are."""
    finish(*two(tmp_path / "run", {"steps": 2, "mesh.data": 1, "mesh.fsdp": 2}, slurm=True))
    code = (
        "import sys, pickle, jax; from entropy_rl.parallel import sharding;"
        "from tests.test_two_processes import parameters;"
        "assert jax.device_count() == 8;"
        "p = parameters(sys.argv[1], sharding.make_mesh(2, 2, 2)); pickle.dump(p, open(sys.argv[2], 'wb'))"
    )
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    env["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # experiments/lib/process.py says why
    made = tmp_path / "params.pickle"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run"), str(made)], env=env, check=True)
    jax.tree.map(np.testing.assert_array_equal, pickle.loads(made.read_bytes()), parameters(tmp_path / "run"))


UNDISTURBED = {"steps": 30, "mesh.data": 1, "mesh.fsdp": 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two processes that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(*two(folder, UNDISTURBED))
    return folder


def wait_for_rows(folder, count, children):
    """Until a run has logged so many; its log."""
    log = folder / "metrics.jsonl"
    deadline = time.monotonic() + 240
    while not log.exists() or log.read_text().count("\n") < count:
        assert time.monotonic() < deadline and children[0].poll() is None, children[0].communicate()[0]
        time.sleep(0.02)
    return log


@pytest.mark.parametrize("victim", [1, 0])
def test_when_one_is_killed_the_other_says_so_and_the_same_commands_go_on(tmp_path, whole, victim):
    """Within a minute, whichever it is; what comes after is what would have come. Mutation: `left_alone` says no."""
    children = two(tmp_path / "killed", UNDISTURBED)
    log = wait_for_rows(tmp_path / "killed", 12, children)
    children[victim].kill()
    killed = time.monotonic()
    said = children[1 - victim].communicate(timeout=90)[0]
    assert time.monotonic() - killed < 60
    assert children[1 - victim].returncode in (2, -6)  # its own message, or jax's, which aborts
    assert "another process of this run has ended" in said or "another task died" in said
    children[victim].communicate()
    assert log.read_text().count("\n") < 30

    if victim == 0:
        return  # the rest is the same
    again = finish(*two(tmp_path / "killed", UNDISTURBED))
    assert "RL: 100% 30/30" in again[0]
    assert rows(tmp_path / "killed") == rows(whole)
    jax.tree.map(np.testing.assert_array_equal, parameters(tmp_path / "killed"), parameters(whole))


def test_a_notice_to_one_ends_both_and_the_same_commands_go_on(tmp_path, whole):
    """SIGTERM to the process that writes nothing: both save before the same step and end with 143. Mutations: each asks
    for its own signal alone; no checkpoint in `leave`."""
    settings = UNDISTURBED | {"checkpoint.every": 1000}
    children = two(tmp_path / "ended", settings)
    wait_for_rows(tmp_path / "ended", 3, children)
    children[1].send_signal(signal.SIGTERM)
    said = [child.communicate(timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [128 + signal.SIGTERM] * 2, "\n".join(said)
    done = len(rows(tmp_path / "ended"))
    assert 3 <= done < 30
    for text in said:
        assert f"ended by SIGTERM: {done} steps are done and saved, the same command continues" in text, text
    finish(*two(tmp_path / "ended", settings))
    assert rows(tmp_path / "ended") == rows(whole)
    jax.tree.map(np.testing.assert_array_equal, parameters(tmp_path / "ended"), parameters(whole))


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--distributed=here"], "--distributed=here: give HOST:PORT of process 0, or auto"),
        (["--distributed=here:1", "--processes=2"], "--processes=2 and --process=None: give both"),
        (["--distributed=here:1", "--processes=2", "--process=2"], "--process=2: give both, a process from 0"),
        (["--process=1"], "--processes and --process go with --distributed=HOST:PORT"),
    ],
)
def test_flags_that_do_not_go_together(tmp_path, flags, message):
    command = [
        sys.executable,
        "-m",
        "experiments.train_rl",
        f"--config={CONFIG}",
        f"--workdir={tmp_path / 'x'}",
        *flags,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "x").exists()


def test_a_workdir_of_another_config_stops_both(tmp_path, one):
    """Process 0 finds out, and the other one says it too. Mutation: only process 0 raises."""
    children = two(one, {"optimizer.learning_rate": 1e-4})
    for child in children:
        said = child.communicate(timeout=120)[0]
        assert (
            child.returncode == 2
            and "belongs to another config: optimizer.learning_rate is 0.001 there and 0.0001 here" in said
        )
