"""Problems that experiments.make_dataset froze: the same on every machine and with every later version of their task.

    make(name="sums", data_dir="runs/data", split="test")

The split's checksum is compared with the one that was written. Responses are checked as the task that the problems come
from checks them, with the arguments that it had; of a frozen Countdown, the tokenizer and all else is Countdown's too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from entropy_rl.data import frozen, records
from entropy_rl.errors import InputError
from entropy_rl.tasks import base


@dataclasses.dataclass(frozen=True)
class Frozen(records.Records):
    """Frozen problems. What they do not have themselves (Countdown's `tokenizer`) is their task's.

    Attributes:
      about: what was written with them: task, args, counts, sha256, commit, versions.
      version: of the dataset.
    """

    about: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    version: str = ""

    def __getattr__(self, name: str) -> Any:
        """An attribute of the task that the problems come from."""
        if name.startswith("_") or name == "verifier":
            raise AttributeError(name)
        return getattr(self.verifier, name)

    def verify_all(self, problems, responses) -> list[float]:
        """`verify` of each pair."""
        if hasattr(self.verifier, "verify_all"):
            return self.verifier.verify_all(problems, responses)
        return [self.verifier.verify(p, r) for p, r in zip(problems, responses)]


def make(
    name: str = "",
    data_dir: str = "",
    split: str = "train",
    size: int | None = None,
    levels: Iterable[int] | None = None,
    seed: int = 0,
    *,
    version: str | None = None,
    workers: int | None = None,
) -> Frozen:
    """Problems of one split of a frozen dataset.

    Args:
      name, version: of the dataset; None: the highest version that there is.
      data_dir: the workdir of experiments.make_dataset, or a folder that the dataset was copied to.
      split: train, validation or test, of those that were frozen.
      size: how many problems, drawn by `seed`; None: all, in their order.
      levels: those that are kept; None: all.
      seed: of the draw.
      workers: processes that check responses, where the task needs any; None: as many as the frozen task had.

    Raises:
      InputError: there is no such dataset, version or split; its checksum is wrong; the installed version of what made
        the problems makes others; a value out of range.
    """
    if not name or not data_dir:
        raise InputError("task 'tfds' needs name= and data_dir=: those of a run of experiments.make_dataset")
    read = frozen.read(data_dir, name, version, split)
    about = read.about
    args = dict(about["args"]) | ({} if workers is None else {"workers": workers})
    verifier = base.verifier(about["task"], **args)
    for problem in read.problems[:3] if hasattr(verifier, "knows") else ():
        if not verifier.knows(problem):
            made = ", ".join(f"{k} {v}" for k, v in sorted(about.get("versions", {}).items()))
            raise InputError(f"{data_dir}/{name}: its task makes other problems here than with {made}: install these")
    kept = records.select(name, split, read.problems, size=size, levels=levels, seed=seed)
    present = tuple(sorted({p.level for p in kept}))
    return Frozen(name, split, kept, verifier, present, about=about, version=read.version)
