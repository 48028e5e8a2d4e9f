"""Worked arithmetic: what documents say is right, pure in (seed, i), and held-out text is held out."""

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.methods.rlp import worked
from entropy_rl.tasks.countdown import OPS, split_of


def read(text):
    """(numbers, the true steps, the steps that stand there or None, the result) of a document."""
    left, right = text.split(" = because " if "because" in text else " = ", 1)
    words = left.split()
    value, steps = int(words[0]), []
    for op, b in zip(words[1::2], words[2::2]):
        result = OPS[op](value, int(b))
        assert 0 <= result <= 30
        steps.append(f"{value} {op} {b} = {result}")
        value = result
    *thought, result = right.split("again")
    assert int(result) == value
    return [int(w) for w in words[::2]], steps, [s.strip() for s in thought[0].split(";")] if thought else None, value


def texts(text, count):
    return [text.tokenizer.decode(row) for row in text.documents(0, count)[0]]


def test_what_documents_say_is_right():
    """Mutation: the wrong operand in a step, a `;` before the first, or a level that is not `levels[i % 3]`."""
    text = worked.make()
    kinds = {"bare": 0, "whole": 0, "gaps": 0}
    for i, document in enumerate(texts(text, 600)):
        numbers, steps, said, _ = read(document)
        assert len(numbers) == (3, 4, 5)[i % 3] and split_of(numbers) == "train"
        kind = "bare" if said is None else "whole" if said == steps else "gaps"
        kinds[kind] += 1
        if kind == "gaps":
            left = iter(steps)
            assert said == [""] or all(step in left for step in said)  # in their order
    # half have none; of the others half have all, as have 1/4, 1/8 and 1/16 of the rest: a 3 of 5 deviations
    assert kinds["bare"] == pytest.approx(300, abs=60) and kinds["whole"] == pytest.approx(172, abs=55)


def test_shares():
    assert not any("because" in t for t in texts(worked.make(worked=0.0), 50))
    assert all(read(t)[1] == read(t)[2] for t in texts(worked.make(worked=1.0, whole=1.0), 50))


def test_the_mask_leaves_out_the_first_token_and_what_opens_a_thought():
    text = worked.make(worked=1.0, whole=1.0)
    tokens, mask = text.documents(0, 30)
    assert tokens.shape == mask.shape == (30, 37)
    for row, learnt in zip(tokens, mask):
        end = list(row).index(text.tokenizer.eos_id)
        assert not row[end + 1 :].any()
        opens = list(row).index(worked.OPEN)
        assert [i for i in range(37) if not learnt[i]] == [0, opens, *range(end + 1, 37)]
    assert (tokens != 0).sum(axis=1).max() == 37  # the longest document fills a row


def test_documents_are_pure_in_seed_and_number():
    text = worked.make(seed=3)
    all_of_them, some = text.documents(0, 20), text.documents(7, 5)
    for a, b in zip(all_of_them, some):
        np.testing.assert_array_equal(a[7:12], b)
    assert (worked.make(seed=4).documents(0, 20)[0] != all_of_them[0]).any()


def test_questions_are_the_same_documents_without_their_steps():
    text = worked.make(levels=(3, 6))
    questions = text.questions(5, 40)
    documents = texts(text, 45)[5:]
    for context, result, level, document in zip(questions.contexts, questions.results, questions.levels, documents):
        bare = text.tokenizer.decode([*context, result])
        numbers, _, said, value = read(bare)
        assert document.startswith(text.tokenizer.decode(context)) and said is None and read(document)[3] == value
        assert len(numbers) == level and len(context) <= text.context_length
        assert bare.split()[-2] == "="


def test_splits_share_no_multiset():
    seen = {}
    for split in ("train", "validation", "test"):
        seen[split] = {tuple(sorted(read(t)[0])) for t in texts(worked.make(split), 300)}
        assert {split_of(numbers) for numbers in seen[split]} == {split}


def test_what_a_thought_says():
    assert worked.said("3 + 5 = 8 ; 8 * 2 = 16 again") == "16"
    assert [worked.said(t) for t in ("", "again", "= again", "3 + 5 = again", "16 again", "3 = 4 5 again")] == [""] * 6
    assert worked.said("3 + 5 = 8") == "8"  # cut off


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "tset"}, "unknown split of worked text 'tset'"),
        ({"levels": (2,)}, "levels"),
        ({"levels": ()}, "levels"),
        ({"worked": 1.5}, "worked=1.5"),
        ({"whole": -0.1}, "whole=-0.1"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        worked.make(**changes)


def test_an_empty_reach_is_refused():
    with pytest.raises(InputError, match="documents 3 to 2"):
        worked.make().documents(3, 0)
