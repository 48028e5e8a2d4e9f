"""Critique datasets on disk, and the lessons that are made of them."""

import dataclasses

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.methods.critique import dataset, lessons, oracle
from entropy_rl.methods.critique.sentences import ask_critique, parse, write
from entropy_rl.tasks import countdown

TASK = countdown.make(levels=(3, 4), talk=True)
RIGHT, WRONG = "3 + 5 = 8 ; 8 * 3 = 24", "5 - 3 = 2 ; 2 + 3 = 5"


def row(attempt, i=0):
    question = "3 5 3 -> 24 :"
    said = oracle.critique(question, attempt, np.random.default_rng(i))
    return dataset.Row(f"p/{i}", 3, question, attempt, write(said), said.answer or attempt, "rg1")


ROWS = [row(RIGHT, 0), row(WRONG, 1), row("5 * 5 = 25", 2), row("3 + 3 = 6 ; 6 + 5 = 12", 3)]


def pairs(made, seed=0, step=0, count=64):
    """(prompt, response) texts of demonstrations, read off tokens and mask."""
    tokens, mask = made.demonstrations(seed, step, count)
    assert tokens.shape == mask.shape == (count, made.prompt_length + made.response_length)
    out = []
    for t, m in zip(tokens, mask):
        where = np.flatnonzero(m)
        assert (np.diff(where) == 1).all() and t[where[-1]] == TASK.tokenizer.eos_id
        assert (t[where[-1] + 1 :] == TASK.tokenizer.pad_id).all()
        out.append((TASK.tokenizer.decode(t[: where[0]]), TASK.tokenizer.decode(t[m])))
    return out


def test_a_dataset_comes_back(tmp_path):
    rows = [*ROWS, dataclasses.replace(ROWS[1], wins=2, tries=4)]
    folder = dataset.write(tmp_path, rows, about="a test", counts={"rg1/attempts": 5})
    assert folder.name == dataset.VERSION and list(folder.glob("*.array_record*"))
    assert sorted(dataset.read(tmp_path), key=str) == sorted(rows, key=str)
    assert '"rg1/attempts": 5' in (folder / "metadata.json").read_text()


def test_datasets_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="holds 0 critique datasets"):
        dataset.read(tmp_path)
    with pytest.raises(InputError, match="no critiques to write"):
        dataset.write(tmp_path, [], about="", counts={})
    example = {**dataclasses.asdict(ROWS[0])}
    del example["annotator"]  # of version 1.0.0
    assert dataset.rows_of([example], "here") == [ROWS[0]]
    del example["critique"]
    with pytest.raises(InputError, match="here: row 0 has no field 'critique': it has attempt, id"):
        dataset.rows_of([example], "here")


def test_each_kind_of_lesson():
    asked = [(ask_critique(r.question, r.attempt), r.critique) for r in ROWS]
    for prompt, response in pairs(lessons.make(TASK, ROWS, {"critique": 1}, critique_level="answer")):
        assert (prompt, response) in asked
    for prompt, response in pairs(lessons.make(TASK, ROWS, {"refine": 1})):
        question, _, rest = prompt.partition(" : ")
        problem = countdown.Problem(question + " :", "", "", 3)
        assert rest.endswith(" again") and not rest.startswith(RIGHT) and TASK.verify(problem, response) == 1
    for prompt, response in pairs(lessons.make(TASK, ROWS, {"refined": 1})):
        assert TASK.verify(countdown.Problem(prompt, "", "", 3), response) == 1


def test_verdicts_can_be_taught_alike():
    """One right attempt in four rows, and half of what is taught. Mutation: rows drawn as they come."""
    made = lessons.make(TASK, ROWS, {"critique": 1}, even=True)
    right = sum(parse(response).right for _, response in pairs(made, count=512))
    assert abs(right - 256) < 4 * 512**0.5 / 2
    with pytest.raises(InputError, match="all attempts of the critique dataset have one verdict"):
        lessons.make(TASK, ROWS[1:], {"critique": 1}, even=True)


@pytest.mark.parametrize("level", ["verdict", "step", "reason", "hint"])
def test_what_taught_critiques_say(level):
    made = lessons.make(TASK, ROWS, {"critique": 1}, critique_level=level)
    said = {parse(response) for _, response in pairs(made)}
    assert {c.level for c in said if not c.right} == {level}
    prompts = {p for p, _ in pairs(lessons.make(TASK, ROWS, {"refine": 1}, refine_levels=(level,)))}
    assert prompts and all((" hint " in p) == (level == "hint") for p in prompts)
    assert all(parse(p[p.index("wrong") : -len(" again")]).level == level for p in prompts)


def test_shares_and_purity():
    made = lessons.make(TASK, ROWS, {"solve": 2, "critique": 1, "refine": 1})
    texts = [prompt for step in range(50) for prompt, _ in pairs(made, step=step, count=10)]
    ends = np.array([{"critique": 1, "again": 2}.get(t.split()[-1], 0) for t in texts])
    np.testing.assert_allclose(np.bincount(ends) / len(ends), [0.5, 0.25, 0.25], atol=0.01)
    assert pairs(made, 3, 7) == pairs(made, 3, 7) != pairs(made, 3, 8)
    assert pairs(made, 4, 7) != pairs(made, 3, 7)


def test_rows_that_cannot_be_read_are_counted():
    foreign = dataclasses.replace(ROWS[1], critique="Schritt 2 ist falsch")
    made = lessons.make(TASK, [*ROWS, foreign], {"critique": 1})
    assert made.unreadable == 1
    with pytest.raises(InputError, match="no row that teaches 'critique' \\(1 are unreadable\\)"):
        lessons.make(TASK, [foreign], {"critique": 1})
    with pytest.raises(InputError, match="no row that teaches 'refine'"):
        lessons.make(TASK, ROWS[:1], {"refine": 1})


@pytest.mark.parametrize(
    ("shares", "how", "message"),
    [
        ({"critiques": 1}, {}, "critiques=1.0: give a share"),
        ({"critique": -1}, {}, "critique=-1.0: give a share"),
        ({"critique": 0}, {}, "no shares"),
        ({"critique": 1}, {"critique_level": "all"}, "no level of critique is called 'all'"),
        ({"critique": 1}, {"critique_level": "none"}, "no level"),
        ({"refine": 1}, {"refine_levels": ("some",)}, "'some'"),
    ],
)
def test_bad_lessons(shares, how, message):
    with pytest.raises(InputError, match=message):
        lessons.make(TASK, ROWS, shares, **how)
