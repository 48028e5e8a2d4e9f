"""prompts.Posed: the styles by hand, what is measured in tokens, demonstrations."""

import dataclasses
import re

import numpy as np
import pytest

from entropy_rl import tasks
from entropy_rl.data import prompts
from entropy_rl.data.order import problem_at
from entropy_rl.data.problem import Problem, Task
from entropy_rl.data.prompts import BOXED, STYLES, Posed
from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.errors import InputError
from experiments import tiny_model


class Sums:
    """Five sums in words, one with a worked answer, checked by their last word."""

    levels, stream = (1,), False

    def __len__(self):
        return 5

    def __getitem__(self, i):
        worked = f"1 + {i} is {1 + i}" if i == 2 else ""
        return Problem(f"What is 1 + {i}?", str(1 + i), f"sums/train/{i}", 1, worked)

    def verify(self, problem, response):
        assert type(problem) is Problem, "the task's own, as it gave it"
        return float(response.split()[-1:] == [problem.answer])

    def final_answer(self, response):
        return " ".join(response.split()[-1:])

    def solution(self, response):
        return " ".join(response.split())


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    words = [BOXED, tiny_model.ROLES, *(Sums()[i].prompt for i in range(5))]
    tiny_model.write_tokenizer(folder, tiny_model.train(words * 3, 400))
    return FolderTokenizer(folder)


def posed(tokenizer, **given):
    return Posed(Sums(), tokenizer, **{"prompt_length": 64, "response_length": 12} | given)


PROMPTS = {
    "plain": "What is 1 + 3?\n",
    "boxed": f"What is 1 + 3?\n{BOXED}\n",
    "chat": f"<|im_start|>user\nWhat is 1 + 3?\n{BOXED}<|im_end|>\n<|im_start|>assistant\n",
}


@pytest.mark.parametrize("style", STYLES)
def test_prompts_by_hand(tokenizer, style):
    """And it is a task whose problems are checked as they were. Mutation: the posed problem reaches the task."""
    task = posed(tokenizer, style=style)
    assert isinstance(task, Task) and len(task) == 5 and task.levels == (1,)
    assert task[3].prompt == PROMPTS[style] and task[3].plain == Sums()[3] and task[3].id == "sums/train/3"
    assert tokenizer.encode(task[3].prompt)[-1] != tokenizer.eos_id
    assert [task.verify(task[3], r) for r in ("It is 4", "It is 5", "")] == [1.0, 0.0, 0.0]
    assert task.verify_all([task[3], task[0]], ["4", "4"]) == [1.0, 0.0]
    assert task.final_answer("It is 4") == "4" and task.solution("So it is  4") == task.solution("It is 4") == "4"


def test_other_words(tokenizer):
    assert posed(tokenizer, style="plain", ask="Answer:").render("1?") == "1?\nAnswer:\n"
    assert posed(tokenizer, style="boxed", ask="").render("1?") == "1?\n"
    chat = posed(tokenizer, style="chat", ask="", system="Be brief.").render("1?")
    assert chat == ("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1?<|im_end|>\n<|im_start|>assistant\n")


def test_what_begins_a_text_begins_a_prompt(tokenizer, monkeypatch):
    """Of a chat the template says it. Mutation: it twice there."""
    monkeypatch.setattr(tokenizer, "bos", "<|im_start|>")
    assert posed(tokenizer, style="plain").render("1?") == "<|im_start|>1?\n"
    assert posed(tokenizer, style="chat", ask="").render("1?").startswith("<|im_start|>user\n")


def test_demonstrations(tokenizer):
    """Prompt, worked response or answer, the end; every problem once an epoch. Mutation: a mask on the prompt too."""
    task = posed(tokenizer, style="plain")
    tokens, mask = task.demonstrations(seed=0, step=0, count=5)
    assert tokens.shape == mask.shape == (5, 76) and tokens.dtype == np.int32
    seen = set()
    for row, on in zip(tokens, mask):
        said, asked = row[on], row[: on.argmax()]
        number = int(re.fullmatch(r"What is 1 \+ (\d)\?\n", tokenizer.decode(asked))[1])
        seen.add(number)
        assert said[-1] == tokenizer.eos_id and tokenizer.eos_id not in said[:-1]
        assert tokenizer.decode(said) == ("1 + 2 is 3" if number == 2 else str(1 + number))
        assert (row[len(asked) + len(said) :] == tokenizer.pad_id).all() and on.sum() == len(said)
    assert seen == {0, 1, 2, 3, 4}
    again, _ = task.demonstrations(0, 0, 5)
    other, _ = task.demonstrations(0, 1, 5)
    np.testing.assert_array_equal(again, tokens)
    assert (other != tokens).any()


def test_countdown_in_a_models_own_tokens(tokenizer):
    task = Posed(tasks.base.get("countdown", split="train", levels=(3,)), tokenizer, style="plain", prompt_length=64)
    problem = task[0]
    assert task.verify(problem, problem.answer) == 1.0 and task.decisions(None, None) is None
    assert task.solution("9 + 7 = 16 ; 16 + 8 = 24") == "7 + 9 = 16 ; 8 + 16 = 24", "the task's own form"


