"""tasks/mixture.py: whose turn it is, who scores a response, and what is refused."""

import pytest

from entropy_rl.data.problem import TextTask
from entropy_rl.errors import InputError
from entropy_rl.methods.critique.chat import ChatCritique
from entropy_rl.tasks import base, countdown_words, mixture

EASY = ("countdown_words", {"levels": (3,), "largest": 20, "form": "lines"}, 2)
HARD = ("countdown_words", {"levels": (4,), "largest": 50, "form": "tag"}, 1)
PARTS = (EASY, HARD)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_parts_take_turns_and_lose_no_problem(split):
    """Mutation: a part that goes on by rounds alone would meet every problem twice."""
    task = base.get("mixture", split=split, parts=PARTS, size=60)
    assert isinstance(task, TextTask) and task.levels == (0, 1) and len(task) == 60
    problems = [task[i] for i in range(60)]
    assert [p.level for p in problems] == [0, 0, 1] * 20
    for level, (_, args, _) in enumerate(PARTS):
        own = countdown_words.make(split, size=40, **args)
        assert [p.prompt for p in problems if p.level == level] == [own[i].prompt for i in range((40, 20)[level])]
    assert len({p.id for p in problems}) == 60
    with pytest.raises(IndexError):
        task[60]


def test_each_response_is_scored_by_its_own_part():
    """Scores by the parts' own rules and in the order given. Mutations: scores part after part; the first part's."""

    class Known:
        """A part that says its number, whatever the response, and knows its own ids alone."""

        stream, levels = True, (0,)

        def __init__(self, number):
            self.number = number

        def verify_all(self, problems, responses):
            assert all(p.id.startswith("countdown_words/") for p in problems)
            return [self.number + (r == "right") / 2 for r in responses]

    made = mixture.make("test", PARTS, 9)
    problems = [made[i] for i in range(9)]
    known = mixture.Mixture("test", 9, (Known(0), Known(1)), made.turns)
    assert known.verify_all(problems, ["right"] * 9) == [0.5, 0.5, 1.5] * 3
    assert known.verify(problems[2], "wrong") == 1 and known.verify_all([], []) == []
    assert made.verify_all(problems, [p.answer for p in problems]) == [1.0] * 9
    assert made.verify(problems[0], problems[1].answer) == 0 and made.final_answer(problems[2].answer)
    assert made.final_answer("none") == "" and made.solution("1 + 1\n = 2") == "1 + 1 = 2"


def test_critiques_are_by_the_oracle_of_the_part():
    """At the level asked for, or the verdict alone. Mutations: the first part's oracle; every level."""

    class Silent:
        """A part without an oracle."""

        def verify_all(self, problems, responses):
            return [float(r == "right") for r in responses]

    made = mixture.make("test", PARTS, 3)
    problems, wrong = [made[i] for i in range(3)], "1 + 1 = 3"
    mixed = mixture.Mixture("test", 3, (made.tasks[0], Silent()), made.turns)
    own = countdown_words.make("test", size=2, **EASY[1])
    for level in ("verdict", "step", "reason"):
        assert mixed.oracle(problems[1], wrong, None, level) == own.oracle(own[1], wrong, None, level)
    assert mixed.oracle(problems[2], wrong) == ChatCritique(False)
    assert mixed.oracle(problems[2], "right") == ChatCritique(True)


@pytest.mark.parametrize(
    "kwargs, says",
    [
        ({"parts": ()}, "no parts"),
        ({"parts": PARTS, "split": "dev"}, "split"),
        ({"parts": PARTS, "size": 0}, "size=0"),
        ({"parts": (("countdown_words", {}),)}, "give .name, arguments, turns."),
        ({"parts": ("countdown_words",)}, "give .name, arguments, turns."),
        ({"parts": (("countdown_words", {}, 0),)}, "0 turns"),
        ({"parts": (("countdown_wrods", {}, 1),)}, "did you mean 'countdown_words'"),
        ({"parts": (("countdown_words", {"largest": 5}, 1),)}, "largest=5"),
        ({"parts": (("countdown", {}, 1),)}, "no text task"),
    ],
)
def test_bad_input_is_one_line(kwargs, says):
    with pytest.raises(InputError, match=says) as error:
        mixture.make(**kwargs)
    assert "\n" not in str(error.value)
