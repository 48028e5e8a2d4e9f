import collections
import itertools
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from entropy_rl.data.problem import Problem
from entropy_rl.errors import InputError
from entropy_rl.tasks import countdown
from tests.tasks.reading import FIRST, TASK, demonstrations, read, texts

EVALUATION = {split: countdown.make(split) for split in ("validation", "test")}


def multisets(level, split):
    every = itertools.combinations_with_replacement(range(1, 10), level)
    return [numbers for numbers in every if countdown.split_of(numbers) == split]


# --- the problems ---


def test_levels_take_turns():
    for task in (TASK, EVALUATION["test"], countdown.make(levels=[6, 3])):
        for i in range(60):
            numbers, _ = read(task[i].prompt)
            assert len(numbers) == task[i].level == task.levels[i % len(task.levels)]
            assert len(task.tokenizer.encode(task[i].prompt)) == task[i].level + 3
            assert len(task.tokenizer.encode(task[i].answer)) + 1 == 6 * (task[i].level - 1)
    assert TASK[np.int64(3)] == TASK[3]


def test_lengths():
    assert (TASK.prompt_length, TASK.response_length) == (9, 30)
    assert (countdown.make(levels=(4,)).prompt_length, countdown.make(levels=(4,)).response_length) == (7, 18)


def test_splits_share_no_multiset():
    """Broken by a split by order, by prompt or by target, and by demonstrations from all multisets."""
    seen = {"train": {read(TASK[i].prompt)[0] for i in range(FIRST)}}
    seen["train"] |= {read(prompt)[0] for prompt, _ in texts(TASK, *demonstrations())}
    for split, task in EVALUATION.items():
        seen[split] = {read(problem.prompt)[0] for problem in task}
    for a, b in itertools.combinations(seen, 2):
        assert seen[a].isdisjoint(seen[b])
    for split, multisets in seen.items():
        assert all(countdown.split_of(reversed(m)) == split for m in multisets)


def test_split_shares():
    for level, every in {3: 165, 4: 495, 5: 1287, 6: 3003}.items():
        for split, share in {"train": 0.70, "validation": 0.15, "test": 0.15}.items():
            assert len(multisets(level, split)) / every == pytest.approx(share, rel=0.1)


def test_train_covers_its_multisets_and_values_stay_in_range():
    level3 = collections.Counter()
    for i in range(0, FIRST, 4):
        numbers, target = read(TASK[i].prompt)
        level3[numbers] += 1
        assert 0 <= target <= 30 and all(1 <= v <= 9 for v in numbers)
    possible = multisets(3, "train")
    assert set(level3) == set(possible)
    expected = sum(level3.values()) / len(possible)  # uniform over multisets: 43 each
    assert 0.5 * expected < min(level3.values()) and max(level3.values()) < 1.6 * expected


def test_evaluation_problems_are_distinct_and_prefixes_agree():
    for split, task in EVALUATION.items():
        assert len({read(problem.prompt) for problem in task}) == len(task)
        short = countdown.make(split, size=33)
        assert len(short) == 33 and list(short) == [task[i] for i in range(33)]
    assert len(countdown.make("test", levels=(5, 6))) == 1024


def test_seed_and_id():
    assert EVALUATION["test"][17].id == "countdown/test/17"
    assert TASK[5].id == "countdown/train/5"
    assert [TASK[i].prompt for i in range(20)] != [countdown.make(seed=1)[i].prompt for i in range(20)]


def test_a_level_that_runs_out_says_how_many_there_are(monkeypatch):
    def results(pool):
        if len(pool) == 1:
            yield pool[0]
            return
        for a, b, *rest in itertools.permutations(pool):
            for c in (a + b, a - b, a * b):
                if 0 <= c <= 30:
                    yield from results([c, *rest])

    there = sum(len(set(results(numbers))) for numbers in multisets(3, "test"))
    assert countdown.count_problems("test", 3) == there
    assert len(EVALUATION["test"]) == 4 * there  # the default keeps equal shares
    assert len(countdown.make("test", levels=(3,), size=there)) == there
    with pytest.raises(InputError, match=f"has {there} distinct problems of level 3"):
        countdown.make("test", levels=(3,), size=there + 1)
    # When the last ones are too rare to come up it says so as well, where it could draw for ever.
    monkeypatch.setattr(countdown, "count_problems", lambda split, level: there + 9)
    with pytest.raises(InputError, match="too many to draw"):
        countdown.make("test", levels=(3,), size=there + 2)


@pytest.mark.parametrize(
    "kwargs, named",
    [
        ({"split": "tets"}, "'test'"),
        *(({"levels": bad}, "levels=") for bad in ((), (2,), (7,), (3, 3), "34", 7, None, (4.0,), ([3],))),
        *(({"size": bad}, "size=") for bad in (0, -1, 1.5, "many")),
        ({"seed": 0.5}, "seed="),
        ({"seed": None}, "seed="),
    ],
)
def test_bad_arguments_are_named(kwargs, named):
    with pytest.raises(InputError, match=re.escape(named)) as error:
        countdown.make(**kwargs)
    assert "\n" not in str(error.value)