class Long(Sums):
    """Sums, some of whose questions are too long; `stream`: in endless order, two levels in turn."""

    def __init__(self, long, stream=False):
        self.long, self.stream = long, stream
        self.levels = (1, 2) if stream else (1,)

    def __getitem__(self, i):
        problem = super().__getitem__(i)
        return dataclasses.replace(problem, prompt=problem.prompt * 9) if i in self.long else problem


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_too_long_is_left_out_when_the_task_is_made(tokenizer, stream):
    """Mutation: a problem of that kind ends the run when its turn comes, and again after every restart."""
    task = Posed(Long({0, 3}, stream), tokenizer, style="plain", prompt_length=20, response_length=12)
    assert [task[i].id for i in range(len(task))] == [f"sums/train/{i}" for i in (1, 2, 4)]
    assert (task.too_long, task.seen) == (2, 5)
    with pytest.raises(IndexError):
        task[3]
    met = {problem_at(task, 0, place).id for place in range(30)}
    assert met == {"sums/train/1", "sums/train/2", "sums/train/4"}
    assert task.demonstrations(0, 0, 6)[0].shape == (6, 32)


def test_a_stream_that_is_not_read_through(tokenizer, monkeypatch):
    """In place of what is too long, the next of its level. Mutation: the next problem, of another level."""
    monkeypatch.setattr(prompts, "LARGE", 4)
    monkeypatch.setattr(prompts, "FIRST", 2)
    task = Posed(Long({1, 2}, stream=True), tokenizer, style="plain", prompt_length=20)
    assert (len(task), task.too_long, task.seen) == (5, 1, 2)
    assert [int(task[i].id[-1]) for i in range(5)] == [0, 3, 4, 3, 4]
    task.task.long = {0, 1, 2, 3, 4}
    with pytest.raises(InputError, match="1000 prompts from sums/train/1 on .* or leave out level 1"):
        task[1]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"style": "boxd"}, "unknown prompt style 'boxd' (did you mean 'boxed'?)"),
        ({"prompt_length": 0}, "prompt.prompt_length=0: must be 1 or more tokens"),
        ({"response_length": 0}, "prompt.response_length=0: must be 1 or more tokens"),
        ({"too_long": "cut"}, "unknown prompt.too_long 'cut': one of drop, error"),
        ({"system": "Be brief."}, "prompt.system goes with the style chat, not with 'boxed': leave one of them"),
    ],
)
def test_bad_values_are_named(tokenizer, given, message):
    with pytest.raises(InputError, match=re.escape(message)) as e:
        posed(tokenizer, **given)
    assert "\n" not in str(e.value)


def test_what_is_too_long_is_named(tokenizer):
    """Never cut: a prompt without its end is another question."""
    count = len(tokenizer.encode(PROMPTS["plain"]))
    assert posed(tokenizer, style="plain", prompt_length=count, too_long="error")[3]
    message = f"the prompt of sums/train/0 has {count} tokens and prompt.prompt_length is {count - 1}: raise it"
    with pytest.raises(InputError, match=re.escape(message)):
        posed(tokenizer, style="plain", prompt_length=count - 1, too_long="error")
    with pytest.raises(InputError, match="all of 5 prompts have more tokens than prompt.prompt_length"):
        posed(tokenizer, style="plain", prompt_length=count - 1)
    with pytest.raises(InputError, match="the demonstration of sums/train/2 has .* tokens and prompt.response_length"):
        posed(tokenizer, style="plain", response_length=3, too_long="error").demonstrations(0, 0, 5)
    with pytest.raises(InputError, match="all of 5 demonstrations have more tokens than prompt.response_length=1"):
        posed(tokenizer, style="plain", response_length=1).demonstrations(0, 0, 5)


@pytest.mark.parametrize("walk", [False, True])
def test_demonstrations_that_are_too_long_are_left_out(tokenizer, monkeypatch, walk):
    """Counted, and every other one once an epoch; of a stream that is not read through, the next of its level is for
    it. Mutation: the first of them ends the run."""
    if walk:
        monkeypatch.setattr(prompts, "LARGE", 4)
        monkeypatch.setattr(prompts, "FIRST", 3)
    task = Posed(Long(set(), stream=walk), tokenizer, style="plain", response_length=3)
    tokens, mask = task.demonstrations(seed=0, step=0, count=4 + walk)
    said = [tokenizer.decode(row[on]) for row, on in zip(tokens, mask)]
    assert sorted(said) == (["1", "2", "4", "5", "5"] if walk else ["1", "2", "4", "5"])
    assert (task.untaught, task.taught_from, len(task)) == (1, 3 if walk else 5, 5)
    assert posed(tokenizer, style="plain").untaught == 0


def test_an_unfinished_thought_that_the_prompt_opened_holds_no_answer(tokenizer, monkeypatch, tmp_path):
    """Mutation: the response alone."""
    chat = FolderTokenizer.chat
    (tmp_path / "train.jsonl").write_text('{"problem": "What is 1 + 1?", "answer": "2"}')
    task = tasks.base.get("jsonl", path=str(tmp_path), shares=(1, 0, 0))
    make = lambda: Posed(task, tokenizer, style="chat", prompt_length=400)  # noqa: E731
    plain, answer = make(), task[0].answer
    monkeypatch.setattr(FolderTokenizer, "chat", lambda *args, **more: chat(*args, **more) + "<think>\n")
    opened = make()
    for said, finished in ((f"so {answer}", False), (f"so {answer}</think>no: {answer}", True), (answer, False)):
        rewards = [opened.verify(opened[0], said), *opened.verify_all([opened[0]], [said])]
        assert rewards == [float(finished)] * 2 and bool(opened.final_answer(said)) == finished
        assert plain.verify(plain[0], said) == 1.0 and plain.final_answer(said)
