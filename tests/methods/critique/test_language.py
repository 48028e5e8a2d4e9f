"""Natural language and closed sentences through one interface: prompts, sources, budgets, bad templates."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from entropy_rl.data.problem import Problem
from entropy_rl.data.prompts import BOXED, Posed
from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.errors import InputError
from entropy_rl.methods.critique import chat, critics, dataset, lessons, oracle, refine
from entropy_rl.methods.critique.language import CLOSED, Attempt, natural
from entropy_rl.sampling.engine import Completion
from entropy_rl.tasks import countdown
from entropy_rl.training import collect
from experiments import tiny_model

BAD = "3 + 4 = 7\n7 * 2 = 15\nThe answer is \\boxed{15}."
SILENT = "I do not know."


class Sums:
    """A text task with an oracle of its own."""

    levels, stream = (1,), False

    def __len__(self):
        return 3

    def __getitem__(self, i):
        if not 0 <= i < 3:
            raise IndexError(i)
        demonstration = f"3 + 4 = 7\n7 * 2 = 14\n\\boxed{{{14 + i}}}"
        return Problem(f"What is (3 + 4) * 2 + {i}?", str(14 + i), f"sums/{i}", 1, demonstration)

    def verify(self, problem, response):
        return float(f"boxed{{{problem.answer}}}" in response)

    def verify_all(self, problems, responses):
        return [self.verify(p, r) for p, r in zip(problems, responses, strict=True)]

    def final_answer(self, response):
        return response[-5:]

    def solution(self, response):
        return response

    def oracle(self, problem, text, rng):
        if self.verify(problem, text):
            return chat.ChatCritique(True)
        return chat.ChatCritique(False, (chat.Step(text[:9], False, f"of {problem.id}"),), f"It is {problem.answer}.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("folder")
    tiny_model.write_tokenizer(
        path, tiny_model.train([BOXED, tiny_model.ROLES, *(Sums()[i].prompt for i in range(3))], 400)
    )
    return path


def spoken(folder, style="auto", prompt="chat", **more):
    task = Posed(Sums(), FolderTokenizer(folder), style=prompt, prompt_length=400, response_length=300, **more)
    return task, natural(task, task.tokenizer, style, task.task.oracle)


def tried(task, *texts):
    problems = [task[i % 3] for i in range(len(texts))]
    return [Attempt(p, t, task.verify(p, t) >= 1) for p, t in zip(problems, texts)]


def test_conversations_by_the_template(folder):
    """Mutations: the attempt as the user's turn; the request without the question's own; unnumbered lines."""
    task, language = spoken(folder, system="Be brief.")
    (t,) = tried(task, BAD)
    asked = language.ask_refinement(t, "No.")
    assert asked.startswith(t.problem.prompt + BAD + tiny_model.END), "the policy's own prompt, then its turn"
    assert "critique of your solution:\nNo.\n" in asked and asked.endswith("<|im_start|>assistant\n")
    critic = language.ask_critique(t)
    assert "\n1. 3 + 4 = 7\n2. 7 * 2 = 15\n3. The answer" in critic and BOXED not in critic
    assert "True answer" not in critic and "Be brief" not in critic
    seen = language.ask_critique(t, reference=True)
    assert "True answer:\n14" in seen and "Reference solution:\n3 + 4 = 7\n7 * 2 = 14" in seen


def test_plain_text_for_base_models(folder):
    task, language = spoken(folder, "plain", "plain")
    (t,) = tried(task, BAD)
    assert language.ask_refinement(t, "No.").startswith(f"{t.problem.prompt}{BAD}\n\nHere is a critique")
    assert chat.FORM in language.ask_refinement(t, "No."), "nothing has asked for a box"
    assert "<|im_start|>" not in language.ask_critique(t) and language.ask_critique(t).endswith("\nCritique:\n")


def test_nobody_ends_a_turn_of_another(folder):
    """A critique or an attempt with a special token's text. Mutation: messages as they are."""
    task, language = spoken(folder)
    (t,) = tried(task, "a<|im_end|>b")
    end = task.tokenizer.encode(tiny_model.END)[0]
    clean = dataclasses.replace(t, text="ab")
    for prompt, same in (
        (language.ask_refinement(t, "<|im_<|im_end|>end|>No."), language.ask_refinement(clean, "No.")),
        (language.ask_critique(t), language.ask_critique(clean)),
    ):
        assert prompt == same and task.tokenizer.encode(prompt).count(end) == same.count(tiny_model.END)


def test_replies(folder):
    _, language = spoken(folder)
    good = chat.write(chat.ChatCritique(False, (chat.Step("7 * 2 = 15", False, "It is 14."),)))
    assert language.read(good).step == 1 and language.read(good, truncated=True) is None
    assert language.read(f"<think>Conclusion: right\n</think>\n{good}").step == 1
    assert language.read("步骤") is None and language.read("") is None


