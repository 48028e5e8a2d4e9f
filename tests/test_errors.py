"""A name and its hyper-parameters bound to a row of a table, or one line that says what is wrong."""

import pytest

from entropy_rl.errors import InputError, bind


def row(x, mask, *, data=None, size, scale=1.0):
    return (x, mask, data, size, scale)


TABLE = {"row": row, "plain": lambda x: x}


def test_a_row_is_bound():
    """Mutation: args that do not reach the function."""
    assert bind(TABLE, "row", {"size": 2}, "shape", first=2, given=("data",))(1, 2, data=3) == (1, 2, 3, 2, 1.0)


@pytest.mark.parametrize(
    "name, args, more, message",
    [
        ("rwo", {}, {}, "unknown shape 'rwo' (did you mean 'row'?): one of plain, row"),
        (
            "row",
            {"sise": 2},
            {},
            "shape 'row' has no hyper-parameter 'sise' (did you mean 'size'?): it has size, scale",
        ),
        ("row", {"x": 2}, {}, "shape 'row' has no hyper-parameter 'x': it has size, scale"),
        ("row", {"data": 2, "size": 1}, {}, "shape 'row' has no hyper-parameter 'data': it has size, scale"),
        ("plain", {"a": 2}, {"first": 1}, "shape 'plain' has no hyper-parameter 'a': it has none"),
        ("row", {"scale": 2}, {}, "shape 'row' needs a hyper-parameter 'size': add it to its args"),
        ("row", {}, {"missing": "say it"}, "shape 'row' needs a hyper-parameter 'size': say it"),
    ],
)
def test_mistakes_are_named(name, args, more, message):
    """Mutation: leading or given parameters taken for hyper-parameters."""
    with pytest.raises(InputError) as e:
        bind(TABLE, name, args, "shape", **({"first": 2, "given": ("data",)} | more))
    assert str(e.value) == message
