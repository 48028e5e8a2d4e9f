"""Many runs from one file: prints their commands, or runs them side by side and goes on where it was stopped.

    python -m experiments.sweep --config=configs/sweeps/seeds.py --workdir=/tmp/seeds              # prints
    python -m experiments.sweep --config=configs/sweeps/seeds.py --workdir=/tmp/seeds --workers=2  # runs
    python -m experiments.sweep --config=configs/sweeps/seeds.py --workdir=/shared/seeds --ray=auto  # on Ray

The file (`FILE.py`, or `FILE.py:arg`) defines `get_runs(arg="") -> list[dict]`, with a dict for each run:

    {"name": "seed0",                       # its folder in --workdir
     "script": "experiments.quickstart",    # for `python -m`
     "config": "configs/quickstart.py",     # FILE.py or FILE.py:arg
     "overrides": {"seed": 0},              # optional: --config.seed=0
     "after": ["start"]}                    # optional: names of earlier runs that must be done first

`{workdir}` in an override stands for --workdir, so that a run can start from what another has made.

A run that ends well gets a file DONE, and is not run again. One that fails stops only those after it. With
several workers each run has cores of its own. Ctrl-C or SIGTERM is handed to the runs, which save after the step
that they are in and end, and the sweep with them; a second one kills them.

`--ray=ADDRESS` (what `ray.init` takes; needs `entropy_rl[ray]`) gives the runs to a Ray cluster. Each takes
`--ray_slot` of a node: CPU=1, GPU=1, CPU=4,GPU=1 or a resource of your own. --workdir must be a folder that all
nodes share; this checkout and its Python must be at the same place on each. Runs have the environment of the
nodes' `ray start`, and start in the checkout. One whose worker or node dies is started again, five times at most,
and goes on from its last checkpoint. To other schedulers, give the printed commands.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any

from absl import flags

from entropy_rl import files
from entropy_rl.errors import InputError, nearest
from experiments.lib import children, launch


@dataclasses.dataclass
class Run:
    """One run of a sweep, as its file describes it, and how it stands."""

    name: str
    script: str
    config: str
    overrides: dict[str, Any] = dataclasses.field(default_factory=dict)
    after: tuple[str, ...] = ()
    state: str = "waiting"  # -> running -> done | failed | skipped
    note: str = ""
    job: Any = None  # its executor's, while it runs

    def command(self, folder: Path) -> list[str]:
        """The words of its command line."""
        words = {k: str(v).replace("{workdir}", str(folder)) for k, v in self.overrides.items()}
        settings = [f"--config.{key}={word}" for key, word in words.items()]
        command = [sys.executable, "-m", self.script, f"--config={self.config}", *settings]
        return [*command, f"--workdir={folder / self.name}"]

    def identity(self) -> dict[str, Any]:
        """What a DONE file must agree with, as json; the folder is not in it, as it may be moved."""
        about = {"script": self.script, "config": self.config, "overrides": self.overrides}
        return json.loads(json.dumps(about, default=str))


def main() -> None:
    """Does what the command line says. Exit status: 1 when a run failed, 2 for a mistake in what is given."""
    flags.DEFINE_string("config", None, "sweep file, FILE.py or FILE.py:arg")
    flags.DEFINE_string("workdir", None, "folder that gets a folder for each run")
    flags.DEFINE_integer("workers", 0, "runs at a time; 0: print the commands", lower_bound=0)

    flags.DEFINE_string("ray", None, "address of a Ray cluster to run on: auto, HOST:PORT or ray://HOST:PORT")
    flags.DEFINE_list("ray_slot", ["CPU=1"], "what a run takes of a node there: CPU=4,GPU=1 or a resource of your own")

    def checked(argv: list[str]) -> None:
        for name, example in (("config", "configs/sweeps/seeds.py"), ("workdir", "/tmp/seeds")):
            if not flags.FLAGS[name].value:
                raise InputError(f"--{name} is missing: give --{name}=PATH, such as {example}")
        folder = Path(flags.FLAGS.workdir).absolute()
        runs = load_runs(flags.FLAGS.config, folder)
        if executor := _executor():
            sys.exit(execute(runs, folder, executor))
        for run in runs:
            print(shlex.join(run.command(folder)) + ("  # done" if run.state == "done" else ""))

    launch.guarded(checked)


def _executor() -> Any:
    """What the flags say that runs are executed by; None: they are not."""
    workers, address, words = flags.FLAGS.workers, flags.FLAGS.ray, flags.FLAGS.ray_slot
    if address is None:
        if flags.FLAGS["ray_slot"].present:
            raise InputError("--ray_slot is of no use without --ray: give --ray=ADDRESS too")
        return Local(workers) if workers else None
    if not address:
        raise InputError("--ray is empty: give an address, such as --ray=auto")
    if workers:
        raise InputError("--workers runs on this machine and --ray on a cluster: give one of them")
    slot = [re.fullmatch(r"([^=]+)=(\d+|0?\.\d+)", word) for word in words]
    if not all(slot) or not slot:
        raise InputError(f"--ray_slot={','.join(words)}: give NAME=NUMBER, whole or below 1, such as CPU=4,GPU=1")
    try:
        from experiments.lib import ray_cluster
    except ModuleNotFoundError as e:
        if e.name != "ray":
            raise
        raise InputError("--ray needs the package ray: pip install 'entropy_rl[ray]'") from e
    return ray_cluster.Cluster(address, {match[1]: float(match[2]) for match in slot})


def load_runs(spec: str, folder: Path) -> list[Run]:
    """The runs of a sweep file, in order, those that are done in `folder` marked so.

    Raises:
      InputError: no such file, a run in it that is wrong, or one that was done with other settings.
    """
    fields = [f.name for f in dataclasses.fields(Run)][:5]
    runs: dict[str, Run] = {}
    for number, given in enumerate(launch.call(spec, "get_runs")):
        where = f"{spec}: run {given.get('name', number)}"
        for key in given.keys() - set(fields):
            raise InputError(f"{where} has a field {key!r}{nearest(key, fields)}: one of {', '.join(fields)}")
        for key in ("name", "script", "config"):
            if not isinstance(given.get(key), str) or not given[key]:
                raise InputError(f"{where} has {key} {given.get(key)!r}: give a word")
        run = Run(**given)
        if not re.fullmatch(r"\w[\w.,=+-]*", run.name) or run.name in runs:
            raise InputError(f"{where}: give a name that can be a folder's and that no other run has")
        for other in run.after:
            if other not in runs:
                raise InputError(f"{where} is to come after {other!r}, which is no run above it")
        _read_done(run, folder / run.name / "DONE")
        runs[run.name] = run
    return list(runs.values())


class Local:
    """Runs that are children of this process, a number at a time.

    ray_cluster.Cluster has the same `start`, `poll`, `end` and `kill`; `free`, whether it takes one more; and `pause`,
    the seconds between two looks at it.
    """

    pause = 0.05

    def __init__(self, workers: int):
        self.free = _cores(workers)

    def start(self, run: Run, command: list[str], log: str) -> None:
        """Starts a run on cores that are free."""
        child = children.start(command, log, self.free[0])
        run.job = child, self.free.pop(0), time.monotonic()

    def poll(self, run: Run) -> tuple[int, float] | None:
        """None while it runs, then its exit status and its seconds."""
        child, cores, start = run.job
        if child.poll() is None:
            return None
        self.free.append(cores)
        return child.returncode, time.monotonic() - start

    def end(self, runs: list[Run]) -> None:
        """Asks runs that are under way to end, and waits until they have."""
        for run in runs:
            run.job[0].terminate()
        for run in runs:
            run.job[0].wait()

    def kill(self, runs: list[Run]) -> None:
        """Ends what is there of runs by force."""
        for run in runs:
            children.kill(run.job[0])


def execute(runs: list[Run], folder: Path, executor: Any) -> int:
    """Runs what is not done yet; gives the exit status, 1 when one failed.

    Whatever ends this ends the runs that are under way too: they are asked to, and save; a second signal kills them.

    Args:
      runs: what `load_runs` gives.
      folder: gets a folder for each run.
      executor: where they run: a `Local`, or what has the same methods.
    """
    by_name = {run.name: run for run in runs}
    # a plain `kill` would end this process without the `finally` below
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        while True:
            for run in runs:
                if run.state == "running" and (end := executor.poll(run)):
                    _end(run, folder, *end)
                before = [by_name[name].state for name in run.after]
                if run.state == "waiting" and ("failed" in before or "skipped" in before):
                    run.state, run.note = "skipped", "comes after one that failed"
                if run.state == "waiting" and executor.free and all(state == "done" for state in before):
                    _begin(run, folder, executor)
            if not any(run.state in ("waiting", "running") for run in runs):
                return _report(runs)
            time.sleep(executor.pause)
    finally:
        under_way = [run for run in runs if run.state == "running"]
        try:
            if under_way:
                many = f"{len(under_way)} run{'s' * (len(under_way) > 1)}"
                print(f"ending {many} once saved; a second Ctrl-C or SIGTERM kills", flush=True)
            executor.end(under_way)
        finally:
            executor.kill(under_way)


def _begin(run: Run, folder: Path, executor: Any) -> None:
    path = folder / run.name / "log.txt"
    command = run.command(folder)
    print(f"{run.name}: {shlex.join(command)}", flush=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a") as log:
            print("$", shlex.join(command), file=log)
        executor.start(run, command, str(path))
    except OSError as e:
        where = f"{run.name} in {path.parent}"
        raise InputError(f"cannot start {where}: {e.strerror}; give another --workdir") from e
    run.state = "running"


def _end(run: Run, folder: Path, status: int, seconds: float) -> None:
    if status == 0:
        run.state, run.note = "done", f"{seconds / 60:.1f} min"
        done = {"command": shlex.join(run.command(folder)), **run.identity()}
        files.write(folder / run.name / "DONE", json.dumps(done, indent=2))
    else:
        log = folder / run.name / "log.txt"
        last = log.read_text(errors="replace").strip().splitlines()[-1]
        run.state = "failed"
        run.note = f"status {status} after {seconds / 60:.1f} min, see {log}: {last[:200]}"
    print(f"{run.name}: {run.state}, {run.note}", flush=True)


def _report(runs: list[Run]) -> int:
    width = max((len(run.name) for run in runs), default=0)
    print()
    for run in runs:
        print(f"{run.name:{width}}  {run.state:7}  {run.note}")
    bad = sum(run.state != "done" for run in runs)
    if bad:
        print(f"{bad} of {len(runs)} not done: the same command runs those, each from its last checkpoint")
    return 1 if bad else 0


def _read_done(run: Run, path: Path) -> None:
    if not path.exists():
        return
    try:
        done = json.loads(path.read_text())
        differs = [key for key, value in run.identity().items() if done.get(key) != value]
    except (ValueError, AttributeError) as e:
        raise InputError(f"{path} is damaged: remove it to run {run.name} again") from e
    if differs:
        key = differs[0]
        raise InputError(
            f"run {run.name} was done with another {key}, {done.get(key)!r} and not {run.identity()[key]!r}: "
            f"give another --workdir, or remove {path.parent}"
        )
    run.state, run.note = "done", "before"


def _cores(workers: int) -> list[set[int] | None]:
    """For each worker, the cores that are its own; None, none in particular."""
    if workers == 1 or not hasattr(os, "sched_getaffinity"):
        return [None] * workers
    cores = sorted(os.sched_getaffinity(0))
    each = len(cores) // workers
    return [set(cores[i * each : (i + 1) * each]) or None for i in range(workers)]


if __name__ == "__main__":
    main()