@pytest.mark.parametrize("source", sorted(critics.SOURCES))
def test_sources_in_words(folder, source):
    """Mutation: a source that knows Countdown's words alone."""
    task, language = spoken(folder)
    these = tried(task, BAD, SILENT, Sums()[2].demonstration)
    assert [t.right for t in these] == [False, False, True]
    how = {"level": "reason", "language": language}
    said = critics.SOURCES[source](these, np.random.default_rng(0), **how)
    leaks = [language.leak(s) for s in said]
    want = {"none": [0] * 3, "fresh": [0] * 3, "indicative": [1] * 3, "inverted": [1] * 3}
    want |= {"indicative_answer": [5, 5, 1], "oracle": [3, 3, 1], "arithmetic": [3, 1, 1]}
    assert leaks == want.get(source, leaks)
    if source == "arithmetic":
        assert "Step sentence: 7 * 2 = 15\nCorrectness of the step: Wrong\nExplanation: 7 * 2 is 14." in said[0]
        (slip,) = critics.SOURCES[source](tried(task, "3 + 4 = 7\n\\boxed{7}"), None, **how)
        assert "The steps are right, the answer is not" in slip and language.read(slip).step is None
    if source == "oracle":
        assert "of sums/1" in said[1] and "It is 15" not in said[1]
        (full,) = critics.SOURCES[source](these[:1], None, level="answer", language=language)
        assert "It is 14" in full and language.leak(full) == 5
    if source == "random":
        truth = critics.SOURCES["oracle"](these, None, **how)
        assert sorted(said) == sorted(truth) and all(a != b for a, b in zip(said, truth))
    if source == "indicative_answer":
        assert "The true answer is 14." in said[0] and "is right" in said[2]
    if source == "inverted":
        assert "right" in said[0] and "wrong" in said[2]


def test_countdowns_solver_speaks_english():
    problem = Problem("3 5 7 9 -> 24 :", "", "p", 4)
    bad = "3 + 5 = 8 ; 9 - 8 = 1 ; 7 - 1 = 6"
    whole, found = (oracle.in_words(problem, bad, np.random.default_rng(0), level=x) for x in ("answer", "hint"))
    assert "better" not in chat.write(chat.limit(whole, "reason")), "a hint is no reason"
    assert [s.right for s in found.steps] == [True, False] and "out of reach" in found.steps[1].explanation
    assert "A better step: " in found.steps[1].explanation and found.explanation.endswith("= 24.")
    assert oracle.in_words(problem, "3 + 5 = 8 ; 7 + 9 = 16 ; 8 + 16 = 24").right
    for text in ("", "nonsense", " ; ", "3 + 5 = 8", "é" * 5000):
        said = oracle.in_words(problem, text)
        assert not said.right and chat.parse(chat.write(said)) is not None
    assert countdown.parse(problem.prompt)[1] == 24


def completion(tokenizer, text):
    tokens = np.array([*tokenizer.encode(text), tokenizer.eos_id], np.int32)
    return Completion(tokens, np.full(len(tokens), -1, np.float32), np.ones(len(tokens), np.float32), False)


def test_conversations_that_do_not_fit_are_counted_and_left(folder):
    """Of two failed attempts the long one is not retried, nor is it shown to the critic. Mutation: cut, or fatal."""
    task, language = spoken(folder)
    long = "3 + 4 = 7\n" * 20
    texts = [long, BAD, SILENT]
    problem, tokenizer = task[0], task.tokenizer
    rewards = [task.verify(problem, t) for t in texts]
    own = collect.Group(
        problem, tokenizer.encode(problem.prompt), [completion(tokenizer, t) for t in texts], texts, rewards
    )
    right = Sums()[0].demonstration
    asked = []

    def fits(prompt):
        return long not in prompt and "19. 3 + 4" not in prompt

    def ask(prompts):
        asked.extend(prompts)
        return ["right"] * len(prompts), [completion(tokenizer, "right") for _ in prompts]

    def criticise(params, tried, rng, key):
        said, replies = critics.ask_critic(ask, tried, language=language, fits=fits)
        sentences, row = critics.by_model(said, replies, tried, "reason", language)
        return sentences, row, [r.text for r in replies]

    def answer(params, prompts, key):
        asked.extend(prompts)
        return [right] * len(prompts), [completion(tokenizer, right) for _ in prompts]

    def score(params, tokens, mask):
        return {"logp": np.where(mask, -2.0, 0.0), "entropy": np.where(mask, 0.5, 0.0)}

    made = refine.Refiner(task, criticise, answer, score, 1, 700, 1, 2, False, True, language, fits)
    (out,), row = made(None, [own], np.random.default_rng(0), jax.random.key(0))
    assert len(asked) == 2 and all("7 * 2 = 15" in prompt for prompt in asked)
    assert row["critique/too_long"] == 2 and row["critique/malformed"] == 1 and row["refine/repaired"] == 1
    assert out.texts == [long, BAD, right] and out.refined == (2,) and out.prompt == own.prompt
    first, second = out.dialogues
    assert first["refinement"] is None and first["reply"] == "" and first["critique"] == chat.indicative(False)
    assert second["refinement"] == right and second["reply"] == "right" and second["reward"] == 1
    rows = collect.texts([out], 5)
    assert [r.get("kind") for r in rows] == [None, "critique", "critique"]
    nothing = dataclasses.replace(made, fits=lambda prompt: False)
    (out,), row = nothing(None, [own], np.random.default_rng(0), jax.random.key(0))
    assert out.texts == texts and row["refine/rows"] == row["refine/tokens"] == 0


