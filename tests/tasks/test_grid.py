"""Grid's problems, demonstrations and responses, against a breadth-first search in another style."""

import itertools
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_rl.data.problem import Problem, Task
from entropy_rl.data.splits import SPLITS
from entropy_rl.errors import InputError
from entropy_rl.tasks import grid

TASK = grid.make(levels=grid.LEVELS)
EVALUATION = {split: grid.make(split, size=300) for split in ("validation", "test")}
PROMPT = "a1 -> d2 walls b1 e1 c2 b4 c4 a5 d5 :"
RIGHT = "a2 a3 b3 c3 d3 d2"


def read(prompt):
    start, goal, walls = re.fullmatch(r"(\w\w) -> (\w\w) walls ((?:\w\w )+):", prompt).groups()
    return start, goal, frozenset(walls.split())


def beside(cell):
    column, row = ord(cell[0]) - 97, int(cell[1])
    for dc, dr in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        if 0 <= column + dc < 5 and 1 <= row + dr <= 5:
            yield f"{chr(97 + column + dc)}{row + dr}"


def steps(prompt):
    start, goal, walls = read(prompt)
    seen, edge = {start}, [start]
    for k in itertools.count():
        if goal in edge:
            return k
        edge = [c for c in {n for cell in edge for n in beside(cell)} if c not in seen and c not in walls]
        if not edge:
            return None
        seen |= set(edge)


def reference(prompt, response):
    """The rules once more, in another style."""
    start, goal, walls = read(prompt)
    way = [start, *response.split()]
    legal = all(b in set(beside(a)) - walls for a, b in itertools.pairwise(way))
    return float(legal and way.index(goal) == len(way) - 1 <= steps(prompt) + 2) if goal in way else 0.0


def score(response, prompt=PROMPT):
    return TASK.verify(Problem(prompt, "", "", 6), response)


def texts(task, tokens, mask):
    return [(task.tokenizer.decode(r[: m.argmax()]), task.tokenizer.decode(r[m])) for r, m in zip(tokens, mask)]


# --- the problems ---


def test_levels_take_turns_and_are_the_shortest_way():
    """Mutation: reach[level] alone, which lets shorter ways in."""
    for task in (TASK, EVALUATION["test"], grid.make(levels=[6, 2])):
        for i in range(42):
            problem = task[i]
            start, goal, walls = read(problem.prompt)
            assert steps(problem.prompt) == problem.level == task.levels[i % len(task.levels)]
            assert len(walls) == 7 and not {start, goal} & walls
            assert len(problem.answer.split()) == problem.level and task.verify(problem, problem.answer) == 1.0
            assert len(task.tokenizer.encode(problem.prompt)) == task.prompt_length
    assert isinstance(TASK, Task) and TASK[np.int64(3)] == TASK[3]
    assert (TASK.prompt_length, TASK.response_length, TASK.tokenizer.vocab_size) == (12, 11, 30)


def test_splits_share_no_set_of_walls():
    """Broken by a split by start, by prompt or by order, and by demonstrations from all layouts."""
    seen = {split: {read(p.prompt)[2] for p in task} for split, task in EVALUATION.items()}
    seen["train"] = {read(TASK[i].prompt)[2] for i in range(300)}
    seen["train"] |= {read(prompt)[2] for prompt, _ in texts(TASK, *EVALUATION["test"].demonstrations(0, 0, 400))}
    for a, b in itertools.combinations(seen, 2):
        assert seen[a].isdisjoint(seen[b])
    names = [grid._split(np.random.default_rng(i).permutation(25)[:7]) for i in range(2000)]
    assert [names.count(s) / 2000 for s in SPLITS] == pytest.approx(grid.SHARES, abs=0.03)
    assert grid._split([3, 1, 2, 9, 8, 7, 6]) == grid._split([1, 2, 3, 6, 7, 8, 9])


def test_evaluation_problems_are_distinct_and_prefixes_agree():
    for split, task in EVALUATION.items():
        assert len({p.prompt for p in task}) == len(task) == 300
        assert list(grid.make(split, size=31)) == [task[i] for i in range(31)]
        assert task[17].id == f"grid/{split}/17"
    assert TASK[5].id == "grid/train/5" and TASK[0] != grid.make(levels=grid.LEVELS, seed=1)[0]
    with pytest.raises(IndexError, match=r"0\.\.299"):
        EVALUATION["test"][300]