# --- demonstrations ---


def test_demonstrations_are_right_and_use_all_numbers():
    four, mixed = countdown.make(levels=(4,)), countdown.make(levels=(6, 3, 5))
    for task, (tokens, mask) in [
        (TASK, demonstrations()),
        (four, four.demonstrations(1, 2, 501)),
        (mixed, mixed.demonstrations(1, 2, 501)),
    ]:
        for r, (prompt, response) in enumerate(texts(task, tokens, mask)):
            numbers, _ = read(prompt)
            assert task.verify(Problem(prompt, "", "", 0), response) == 1.0, (r, prompt, response)
            assert response.count("=") == len(numbers) - 1


def test_demonstration_layout():
    tokens, mask = TASK.demonstrations(3, 5, 50)
    assert tokens.shape == mask.shape == (50, TASK.prompt_length + TASK.response_length)
    assert tokens.dtype == np.int32 and mask.dtype == bool
    eos, pad = TASK.tokenizer.eos_id, TASK.tokenizer.pad_id
    for r in range(50):
        level = TASK.levels[(5 * 50 + r) % 4]
        start, end = level + 3, 7 * level - 3
        assert mask[r].tolist() == [start <= t < end for t in range(mask.shape[1])]
        assert tokens[r, end - 1] == eos and (tokens[r, end:] == pad).all()
        assert not np.isin(tokens[r, : end - 1], [eos, pad]).any()
        assert tokens[r, start - 1] == countdown.COLON


def test_demonstrations_are_pure_in_seed_and_step():
    same = TASK.demonstrations(3, 5, 64)
    TASK.demonstrations(3, 6, 64)
    for a, b in zip(same, countdown.make("test", seed=9).demonstrations(3, 5, 64)):
        np.testing.assert_array_equal(a, b)
    for seed, step in ((3, 6), (4, 5), (-1, 5)):
        assert (TASK.demonstrations(seed, step, 64)[0] != same[0]).any()
    assert TASK.demonstrations(0, 0, 0)[0].shape == (0, 39)


def test_level_mix_is_uniform():
    prompts = [len(prompt.split()) - 3 for prompt, _ in texts(TASK, *demonstrations())]
    assert collections.Counter(prompts) == {level: FIRST // 4 for level in countdown.LEVELS}
    odd = sum(TASK.demonstrations(0, step, 5)[1].any(0)[-1] for step in range(4))
    assert odd == 4  # levels take turns across steps too: each batch of five has a level 6


def test_demonstrations_are_diverse_and_drawn_like_the_problems():
    """Two implementations of one distribution: fractions of operators, of targets, of orders must agree."""

    def statistics(pairs):
        count, n = collections.Counter(), 0
        for prompt, response in pairs:
            n += 1
            numbers, target = read(prompt)
            words = response.split()
            count.update(("op", k, op) for k, op in enumerate(words[1::6]))
            count["small target"] += target < 10
            count["ascending"] += int(words[0]) < int(words[2])
            count["first number used first"] += prompt.split()[0] in (words[0], words[2])
            count["a nine"] += 9 in numbers
        return {key: value / n for key, value in count.items()}

    problems = statistics((TASK[i].prompt, TASK[i].answer) for i in range(FIRST))
    shown = statistics(texts(TASK, *demonstrations()))
    assert problems.keys() == shown.keys() and len(problems) == 3 * 5 + 4
    for key, value in problems.items():
        assert shown[key] == pytest.approx(value, abs=0.02), key
    assert len({response for _, response in texts(TASK, *demonstrations())}) > 0.7 * FIRST


# --- other processes, other years ---


def test_the_same_in_another_process_and_without_jax():
    """Broken by Python's hash(), which is salted per process."""
    code = (
        "import sys, hashlib\n"
        "from entropy_rl.tasks import countdown\n"
        "task = countdown.make()\n"
        "text = repr([task[i] for i in range(40)]) + repr(list(countdown.make('test', size=80)))\n"
        "arrays = b''.join(a.tobytes() for a in task.demonstrations(0, 7, 64))\n"
        "assert 'jax' not in sys.modules\n"
        "print(hashlib.sha256(text.encode() + arrays).hexdigest())\n"
    )

    def run(seed):
        env = os.environ | {"PYTHONHASHSEED": seed}
        return subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True).stdout

    assert run("1") == run("2")


def test_problems_are_pinned():
    """Numbers in logs and papers refer to these problems: a change here makes old runs incomparable."""
    assert [TASK[i].prompt for i in (0, 3)] == ["3 9 3 -> 9 :", "9 9 4 3 9 4 -> 12 :"]
    assert EVALUATION["test"][17].prompt == "5 5 1 7 -> 16 :"
    assert {level: countdown.count_problems("test", level) for level in countdown.LEVELS} == {
        3: 185,
        4: 1423,
        5: 5477,
        6: 12460,
    }
