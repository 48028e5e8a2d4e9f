"""The training loop: goes on from the latest checkpoint, evaluates, checks that updates are finite, writes, saves.

On SIGTERM or SIGUSR1 (parallel/preemption.py) it saves and ends, and what comes after is what would have come: at once
while it evaluates or collects data, else before the next step; in several processes always before a step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from entropy_rl import files
from entropy_rl.errors import InputError, Preempted
from entropy_rl.metrics import Writer
from entropy_rl.parallel import processes
from entropy_rl.parallel.preemption import Notice
from entropy_rl.trackers import Trackers
from entropy_rl.training.checkpoints import Checkpoints
from entropy_rl.training.learner import Metrics, TrainState, Update
from entropy_rl.training.rollouts import Batch

FINITE = "update/finite"
REMEDY = "lower optimizer.learning_rate"
# a file with the number of steps, of a run that was preempted in its last evaluation and has made it since
FINISHED = "finished"
UNSEEN = SimpleNamespace(update=lambda: None, note=lambda values: None)  # a progress that nobody sees


def loop(
    workdir: Path,
    learn: Callable[[Writer, int, Any, Any], tuple[Any, Mapping[str, Any]]],
    *,
    steps: int,
    abstract: Any,
    first: Callable[[], Any],
    evaluate: Callable[[Writer, int, Any, bool], None],
    keep: int,
    before: Any = None,
    collect: Callable[[Writer, int, Any], Any] | None = None,
    pack: Callable[[Any], tuple[Any, dict]] = lambda state: (state, {}),
    unpack: Callable[[Any, dict], Any] = lambda tree, meta: tree,
    observe: Callable[[int, dict[str, float]], None] | None = None,
    checkpoint_every: int = 1,
    eval_every: int | None = None,
    log_every: int = 1,
    numbered_from: int = 0,
    single_update: bool = False,
    wanting: Callable[[], bool] = lambda: False,
    remedy: str = REMEDY,
    progress: Callable[[int, int], Any] | None = None,
    shown: Mapping[str, str] | None = None,
    track: Callable[[int], Trackers] | None = None,
) -> None:
    """Runs the steps that are left, each in this order: checkpoint, evaluation, `collect`, `learn`.

    Args:
      workdir: of the run.
      learn: (writer, step, state, what `collect` gave) -> (state, row). A value of the row is a scalar, or a list of
        scalars, one an update, whose mean is logged; on a device or not. Every row is fetched before the next `learn`:
        no more than one step is under way, whatever `log_every` is, devices hold what it needs, and `progress` counts
        steps that are done. Of an empty row nothing is written.
      steps: in all.
      abstract: shapes of the tree that a checkpoint holds.
      first: gives the state of a run without a checkpoint.
      evaluate: (writer, step, state, whether it is the last), before every `eval_every`-th step and at the end.
      keep: latest checkpoints that are kept.
      before: shapes of another tree, which a checkpoint of an earlier version may hold.
      collect: (writer, step, state) -> data for `learn`. With it a row is fetched only after the next step's data are
        there, so that the host does not wait for the update. Where it raises InputError, the state is saved first.
      pack, unpack: state -> (tree, json for the checkpoint), and the inverse.
      observe: (step, row), after a row is written.
      checkpoint_every: steps between checkpoints; one more is saved at the end.
      eval_every: steps between evaluations; None: only the one at the end.
      log_every: steps between rows that are written, as is that of the last step.
      numbered_from: 0: checkpoint n is the state before step n. 1: that after step n, and the last evaluation is that
        of the last step (where step 0 is the start, as in rounds).
      single_update: a step is one update, so one that is not finite left the state as it was: it is saved.
      wanting: whether a run that is finished lacks its last evaluation, as one has that was not asked for it.
      remedy: of the message where an update is not finite.
      progress: (steps, start) -> a context manager with `update()` and `note({name: number})`.
      shown: names and keys of a row's numbers that it notes.
      track: first step of this process -> trackers that get the numbers too (entropy_rl/trackers.py).

    Raises:
      InputError: `update/finite` of a row is below 1, more steps are done than `steps`, or what the functions raise.
      Preempted: a signal asked the run to end; it is saved.
    """
    with Checkpoints(workdir / "checkpoints", keep=keep) as checkpoints, Notice() as notice:
        restored = checkpoints.restore_latest(abstract, *([] if before is None else [before]))
        start = restored[0] + numbered_from if restored else 0
        if start > steps:
            raise InputError(f"{workdir} has done {start} steps, more than the {steps} that are asked for: give more")
        unfinished = restored and restored[2].get("unfinished") and _read(workdir / FINISHED) != str(start)
        if start == steps and not processes.broadcast(bool(unfinished or wanting())):
            return
        state = unpack(*restored[1:]) if restored else first()
        del restored

        def save(step, **about):
            writer.flush()
            tree, meta = pack(state)
            checkpoints.save(step - numbered_from, tree, meta | about)

        def leave(step):
            """Saves what is there before `step`, and ends the run."""
            if pending:
                finish(*pending)
            if step > start:
                save(step, **({"unfinished": True} if step == steps else {}))
            checkpoints.wait()
            raise notice.preempted(step) from None

        def finish(step, row):
            """Checks a row once its numbers are there, and writes it."""
            row = {k: float(np.mean(v)) for k, v in processes.fetch(dict(row)).items()}
            if row.get(FINITE, 1.0) < 1:
                if single_update:
                    save(step)
                raise not_finite(f"at step {step} (loss {row['update/loss']})", remedy)
            if row and ((step + 1) % log_every == 0 or step + 1 == steps):
                writer.scalars(step, row)
                bar.note({name: row[key] for name, key in (shown or {}).items()})
            bar.update()
            if observe:
                observe(step, row)

        shows = progress(steps, start) if progress else contextlib.nullcontext(UNSEEN)
        with Writer.resume(workdir, start, track=track) as writer, shows as bar:
            pending = data = None
            for step in range(start, steps):
                if notice.reached(step):
                    leave(step)
                at_checkpoint = step > start and step % checkpoint_every == 0
                at_eval = eval_every and step % eval_every == 0
                if pending and (at_checkpoint or at_eval):
                    pending = finish(*pending)
                if at_checkpoint:
                    save(step)
                try:
                    with notice.interrupts():
                        if at_eval:
                            evaluate(writer, step, state, False)
                except Preempted:
                    leave(step)
                if collect:
                    try:
                        with notice.interrupts():
                            data = collect(writer, step, state)
                    except Preempted:
                        leave(step)
                    except InputError:
                        pending = finish(*pending) if pending else None
                        save(step)
                        raise
                if pending:
                    pending = finish(*pending)
                state, row = learn(writer, step, state, data)
                data = None
                pending = (step, row) if collect else finish(step, row)
            if pending:
                pending = finish(*pending)
            if notice.reached(steps):
                leave(steps)
            try:
                with notice.interrupts():
                    evaluate(writer, steps - numbered_from, state, True)
            except Preempted:
                leave(steps)
            save(steps)
            if start == steps:
                processes.run_on_primary(lambda: files.write(workdir / FINISHED, str(steps)))


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def taught(
    update: Update, state: TrainState, batches: Iterable[Batch], key: jax.Array, *, where: str, remedy: str = REMEDY
) -> tuple[TrainState, list[Metrics]]:
    """(state after an update on each of the batches, the metrics of each).

    Raises:
      InputError: an update was not applied, as its loss or gradient was not finite; `where` tells of what.
    """
    before, rows = int(state.step), []
    for batch in batches:
        jax.block_until_ready(rows[-1:])  # the batch was made meanwhile; no more than one update is under way
        state, row = update(state, batch, key, {})
        rows.append(row)
    applied = int(state.step) - before
    if applied < len(rows):
        raise not_finite(f"{where} ({len(rows) - applied} of {len(rows)} updates)", remedy)
    return state, rows


def passes(rows: int, *, count: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """`count` batches of `size` of the numbers below `rows`, in passes of random order that follow each other."""
    order = np.zeros(0, int)
    for _ in range(count):
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(rows)])
        yield order[:size]
        order = order[size:]


def averaged(rows: list[Metrics]) -> dict[str, float]:
    """Means of the metrics of several updates."""
    rows = processes.fetch(rows)
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def not_finite(where: str, remedy: str) -> InputError:
    """The error of an update that is not finite."""
    return InputError(f"loss or gradient is not finite {where}: {remedy}, in a new workdir")
