"""What process 0 alone does reaches the others, its mistakes too; here both in one process, one after the other."""

import jax
import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.parallel import processes


def both(monkeypatch, f):
    """What `run_on_primary` gives, or raises, in each of two processes."""
    sent, found = [], []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for index in (0, 1):
        left = iter(list(sent))

        def broadcast(x, index=index, left=left):
            x = np.asarray(x)
            if index == 0:
                sent.append(x)
                return x
            got = next(left)
            assert got.shape == x.shape and got.dtype == x.dtype, "both must give arrays of one shape"
            return got

        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        monkeypatch.setattr(processes.multihost_utils, "broadcast_one_to_all", broadcast)
        try:
            found.append(processes.run_on_primary(f))
        except InputError as e:
            found.append(str(e))
    return found


def test_one_asks_and_all_have_the_answer(monkeypatch):
    """Mutations: both ask; the second sends a shape of its own."""
    asked = []
    value = [{"text": "né\n" * 1000, "failed": False}, 3]
    assert both(monkeypatch, lambda: asked.append(1) or value) == [value, value] and len(asked) == 1


def test_all_end_with_its_mistake(monkeypatch):
    def fails():
        raise InputError("no reply: start the server")

    assert both(monkeypatch, fails) == ["no reply: start the server"] * 2
    monkeypatch.undo()
    with pytest.raises(InputError, match="no reply"):
        processes.run_on_primary(fails)
