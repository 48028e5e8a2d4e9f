"""Files that are whole or not there: whoever reads one while it is made, or after a kill, finds the one before."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from entropy_rl.errors import InputError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place at the end; folders are made where missing.

    Raises:
      InputError: it cannot be written.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield new
        os.replace(new, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}): give another --workdir") from None


def write(path: Path, text: str) -> None:
    """Writes a text, with a new line at its end, in place of what is there; InputError as above."""
    with replacing(path) as new:
        new.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
