"""How many steps of a run are done and how long the others take: tqdm, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import jax
import tqdm


class Progress(tqdm.tqdm):
    """A tqdm bar with the method that `entropy_rl.training.loop` calls."""

    def note(self, values: Mapping[str, float]) -> None:
        """Numbers beside the bar, shown from the next refresh on."""
        self.set_postfix(values, refresh=False)


class Lines:
    """A file for tqdm where stderr is no terminal: each state is a line of its own, without carriage returns."""

    def write(self, text: str) -> None:
        """`text` is what tqdm writes at once: a carriage return and a state, or only white space."""
        if text.strip():
            print(text.strip(), file=sys.stderr, flush=True)

    def flush(self) -> None:
        """`write` did."""


def progress(steps: int, start: int = 0, desc: str = "") -> Progress:
    """A bar on a terminal; elsewhere a line at the start, at the end and at most every 10 s between.

    Args:
      steps: in all.
      start: steps done before this process began, which the rate leaves out.
      desc: a word or two before the numbers.
    """
    terminal = sys.stderr.isatty()
    where = {"dynamic_ncols": True} if terminal else {"file": Lines(), "ncols": 0, "mininterval": 10.0}
    # miniters=1: only the clock decides, so that tqdm's monitor thread has nothing to print
    silent = jax.process_index() > 0
    return Progress(total=steps, initial=start, desc=desc or None, ascii=True, miniters=1, disable=silent, **where)
