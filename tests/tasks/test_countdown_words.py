"""tasks/countdown_words.py and answers/countdown.py: problems, what is read of responses, and what is the same."""

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_rl.answers import countdown
from entropy_rl.data.problem import Problem, TextTask
from entropy_rl.data.prompts import Posed
from entropy_rl.errors import InputError
from entropy_rl.tasks import base, countdown_words

TASKS = {form: countdown_words.make("test", size=80, form=form) for form in countdown_words.FORMS}
TRAIN = countdown_words.make(levels=(3, 5))
PROBLEM = Problem(countdown_words.question((19, 36, 7, 5), 77), "", "", 4)  # (19 + 36) * 7 / 5


def multiset(problem):
    return tuple(sorted(countdown_words.parse(problem.prompt)[0]))


def score(response, problem=PROBLEM):
    return TRAIN.verify(problem, response)


# --- problems ---


def test_it_is_a_text_task_whose_levels_take_turns():
    assert isinstance(base.get("countdown_words"), TextTask) and "countdown_words" in base.names()
    for task in (TASKS["tag"], TRAIN):
        for i in range(40):
            numbers, target = countdown_words.parse(task[i].prompt)
            assert len(numbers) == task[i].level == task.levels[i % len(task.levels)]
            assert 1 <= target <= 99 and all(1 <= n <= 99 for n in numbers)
    small = countdown_words.make(largest=12)
    assert max(max(countdown_words.parse(small[i].prompt)[0]) for i in range(40)) <= 12


@pytest.mark.parametrize("form", countdown_words.FORMS)
def test_answers_and_demonstrations_are_right(form):
    """They are one solution. Mutation: an expression without brackets on the right of - or of a sum."""
    task = TASKS[form]
    for problem in task.problems:
        assert task.verify_all([problem] * 2, [problem.answer, problem.demonstration]) == [1.0, 1.0], problem
        lines = "\n".join(problem.demonstration.split("\n")[: problem.level - 1])
        assert task.verify(problem, lines) == 1.0 and task.solution(lines) == task.solution(problem.answer)
    assert [countdown_words.parse(p.prompt) for p in task.problems] == [
        countdown_words.parse(p.prompt) for p in TASKS["tag"].problems
    ]


def test_splits_share_no_multiset():
    """Mutation: a split by the order of the numbers."""
    kwargs = {"levels": (3,), "size": 100, "largest": 20}
    tasks = [countdown_words.make(split, **kwargs) for split in ("train", "validation", "test")]
    seen = {task.split: {multiset(task[i]) for i in range(len(task))} for task in tasks}
    for split, found in seen.items():
        assert all(countdown_words.split_of(reversed(numbers)) == split for numbers in found)
    shares = [countdown_words.split_of((a, b, 50)) for a in range(1, 60) for b in range(a, 60)]
    assert shares.count("train") / len(shares) == pytest.approx(0.7, abs=0.05)


def test_problems_are_pure_and_distinct():
    test = TASKS["tag"]
    assert len({(multiset(p), p.prompt.split()[1]) for p in test.problems}) == len(test)
    assert list(countdown_words.make("test", size=20).problems) == list(test.problems[:20])
    assert TRAIN[7] == countdown_words.make(levels=(3, 5))[7] != countdown_words.make(levels=(3, 5), seed=1)[7]
    assert TRAIN[7].id == "countdown_words/train/7"
    with pytest.raises(IndexError):
        test[80]


@pytest.mark.parametrize(
    "kwargs, named",
    [
        ({"split": "tets"}, "'test'"),
        ({"form": "tags"}, "'tag'"),
        *(({"levels": bad}, "levels=") for bad in ((), (2,), (3, 3), "34", 7, None, (4.0,), (True,))),
        *(({"size": bad}, "size=") for bad in (0, 1.5, True)),
        *(({"largest": bad}, "largest=") for bad in (8, 100, "9")),
        ({"seed": -1}, "seed="),
        ({"split": "test", "levels": (3,), "largest": 9, "size": 500}, "lower size"),
    ],
)
def test_bad_arguments_are_named(kwargs, named):
    with pytest.raises(InputError, match=re.escape(named)) as error:
        countdown_words.make(**kwargs)
    assert "\n" not in str(error.value)