REFUSES = "{% if messages|length > 1 %}{{ raise_exception('only one turn') }}{% endif %}{{ messages[0]['content'] }}"


@pytest.mark.parametrize(
    "template, style, message",
    [
        (None, "chat", "has no chat template"),
        (REFUSES, "auto", "refuses the conversation: only one turn; or give critique.style=plain"),
    ],
)
def test_bad_templates_are_named(folder, tmp_path, template, style, message):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if (tmp_path / "chat_template.jinja").exists():
        (tmp_path / "chat_template.jinja").unlink()
    about = (tmp_path / "tokenizer_config.json").read_text()

    config = {k: v for k, v in json.loads(about).items() if k != "chat_template"}
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(config | ({"chat_template": template} if template else {}))
    )
    with pytest.raises(InputError, match=message) as e:
        spoken(tmp_path, style, "boxed")
    assert "\n" not in str(e.value)
    task, language = spoken(tmp_path, "plain", "boxed")
    assert not language.chat and language.ask_refinement(tried(task, BAD)[0], "").endswith("New solution:\n")


def test_closed_sentences_have_the_calculator_too():
    t = Attempt(Problem("3 5 7 -> 15 :", "", "p", 3), "3 + 5 = 8 ; 8 + 7 = 16", False)
    assert CLOSED.write(CLOSED.arithmetic(t)) == "wrong step 2 because arithmetic"
    assert CLOSED.write(CLOSED.arithmetic(dataclasses.replace(t, text="3 + 5 = 8"))) == "wrong"


def test_steps_have_the_numbers_of_the_attempts(folder):
    """Of those repeated, with or without their numbers. Mutations: the place among those repeated; letters and digits
    alone, by which 3 + 5 is 3 * 5 and 12 + 3 is 1 + 23."""
    _, language = spoken(folder)
    lines = ["3 + 5 = 9", "3 * 5 = 9", "1 + 23 = 9", "12 + 3 = 9"]
    for number, line in enumerate(lines, 1):
        for text in (line, f"{number}. {line}", line.replace(" ", "")):
            assert language.place("\n".join(lines), chat.ChatCritique(False, (chat.Step(text, False),))) == number
    for text in ("7 * 2 = 15", "2. 7 * 2 = 15", "**7 * 2 = 15**"):
        assert language.place(BAD, chat.ChatCritique(False, (chat.Step(text, False),))) == 2
    assert language.place(BAD, chat.ChatCritique(False, (chat.Step("else", False),))) == 1
    assert language.place(BAD, chat.ChatCritique(False)) is None


def test_lessons_in_words(folder):
    """Prompts and replies that the loop asks and reads. Mutations: a verdict as a sentence, which no critic is asked
    for; lengths in words."""
    task, language = spoken(folder)
    critique = chat.ChatCritique(False, (chat.Step("7 * 2 = 15", False, "It is 14."),))
    rows = [dataset.Row("sums/0", 1, Sums()[0].prompt, BAD, chat.write(critique), Sums()[0].demonstration, "rg1")]
    rows += [dataclasses.replace(rows[0], critique="wrong step 2 because arithmetic")]
    shares = {"critique": 1, "refine": 1, "refined": 1}
    how = {"critique_level": "verdict", "refine_levels": ("reason",), "language": language}
    made = lessons.make(task, rows, shares, **how)
    assert made.unreadable == 1
    tokens, mask = made.demonstrations(0, 0, 3)
    (t,) = tried(task, BAD)
    want = [
        (language.ask_critique(t), "Correctness of the final answer: Wrong"),
        (language.ask_refinement(t, chat.write(critique)), rows[0].refinement),
        (task[0].prompt, rows[0].refinement),
    ]
    for prompt, response in want:
        ids = [*task.tokenizer.encode(prompt), *task.tokenizer.encode(response), task.tokenizer.eos_id]
        places = [i for i in range(3) if tokens[i, : len(ids)].tolist() == ids]
        assert len(places) == 1 and mask[places[0]].sum() == len(task.tokenizer.encode(response)) + 1
