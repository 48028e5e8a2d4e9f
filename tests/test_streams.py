"""Streams of random numbers by name."""

import jax
import pytest

from entropy_rl.errors import InputError
from entropy_rl.streams import STREAMS, stream


def test_each_stream_has_its_own_key():
    """And none is what a step's number makes of the same key. Mutation: the name's length folded in."""
    key = jax.random.key(0)
    made = [jax.random.key_data(stream(key, name)).tolist() for name in STREAMS]
    made += [jax.random.key_data(jax.random.fold_in(key, step)).tolist() for step in range(100)]
    assert len({tuple(k) for k in made}) == len(made)


def test_an_unknown_stream_is_named():
    with pytest.raises(InputError, match="unknown stream 'rolout' .did you mean 'rollout'"):
        stream(jax.random.key(0), "rolout")