def test_questions_are_read_back():
    tiny_zero = "Using the numbers [19, 36, 7, 5], create an equation that equals 77. You can use basic arithmetic"
    assert countdown_words.parse(PROBLEM.prompt) == countdown_words.parse(tiny_zero) == ((19, 36, 7, 5), 77)
    for text in ("", "Make 3", "What is 1 + 1?", "Make 77 from the numbers " + "9, " * 50 + "1,"):
        assert countdown_words.parse(text) == ((), 0)
        assert score("1 + 1 = 2", Problem(text, "", "", 0)) == 0


# --- responses ---

RIGHT = [
    "19 + 36 = 55\n55 * 7 = 385\n385 / 5 = 77",
    "36+19=55\n7 * 55=385\n385/5=77",
    "Step 1: 19 + 36 = 55\nStep 2: 55 × 7 = 385.\n3. 385 ÷ 5 = 77",
    "- 7 / 5 = 7/5\n- 19 + 36 = 55\n- 55 * 7/5 = 77",
    "7 / 5 = 1.4\n19 + 36 = 55\n1.4 * 55 = 77",
    "19 + 36 = 55\n55 * 7 / 5 = 77",
    "First I add.\n\n**19 + 36 = 55**\n$55 \\times 7 = 385$\n385 / 5 = 77\n\\boxed{77}",
    "19 - 36 = -17\nno\n<answer>(19 + 36) * 7 / 5</answer>",
    "<answer> (19 + 36) * 7 / 5 = 77 </answer>",
    "<answer>1</answer> no: <answer>(36 + 19) × (7 ÷ 5)</answer>",
    "\\boxed{(19 + 36) \\cdot \\frac{7}{5}}",
    "\\boxed{\\left(19+36\\right) \\times 7 \\div 5 = 77}",
    "<answer>-(-19 - 36) * 7 / 5</answer>",
]
WRONG = [
    "",
    "77",
    "<answer>77</answer>",
    "\\boxed{77}",
    "77 = 77",
    "19 + 36 = 55\n55 * 7 = 385",
    "19 + 36 = 55\n55 * 7 = 385\n385 / 5 = 77\n77 + 0 = 77",
    "19 + 36 = 54\n55 * 7 = 385\n385 / 5 = 77",
    "19 + 36 = 55\n55 * 7 = 385\n385 / 5 = 77\n\\boxed{78}",
    "19 + 36 = 55\nx = 55\n55 * 7 = 385\n385 / 5 = 77",
    "19 + 36 = 55 * 7 = 385\n385 / 5 = 77",
    "70 + 7 = 77",
    "<answer>(19 + 36) * 7 / 5 = 78</answer>",
    "<answer>19 + 36 + 7 + 5</answer>",
    "<answer>(19 + 36) * 7 / 5 + 5 - 5</answer>",
    "<answer>19 * 4 + 1</answer>",
    "<answer>(19 + 36) * 7 / (5 - 5)</answer>",
    "<answer>(19 + 36)) * 7 / 5</answer>",
    "<answer>(19 + 36) 7 / 5</answer>",
    "<answer>__import__('os').getpid()</answer>",
    "<answer>77 + 0 * (19 + 36 + 7 + 5)</answer>",
    "<answer>" + "(" * 5000 + "19" + ")" * 5000 + "</answer>",
    "<answer>" + "9" * 5000 + "</answer>",
    "<answer>9**9**9**9</answer>",
    "19 + 36 = 55\n55 * 7 = 385\n385 / 5 = 77" + " " * countdown.MAX_CHARACTERS,
]


@pytest.mark.parametrize("response", RIGHT)
def test_right(response):
    assert score(response) == 1.0 and TRAIN.final_answer(response) == "77"


@pytest.mark.parametrize("response", WRONG)
def test_wrong(response):
    assert score(response) == 0.0


