"""What teachers are shown: critiques of failed attempts, right siblings, never a row's own success; what is counted."""

import dataclasses

import jax
import numpy as np
import pytest

from entropy_rl.methods.critique import critics
from entropy_rl.methods.critique.distil import Distiller
from entropy_rl.methods.critique.language import CLOSED, Attempt
from entropy_rl.training import collect
from tests.methods.critique.test_refine import BAD, LENGTH, PROBLEM, TASK, group

OTHER = "8 + 16 = 24"  # another right text, to the reward that is given it
WIDTH = 80


def made(*texts, rewards=None, source="oracle", width=WIDTH, **how):
    """(texts that teachers see, rows of the mask, what is logged, groups, rollout) of one group."""
    own = group(*texts)
    own = own if rewards is None else dataclasses.replace(own, rewards=rewards)
    if "refined" in how:
        own = dataclasses.replace(own, refined=how.pop("refined"))
    rollout = collect.to_rollout([own], length=LENGTH, pad_id=0)

    def criticise(params, tried, rng, key):
        return critics.SOURCES[source](tried, rng, level="reason"), {"critique/tokens": 3.0}, [""] * len(tried)

    distiller = Distiller(TASK, width, None if source == "off" else criticise, **how.pop("fields", {}))
    groups, rollout, row = distiller(None, [own], rollout, np.random.default_rng(0), jax.random.key(0), **how)
    seen = [TASK.tokenizer.decode(t[: m.argmax()]) if m.any() else "" for t, m in zip(*teaching(rollout))]
    return seen, row, groups, rollout


def teaching(rollout):
    return rollout.teacher_tokens, rollout.teacher_mask


def test_what_teachers_see_by_hand():
    """A failed attempt: its critique, to which the sibling is the answer. A right one: another right one. Mutations: a
    row's own success as its sibling; the critique of another row; a response that is not the row's."""
    right = PROBLEM.answer
    seen, row, (out,), rollout = made(BAD[0], right, OTHER, BAD[1], rewards=[0.0, 1.0, 1.0, 0.0])
    assert seen == [
        f"{PROBLEM.prompt} {BAD[0]} wrong step 1 because arithmetic answer {right} again",
        f"{PROBLEM.prompt} {OTHER} right again",
        f"{PROBLEM.prompt} {right} right again",
        f"{PROBLEM.prompt} {BAD[1]} wrong step 1 because unreachable answer {right} again",
    ]
    tokens, mask = teaching(rollout)
    assert tokens.shape == (4, WIDTH + TASK.response_length)
    np.testing.assert_array_equal(mask.sum(1), rollout.mask.sum(1))
    np.testing.assert_array_equal(tokens[mask], rollout.tokens[rollout.mask])
    names = ("rows", "critiques", "siblings", "skipped", "too_long")
    assert [row[f"distillation/{k}"] for k in names] == [4, 2, 4, 0, 0]
    assert row["critique/attempts"] == 2 and row["critique/tokens"] == 3 and row["critique/leak"] == 3
    assert row["distillation/tokens"] == sum(len(TASK.tokenizer.encode(s)) for s in seen) + mask.sum()
    first = out.dialogues[0]
    assert (first["kind"], first["attempt"], first["sibling"]) == ("distillation", BAD[0], right)
    assert first["critique"] == "wrong step 1 because arithmetic" and first["teacher"] == seen[0]


def test_rows_without_anything_to_see_are_skipped_and_counted():
    """Mutations: the row's own text from another row; a refinement that is taught; a row with a conversation cut."""
    right = PROBLEM.answer
    seen, row, *_ = made(right, right, BAD[0], rewards=[1.0, 1.0, 0.0], source="off")
    assert [bool(s) for s in seen] == [False, False, True] and row["distillation/skipped"] == 2
    assert seen[2] == f"{PROBLEM.prompt} {BAD[0]} wrong answer {right} again" and "critique/attempts" not in row
    seen, row, *_ = made(right, BAD[0], BAD[1], rewards=[1.0, 0.0, 0.0], fields={"siblings": False, "attempts": 1})
    assert [bool(s) for s in seen] == [False, True, False] and "answer" not in seen[1]
    seen, row, *_ = made(BAD[0], right, rewards=[0.0, 1.0], refined=(0,))
    assert seen == ["", ""] and row["distillation/skipped"] == 2 and row["critique/attempts"] == 0
    longest = f"{PROBLEM.prompt} {BAD[0]} wrong step 1 because arithmetic again"
    seen, row, *_ = made(BAD[0], BAD[1], width=len(TASK.tokenizer.encode(longest)))
    assert [bool(s) for s in seen] == [True, False] and row["distillation/too_long"] == 1
    seen, row, *_ = made(BAD[0], BAD[1], withdrawn=True)
    assert seen == ["", ""] and row["distillation/rows"] == row["distillation/tokens"] == 0
    for source in ("none", "fresh"):
        assert made(BAD[0], BAD[1], source=source)[0] == ["", ""]


@pytest.mark.parametrize("said", ["", "wrong", "wrong step 2 because target answer 1 + 1 = 2"])
def test_an_answer_that_a_critique_gives_stays(said):
    asked = CLOSED.ask_informed(Attempt(PROBLEM, BAD[0], False), said, PROBLEM.answer)
    want = said if "answer" in said else f"wrong answer {PROBLEM.answer}"
    assert asked == f"{PROBLEM.prompt} {BAD[0]} {want} again"