def test_the_same_in_another_process_and_without_jax():
    """Broken by Python's hash(), which is salted per process."""
    code = (
        "import sys, hashlib\n"
        "from entropy_rl.tasks import grid\n"
        "task = grid.make()\n"
        "text = repr([task[i] for i in range(40)]) + repr(list(grid.make('test', size=60)))\n"
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
    assert grid.make()[0].prompt == "c2 -> a3 walls b1 c1 e1 d3 b4 d4 c5 :"
    assert EVALUATION["test"][17].prompt == "d2 -> b5 walls c1 a2 b2 e2 b4 e4 c5 :"


@pytest.mark.parametrize(
    "kwargs, named",
    [
        ({"split": "tets"}, "'test'"),
        *(({"levels": bad}, "levels=") for bad in ((), (1,), (9,), (3, 3), "34", 1, None, (4.0,), ([3],))),
        *(({"size": bad}, "size=") for bad in (0, -1, 1.5, "many")),
        ({"seed": 0.5}, "seed="),
    ],
)
def test_bad_arguments_are_named(kwargs, named):
    with pytest.raises(InputError, match=re.escape(named)) as error:
        grid.make(**kwargs)
    assert "\n" not in str(error.value)


def test_problems_that_run_out_are_named(monkeypatch):
    monkeypatch.setattr(grid, "_draw", lambda *a: ("one", "way"))
    with pytest.raises(InputError, match="7 different problems of level 2 are too many"):
        grid.make("test", levels=(2,), size=7, seed=99)


# --- demonstrations ---


def test_demonstrations_are_right_random_and_laid_out():
    """Mutation: argmax without noise, which makes all ways alike; a budget of `levels` alone."""
    tokens, mask = TASK.demonstrations(3, 5, 210)
    assert tokens.shape == mask.shape == (210, 23) and tokens.dtype == np.int32 and mask.dtype == bool
    spare = []
    for r, (prompt, response) in enumerate(texts(TASK, tokens, mask)):
        level = TASK.levels[(5 * 210 + r) % 7]
        assert reference(prompt, response) == 1.0 == score(response, prompt) and steps(prompt) == level, (prompt, r)
        spare.append(len(response.split()) - level)
        end = 12 + len(response.split())
        assert mask[r].tolist() == [12 <= t <= end for t in range(23)]
        assert tokens[r, end] == TASK.tokenizer.eos_id and (tokens[r, end + 1 :] == TASK.tokenizer.pad_id).all()
    assert set(spare) == {0, 2} and 0.3 < np.mean(spare) / 2 < 1
    np.testing.assert_array_equal(grid.make("test", TASK.levels, 9).demonstrations(3, 5, 210)[0], tokens)
    assert (TASK.demonstrations(3, 6, 210)[0] != tokens).any() and (TASK.demonstrations(4, 5, 210)[0] != tokens).any()
    assert TASK.demonstrations(0, 0, 0)[0].shape == (0, 23)


def test_each_step_is_uniform_over_the_cells_that_are_near_enough(rng):
    """c3 to c1 without walls to speak of, two steps: one way. In four, the first step has four cells."""
    walls = [grid.PLACE[c] for c in "a1 a2 a4 a5 e1 e2 e4".split()]
    layout = np.tile([*walls, grid.PLACE["c3"], grid.PLACE["c1"]], (4000, 1))
    straight = grid.walk(rng, layout[:5], np.full(5, 2))
    assert (straight == [grid.PLACE["c2"], grid.PLACE["c1"]]).all()
    first = grid.walk(rng, layout, np.full(4000, 4))[:, 0]
    share = [np.mean(first == grid.PLACE[c]) for c in "b3 d3 c2 c4".split()]
    assert share == pytest.approx([0.25] * 4, abs=0.03)


# --- responses ---


@pytest.mark.parametrize(
    "response, right",
    [
        (RIGHT, 1),
        ("a2 b2 b3 c3 d3 d2", 1),
        ("a2 a1 a2 b2 b3 c3 d3 d2", 1),  # two steps more
        ("a2 a3 b3 c3 c3 d3 d2", 0),  # stands still
        ("a2 a1 a2 a1 a2 b2 b3 c3 d3 d2", 0),  # four steps more
        ("a2 a3 b3 c3 d3", 0),  # not there
        (f"{RIGHT} d1", 0),
        (f"{RIGHT} d1 d2", 0),  # past the goal and back
        ("a2 b2 c2 d2", 0),  # through a wall
        ("a2 b3 c3 d3 d2", 0),  # a jump
        ("d2", 0),
        ("", 0),
        ("a1 a2 a3 b3 c3 d3 d2", 0),  # the start is not stepped on first
        (RIGHT.replace(" ", "  ") + "\n", 1),
        (RIGHT.upper(), 0),
        (RIGHT + " <eos>", 0),
        (RIGHT + " :", 0),
        ("a2 a3 b3 c3 d3 d٢", 0),
        ("a2 a3 b3 c3 d3 d2\0", 0),
    ],
)
def test_responses_by_hand(response, right):
    assert score(response) == right


def test_columns_do_not_wrap():
    """e1 and a2 follow each other in the list of cells. Mutation: spread without its edges."""
    assert score("a2", "e1 -> a2 walls b1 e2 c2 b4 c4 a5 d5 :") == 0.0
    assert grid.spread(1 << grid.PLACE["e1"]) == sum(1 << grid.PLACE[c] for c in ("d1", "e2"))
    assert grid.spread(1 << grid.PLACE["a5"]) == sum(1 << grid.PLACE[c] for c in ("b5", "a4"))


@pytest.mark.parametrize(
    "prompt",
    ["", ":", "a1", "a1 -> d2 :", "a1 -> d2 walls b1", "a1 d2 walls b1 :", "a1 -> x walls b1 :", "3 5 -> 8 :"]
    + ["a1 -> e5 walls a2 b1 :", "a1 -> a1 walls b1 :", "walls walls walls walls walls", "a1 -> b1 walls b1 :"],
)
def test_a_prompt_that_cannot_be_solved_scores_nothing(prompt):
    for response in (RIGHT, "d2", "b1", "", "a1"):
        assert score(response, prompt) == 0.0


def test_long_text_is_refused_unread():
    padded = RIGHT + " " * (grid.MAX_CHARACTERS - len(RIGHT))
    assert score(padded) == 1.0 and score(padded + " ") == 0.0


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.integers(0, 300), st.data())
def test_agrees_with_the_reference_on_near_misses(i, data):
    problem = TASK[i]
    words = problem.answer.split()
    for _ in range(data.draw(st.integers(0, 3))):
        k = data.draw(st.integers(0, len(words)))
        word = data.draw(st.sampled_from([*grid.CELLS, *words, "walls", "a6"]))
        edit = data.draw(st.sampled_from(["replace", "delete", "insert", "detour"]))
        if edit == "detour" and k < len(words):
            words[k + 1 : k + 1] = [data.draw(st.sampled_from(list(beside(words[k])) or ["a1"])), words[k]]
        else:
            words[k : k + (edit != "insert")] = [] if edit == "delete" else [word]
    known = [w for w in words if re.fullmatch("[a-e][1-5]", w)]
    want = reference(problem.prompt, " ".join(words)) if len(known) == len(words) else 0.0
    assert TASK.verify(problem, " ".join(words)) == want


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_junk_scores_nothing_and_nothing_raises(text):
    assert score(text) == 0.0
    assert isinstance(TASK.solution(text), str) and isinstance(TASK.final_answer(text), str)


def test_decisions_solution_and_final_answer():
    tokens = np.array([TASK.tokenizer.encode(f"{PROMPT} a2 : walls d2 <eos> <pad>")])
    mask = np.arange(tokens.shape[1])[None] >= 12
    np.testing.assert_array_equal(TASK.decisions(tokens, mask)[0, 12:], [1, 0, 0, 1, 0, 0])
    assert not TASK.decisions(tokens, mask)[0, :12].any()
    assert TASK.solution(" a2  a3\n") == "a2 a3" and TASK.final_answer(" a2  a3\n") == "a2 a3"
    assert TASK.final_answer("a2 walls") == ""
