"""Refinements: which attempts, which retries, where they lie, and what is logged; with a policy that is a script."""

import dataclasses

import jax
import numpy as np
import pytest

from entropy_rl.methods.critique import refine
from entropy_rl.methods.critique.sentences import parse
from entropy_rl.models import presets
from entropy_rl.sampling.decode import draw, noise
from entropy_rl.sampling.engine import Completion
from entropy_rl.tasks import countdown
from entropy_rl.training import collect

TASK = countdown.make(levels=(4,), talk=True)
PROBLEM = countdown.Problem("3 5 7 9 -> 24 :", "3 + 5 = 8 ; 7 + 9 = 16 ; 8 + 16 = 24", "p", 4)
BAD = ["3 + 5 = 9", "7 - 3 = 4 ; 4 + 5 = 9", "3 + 9 = 12 ; 12 + 5 = 18"]
LENGTH = TASK.prompt_length + TASK.response_length


def completion(text, value=-1.0):
    tokens = np.array([*TASK.tokenizer.encode(text), TASK.tokenizer.eos_id], np.int32)
    return Completion(tokens, np.full(len(tokens), value, np.float32), np.full(len(tokens), 1.0, np.float32), False)


def group(*texts):
    rewards = [TASK.verify(PROBLEM, t) for t in texts]
    prompt = TASK.tokenizer.encode(PROBLEM.prompt)
    return collect.Group(PROBLEM, prompt, [completion(t) for t in texts], list(texts), rewards)


def refiner(retry, *, count=1, attempts=2, unsolved=False, source="oracle"):
    """A Refiner whose policy answers by `retry`(prompt); `.prompts` has what it was asked."""
    asked = []

    def criticise(params, tried, rng, key):
        return refine.SOURCES[source](tried, rng, level="reason"), {}, [""] * len(tried)

    def answer(params, prompts, key):
        asked.extend(prompts)
        return [retry(p) for p in prompts], [completion(retry(p)) for p in prompts]

    def score(params, tokens, mask):
        return {"logp": np.where(mask, -2.0, 0.0), "entropy": np.where(mask, 0.5, 0.0)}

    made = refine.Refiner(TASK, criticise, answer, score, 8, LENGTH, count, attempts, unsolved)
    return made, asked


def refined(made, groups, seed=0):
    return made(None, groups, np.random.default_rng(seed), jax.random.key(seed))


def test_a_right_retry_takes_the_last_place():
    made, asked = refiner(lambda p: PROBLEM.answer)
    own = group(*BAD, BAD[0])
    (out,), row = refined(made, [own])
    assert asked == [
        f"{PROBLEM.prompt} {BAD[0]} wrong step 1 because arithmetic again",
        f"{PROBLEM.prompt} {BAD[1]} wrong step 1 because unreachable again",
    ]
    assert out.texts == [*BAD, PROBLEM.answer] and out.rewards == [0, 0, 0, 1] and out.refined == (3,)
    assert (out.completions[3].logp == -2).all() and (out.completions[3].entropy == 0.5).all()
    assert own.texts[3] == BAD[0] and own.refined == ()  # the group that came in is as it was
    assert row["refine/rows"] == 1 and row["refine/repaired"] == 1 and row["refine/newly_solved"] == 1
    assert row["critique/leak"] == 3  # step and reason
    assert row["refine/tokens"] == 2 * 18 and row["critique/attempts"] == 2 and row["refine/zero_variance"] == 0
    rollout = collect.to_rollout([out], length=LENGTH, pad_id=0)
    assert rollout.refined.tolist() == [False, False, False, True]
    assert rollout.tokens[3].tolist()[: len(out.prompt)] == out.prompt  # on the question alone


class Together:
    """Countdown that can only verify many at once, and remembers how often it was asked."""

    def __init__(self):
        self.calls = []

    def verify_all(self, problems, responses):
        self.calls.append(list(responses))
        return [TASK.verify(p, r) for p, r in zip(problems, responses, strict=True)]


def test_retries_are_verified_together_and_cut_off_ones_not_at_all():
    """Mutations: verifying one by one; what is truncated verified too; samples of an attempt not side by side."""
    other = dataclasses.replace(PROBLEM, prompt="4 6 7 9 -> 26 :", answer="4 + 6 = 10 ; 7 + 9 = 16 ; 10 + 16 = 26")
    tried = [refine.Attempt(PROBLEM, BAD[0], False), refine.Attempt(other, BAD[1], False)]
    said = [PROBLEM.answer, PROBLEM.answer, PROBLEM.answer, other.answer]

    def answer(prompts):
        assert prompts == [f"{PROBLEM.prompt} {BAD[0]} wrong again"] * 2 + [other.prompt] * 2
        made = [completion(text) for text in said]
        return said, [dataclasses.replace(made[0], truncated=True), *made[1:]]

    task = Together()
    out = refine.retry(task, answer, tried, ["wrong", None], samples=2)
    assert out.rewards == [0, 1, 0, 1] and out.texts == said and task.calls == [said[1:]]
    nothing = refine.retry(task, lambda prompts: ([], []), [], [])
    assert nothing.rewards == nothing.asked == [] and len(task.calls) == 1


def test_right_retries_before_wrong_ones():
    answers = {BAD[0]: BAD[1], BAD[1]: PROBLEM.answer}
    made, _ = refiner(lambda p: next(a for b, a in answers.items() if f": {b} wrong" in p))
    for seed in range(6):
        (out,), row = refined(made, [group(*BAD, BAD[0])], seed)
        assert out.texts[3] == PROBLEM.answer and row["refine/repaired"] == 0.5
    made, _ = refiner(lambda p: p.split(" : ")[1].split(" wrong")[0])  # says the same again
    found = [refined(made, [group(*BAD, BAD[2])], seed) for seed in range(20)]
    assert {out.texts[3] for (out,), _ in found} == {BAD[0], BAD[1]}
    assert all(row["refine/repeated"] == 1 for _, row in found)


