"""Where a run's numbers go beside its workdir, which has all of them: TensorBoard, Weights & Biases, Trackio.

A tracker that fails is left out from then on, with one line: no run ends for it. A run that goes on from a checkpoint
is the same run there too, by an id that its workdir keeps. What it writes again are the same numbers: in TensorBoard
they hide the older ones, wandb leaves them out, Trackio has them twice.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from entropy_rl import files
from entropy_rl.errors import InputError, lookup

ID = "tracker_id"  # a file of the workdir
PROJECT = "entropy_rl"
TEXTS = "samples"  # the key under which texts are found


class Tracker:
    """What every tracker can do."""

    module = ""  # of its library

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a step."""

    def texts(self, step: int, rows: list[dict[str, Any]]) -> None:
        """Texts with their numbers, as `metrics.Writer.samples` gets them."""

    def flush(self) -> None:
        """What was written is on the disk, for a library that does not see to it."""

    def close(self) -> None:
        """Ends the run."""


class _TensorBoard(Tracker):
    """Events in `workdir/tensorboard`, by tensorboardX; older events from `start` on are hidden."""

    module = "tensorboardX"

    def __init__(self, library, workdir: Path, config: Mapping[str, Any], start: int):
        # the suffix: files are named by the second, and read in the order of their names
        how = {"purge_step": start, "filename_suffix": f".{start:09}"}
        self._writer = library.SummaryWriter(str(workdir / "tensorboard"), **how)
        if start == 0:
            self._writer.add_text("config", "```json\n" + files.line(config).strip() + "\n```", 0)

    def scalars(self, step, values):
        for key, value in values.items():
            if math.isfinite(value):  # the library warns of each other one
                self._writer.add_scalar(key, value, step)

    def texts(self, step, rows):
        self._writer.add_text(TEXTS, markdown(rows), step)

    def flush(self):
        self._writer.flush()

    def close(self):
        self._writer.close()


class _Wandb(Tracker):
    """A run of Weights & Biases named as the workdir; offline, in `workdir/wandb`, where it has no key or no network.

    Its project is `WANDB_PROJECT`, else entropy_rl; `WANDB_MODE` and its other variables are obeyed. An offline run is
    sent later by `wandb sync`.
    """

    module = "wandb"

    def __init__(self, library, workdir: Path, config: Mapping[str, Any], start: int):
        how = {"project": os.environ.get("WANDB_PROJECT", PROJECT), "name": workdir.name, "dir": str(workdir)}
        how |= {"id": _id(workdir), "resume": "allow"}
        how |= {"config": dict(config), "settings": library.Settings(silent=True, console="off")}
        self._library, mode = library, None
        if "WANDB_MODE" not in os.environ and not library.setup().settings.api_key and not _netrc():
            mode = "offline"
        try:
            self._run = library.init(mode=mode, **how)
        except library.errors.CommError:
            self._run = library.init(mode="offline", **how)

    def scalars(self, step, values):
        self._run.log(dict(values), step=step)

    def texts(self, step, rows):
        columns = sorted({key for row in rows for key in row})
        table = self._library.Table(columns=columns, data=[[row.get(key) for key in columns] for row in rows])
        self._run.log({TEXTS: table}, step=step)

    def close(self):
        self._run.finish()
        self._library.teardown()  # waits for its process, which writes the file


class _Trackio(Tracker):
    """A run of Trackio named as the workdir and its id, of the project `TRACKIO_PROJECT`, else entropy_rl.

    It goes into Trackio's SQLite file under `TRACKIO_DIR`, or to the server that its variables name.
    """

    module = "trackio"

    def __init__(self, library, workdir: Path, config: Mapping[str, Any], start: int):
        self._library = library
        quiet = {"auto_log_gpu": False, "auto_log_cpu": False, "embed": False}
        name = f"{workdir.name}-{_id(workdir)}"
        with contextlib.redirect_stdout(io.StringIO()):
            project = os.environ.get("TRACKIO_PROJECT", PROJECT)
            self._run = library.init(project=project, name=name, config=dict(config), resume="allow", **quiet)

    def scalars(self, step, values):
        self._run.log(dict(values), step=step)

    def texts(self, step, rows):
        self._run.log({TEXTS: self._library.Markdown(markdown(rows))}, step=step)

    def close(self):
        with contextlib.redirect_stdout(io.StringIO()):
            self._library.finish()


TRACKERS: dict[str, type[Tracker]] = {"tensorboard": _TensorBoard, "trackio": _Trackio, "wandb": _Wandb}


class Trackers(Tracker):
    """Some trackers as one, which never raises once it is made.

    Args:
      names: of TRACKERS, commas between; "": none.
      workdir: of the run.
      config: of the run, as json knows it.
      start: the first step that will be written.
      say: gets a line for each tracker that fails.

    Raises:
      InputError: an unknown name, or a library that is not installed.
    """

    def __init__(
        self,
        names: str,
        workdir: str | os.PathLike,
        *,
        config: Mapping[str, Any],
        start: int = 0,
        say: Callable[[str], None] = print,
    ):
        self._say, self._open = say, {}
        how = (Path(workdir).resolve(), config, start)
        for name, library in libraries(names).items():
            with self._surviving(name):
                self._open[name] = TRACKERS[name](library, *how)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of a step."""
        self._each("scalars", step, values)

    def texts(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Texts with their numbers, as `metrics.Writer.samples` gets them."""
        self._each("texts", step, [dict(row) for row in rows])

    def flush(self) -> None:
        """Whatever a library keeps in memory is written."""
        self._each("flush")

    def close(self) -> None:
        """Ends the runs; closing twice is fine."""
        self._each("close")
        self._open = {}

    def _each(self, method: str, *args: Any) -> None:
        for name, tracker in list(self._open.items()):
            with self._surviving(name):
                getattr(tracker, method)(*args)

    @contextlib.contextmanager
    def _surviving(self, name: str):
        try:
            yield
        except Exception as e:  # whatever the library raises, the run is worth more
            self._open.pop(name, None)
            self._say(f"{name} failed and is left out from here on ({type(e).__name__}: {' '.join(str(e).split())})")


def libraries(names: str) -> dict[str, Any]:
    """The modules of trackers by name, imported.

    Raises:
      InputError: an unknown name, or a library that is not installed.
    """
    found = {}
    for name in filter(None, map(str.strip, names.split(","))):
        module = lookup(TRACKERS, name, "tracker").module
        try:
            found[name] = importlib.import_module(module)
        except ImportError as e:
            raise InputError(f"track={name} needs {module}: pip install 'entropy_rl[trackers]'") from e
    return found


def markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as Markdown: short values in a line, texts of more than one word in blocks of their own."""
    parts = []
    for row in rows:
        texts = {k: v for k, v in row.items() if isinstance(v, str)}
        parts.append(", ".join(f"{k} {v}" for k, v in row.items() if k not in texts))
        parts += [f"{k}:\n\n" + "\n".join(f"    {line}" for line in v.splitlines()) for k, v in texts.items()]
    return "\n\n".join(part for part in parts if part)


def _id(workdir: Path) -> str:
    path = workdir / ID
    if not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        files.write(path, uuid.uuid4().hex[:8])
    return path.read_text().strip()


def _netrc() -> bool:
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    return path.exists() and "wandb" in path.read_text()