def test_each_number_is_used_as_often_as_it_is_given():
    """Mutation: numbers may be left over."""
    more = Problem(countdown_words.question((19, 36, 7), 55), "", "", 3)
    assert not any(score(x, more) for x in ("19 + 36 = 55", "<answer>19 + 36</answer>", "\\boxed{36 + 19 = 55}"))
    twice = Problem(countdown_words.question((7, 7, 3), 17), "", "", 3)
    assert score("7 + 7 = 14\n14 + 3 = 17", twice) == 1 and score("<answer>7 + 3 + 7</answer>", twice) == 1
    assert score("<answer>7 + 7 + 3 + 3 - 3</answer>", twice) == 0 and score("7 + 10 = 17", twice) == 0


WRITTEN = st.text(alphabet=string.digits + "+-*/=()x \n.<>\\{}$×÷−answerboxedfrac", max_size=60)
PIECES = ["<answer>", "</answer>", "\\boxed{", "}", "\\frac{", "19", "36", "7/5", "/", " + ", " = ", "\n", "(", "²"]


@settings(max_examples=60)
@given(st.one_of(st.text(max_size=40), WRITTEN, st.lists(st.sampled_from(PIECES), max_size=20).map("".join)))
def test_any_text_is_read(text):
    """Mutation: int() of what str.isdigit() takes, such as ² or ٣."""
    assert score(text) in (0.0, 1.0)
    assert isinstance(TRAIN.final_answer(text), str) and isinstance(TRAIN.solution(text), str)
    TRAIN.oracle(PROBLEM, text)


# --- what is the same ---


def test_solution_graph():
    """Mutation: operands in the order in which they are written; - and / sorted too."""
    same = [
        "19 + 36 = 55\n7 / 5 = 7/5\n55 * (7/5) = 77",
        "7 / 5 = 7/5\n36 + 19 = 55\n7/5 * 55 = 77",
        "<answer>(36 + 19) * (7 / 5)</answer>",
        "\\boxed{\\frac{7}{5} \\times (19 + 36)}",
        "7 / 5 = 7/5\n36 + 19 = 55\n55 * 7/5 = 77",
    ]
    other = ["<answer>(19 + 36) * 7 / 5</answer>", "<answer>(19 + 36) * (5 / 7)</answer>"]
    other += ["19 + 36 = 55", "no", "  no  way"]
    # a result that is equal to a given number; a line that nothing uses
    assert TRAIN.solution("5 + 3 = 8\n8 - 2 = 6\n8 + 6 = 14") == TRAIN.solution("<answer>(8 - 2) + (5 + 3)</answer>")
    assert TRAIN.solution("1 + 1 = 2\n36 + 7 = 43\n43 - 19 = 24") == TRAIN.solution("7 + 36 = 43\n43 - 19 = 24")
    graphs = list(map(TRAIN.solution_graph, [*same, *other]))
    assert len(set(graphs[: len(same)])) == 1 and len(set(graphs)) == 1 + len(other)
    assert graphs[-1] == "no way" and TRAIN.solution(same[0]) == graphs[0]
    # 1 + (2 + 3) is not (1 + 2) + 3
    assert TRAIN.solution("<answer>1 + (2 + 3)</answer>") != TRAIN.solution("<answer>1 + 2 + 3</answer>")
    assert TRAIN.solution("2 + 3 = 5\n1 + 5 = 6") == TRAIN.solution("<answer>2 + 3 + 1</answer>")


class Letters:
    """A tokenizer whose tokens are characters."""

    vocab_size, pad_id, eos_id, eos_ids, bos = 1 << 16, 0, 1, (1,), ""

    def encode(self, text):
        return [ord(c) for c in text]

    def begun(self, text):
        return text


def test_posed_to_a_model_it_keeps_its_graphs():
    """Mutation: responses whose final answers are equal are one solution, as those of free text are."""
    posed = Posed(TASKS["tag"], Letters(), style="plain", prompt_length=200)
    a, b = "<answer>(19 + 36) * 7 / 5</answer>", "<answer>(19 + 36) * (7 / 5)</answer>"
    assert posed.solution(a) != posed.solution(b) and posed.solution_graph(a) == TRAIN.solution_graph(a)
    assert posed.verify(posed[0], posed[0].demonstration) == 1.0
    tokens, mask = posed.demonstrations(0, 0, 4)
    assert tokens.shape == mask.shape == (4, 456) and mask.any(1).all()