def test_which_attempts_are_retried():
    made, asked = refiner(lambda p: PROBLEM.answer, count=2)
    refined(made, [group(BAD[0], PROBLEM.answer, BAD[1], BAD[2])])
    assert len(asked) == 1 and BAD[0] in asked[0]  # the last two are those that would be replaced
    made, asked = refiner(lambda p: PROBLEM.answer, unsolved=True)
    (one, two), row = refined(made, [group(BAD[0], PROBLEM.answer, BAD[1]), group(*BAD)])
    assert len(asked) == 2 and one.refined == () and two.refined == (2,)
    assert row["refine/newly_solved"] == 0.5


def test_nothing_to_refine():
    made, asked = refiner(lambda p: BAD[0])
    own = group(*[PROBLEM.answer] * 3)
    (out,), row = refined(made, [own])
    assert not asked and out.texts == own.texts and out.refined == ()
    assert row["refine/rows"] == row["refine/tokens"] == 0 and row["refine/zero_variance"] == 1


def test_a_retry_that_does_not_fit_is_left():
    made, _ = refiner(lambda p: " ; ".join(["3 + 5 = 8"] * 6))
    (out,), row = refined(made, [group(*BAD)])
    assert out.texts == BAD and row["refine/rows"] == 0


def test_a_retry_that_repeats_its_attempt_can_be_left():
    made, _ = refiner(lambda p: BAD[0])  # the first of two retries says its attempt again, the second another one's
    (out,), row = refined(made, [group(*BAD, BAD[0])])
    assert out.refined == (3,) and row["refine/repeated"] == 0.5
    for again, places in ((BAD[:1], ()), (BAD[:2], (3,))):
        made, _ = refiner(lambda p: BAD[0], attempts=len(again))
        (out,), row = refined(dataclasses.replace(made, repeats=False), [group(*BAD, BAD[0])])
        assert out.refined == places and row["refine/rows"] == len(places)


def test_fresh_samples_are_the_policys_own():
    made, asked = refiner(lambda p: PROBLEM.answer, source="fresh")
    (out,), _ = refined(made, [group(*BAD)])
    assert asked == [PROBLEM.prompt] * 2 and out.rewards[-1] == 1 and out.refined == ()


@pytest.mark.parametrize("source", sorted(refine.SOURCES))
def test_sources(source):
    tried = [refine.Attempt(PROBLEM, t, t == PROBLEM.answer) for t in (*BAD, PROBLEM.answer)]
    said = refine.SOURCES[source](tried, np.random.default_rng(0), level="reason")
    truth = refine.SOURCES["oracle"](tried, np.random.default_rng(0), level="reason")
    assert len(said) == 4
    if source == "random":
        assert sorted(said) == sorted(truth) and all(a != b for a, b in zip(said, truth))
    elif source == "fresh":
        assert said == [None] * 4
    elif source == "none":
        assert said == [""] * 4
    else:
        assert [parse(s).right for s in said] == [(source == "inverted") != t.right for t in tried]
        assert any("step" in s for s in said) == (source in ("oracle", "arithmetic"))
        assert (PROBLEM.answer in said[0]) == (source == "indicative_answer")


def test_what_critiques_give_away():
    assert refine.leak([None, "", "right", "wrong"]) == 0.5
    sentences = ["wrong step 1", "wrong because operand", "wrong hint 1 + 2 = 3", "wrong step 1 answer 1 + 2 = 3"]
    assert [refine.leak([s]) for s in sentences] == [2, 3, 4, 5]


def test_critiques_by_a_model():
    tried = [refine.Attempt(PROBLEM, BAD[0], False)] * 4
    texts = ["wrong step 1 because operand hint 3 + 5 = 8", "right", "gibberish", ""]
    asked = []

    def answer(prompts):
        asked.extend(prompts)
        return texts, [completion(t) for t in ("wrong", "right", "wrong wrong", "")]

    said, row = refine.by_model(*refine.ask_critic(answer, tried), tried, "reason")
    assert said == ["wrong step 1 because operand", "wrong", "wrong", "wrong"]
    assert row["critique/malformed"] == 0.5 and row["critique/usable"] == 0.25 and row["critique/tokens"] == 8
    assert asked[0] == f"{PROBLEM.prompt} {BAD[0]} critique"
    refine.ask_critic(answer, tried, reference=True)
    assert asked[4] == f"{PROBLEM.prompt} {BAD[0]} answer {PROBLEM.answer} critique"


def test_the_number_of_prompts_does_not_change_what_is_said():
    model = presets.make("test", TASK.tokenizer.vocab_size)
    params = model.init(jax.random.key(0), np.zeros((1, 4), np.int32))
    how = {"max_new": 5, "prompt_length": None}
    prompts = [TASK[i].prompt for i in range(40)]
    many, completions = refine.respond(model, params, TASK.tokenizer, prompts, jax.random.key(1), **how)
    few, _ = refine.respond(model, params, TASK.tokenizer, prompts[:3], jax.random.key(1), **how)
    assert len(many) == len(completions) == 40 and many[:3] == few and len(set(many)) > 3


def test_critics_decode_greedily():
    """The likelier of two whose logits differ by 1e-5. Mutation: a temperature of 1e-4, which draws either."""
    e = noise(jax.random.key(0), np.arange(200), np.zeros(200, np.int32), 2)
    tokens = draw(refine.GREEDY(np.broadcast_to(np.float32([1.0, 1.00001]), (200, 2))), e)
    assert (np.asarray(tokens) == 1).all()
