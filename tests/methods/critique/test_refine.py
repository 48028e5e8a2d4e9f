"""Refinements: which attempts, which retries, where they lie, and what is logged; with a policy that is a script."""

import dataclasses

import jax
import numpy as np
import pytest

from entropy_rl.advantages import dr_grpo
from entropy_rl.methods.critique import critics, refine
from entropy_rl.models import presets
from entropy_rl.models.scoring import by_place, token_scores
from entropy_rl.sampling import warp
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


def refiner(retry, *, count=1, attempts=2, unsolved=False, source="oracle", **more):
    """A Refiner whose policy answers by `retry`(prompt); `.prompts` has what it was asked."""
    asked = []

    def criticise(params, tried, rng, key):
        return critics.SOURCES[source](tried, rng, level="reason"), {}, [""] * len(tried)

    def answer(params, prompts, key):
        asked.extend(prompts)
        return [retry(p) for p in prompts], [completion(retry(p)) for p in prompts]

    def score(params, tokens, mask):
        return {"logp": np.where(mask, -2.0, 0.0), "entropy": np.where(mask, 0.5, 0.0)}

    made = refine.Refiner(TASK, criticise, answer, score, 8, LENGTH, count, attempts, unsolved, **more)
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


def test_the_number_of_prompts_does_not_change_what_is_said(monkeypatch):
    """Nor does how many are served together, which follows from devices and memory; and few are not filled up to many
    where prompts are dear. Mutations: filled up all the same; a key for each part, as many as there are."""
    model = presets.make("test", TASK.tokenizer.vocab_size)
    params = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 4), np.int32))
    how = {"max_new": 5, "prompt_length": None}
    prompts = [TASK[i].prompt for i in range(40)]
    many, completions = refine.respond(model, params, TASK.tokenizer, prompts, jax.random.key(1), **how)
    few, _ = refine.respond(model, params, TASK.tokenizer, prompts[:3], jax.random.key(1), **how)
    assert len(many) == len(completions) == 40 and many[:3] == few and len(set(many)) > 3
    served, generate = [], refine.generate
    monkeypatch.setattr(refine, "generate", lambda *args, **how: served.append(len(args[2])) or generate(*args, **how))
    monkeypatch.setattr(refine.packing, "PAYS", 1)
    dear, _ = refine.respond(model, params, TASK.tokenizer, prompts[:3], jax.random.key(1), **how)
    assert dear == few and served == [4]
    monkeypatch.setattr(refine, "together", lambda *args, **how: 2)
    parts, _ = refine.respond(model, params, TASK.tokenizer, prompts[:3], jax.random.key(1), **how)
    assert parts == few and served[1:] == [2, 1]


def test_critics_decode_greedily():
    """The likelier of two whose logits differ by 1e-5. Mutation: a temperature of 1e-4, which draws either."""
    e = noise(jax.random.key(0), np.arange(200), np.zeros(200, np.int32), 2)
    tokens = draw(warp.greedy(np.broadcast_to(np.float32([1.0, 1.00001]), (200, 2))), e)
    assert (np.asarray(tokens) == 1).all()


WIDE = 3 * LENGTH


def test_retries_are_learnt_under_their_context_too():
    """Row by row: prompts, masks, old log-probabilities, baselines. Mutations: joint rows scored on the question;
    a baseline of the whole group; empty rows in a baseline; equal rewards learnt."""
    answers = {BAD[0]: PROBLEM.answer, BAD[1]: BAD[2]}
    made, asked = refiner(lambda p: next(a for b, a in answers.items() if f": {b} wrong" in p), joint=True)
    groups, row = refined(made, [group(*BAD, BAD[0]), group(PROBLEM.answer, BAD[1], BAD[1], BAD[0])])
    out = groups[0]
    assert out.refined == (3,) and out.texts[3] == PROBLEM.answer, "the question alone still has its refinement"
    assert [(t.prompt, t.reward, t.number) for t in out.turns] == [
        (TASK.tokenizer.encode(f"{PROBLEM.prompt} {BAD[0]} wrong step 1 because arithmetic again"), 1.0, 1),
        (TASK.tokenizer.encode(f"{PROBLEM.prompt} {BAD[1]} wrong step 1 because unreachable again"), 0.0, 1),
    ]
    # both retries of the other group are wrong: nothing is better than anything
    assert groups[1].turns == () and row["refine/joint_rows"] == 2 and row["refine/joint_equal"] == 2
    assert len(asked) == 4 and row["refine/repaired"] == 0.25
    assert row["refine/prompt_tokens"] == sum(len(p.split()) for p in asked)
    own = sum(len(completion(t).tokens) for t in (*BAD, BAD[0], PROBLEM.answer, BAD[1], BAD[1], BAD[0]))
    assert row["critique/overhead"] == row["refine/tokens"] / own
    rollout = collect.to_rollout(groups, length=WIDE, pad_id=0, turns=3)
    assert rollout.group.tolist() == [0] * 7 + [1] * 7
    assert rollout.turn.tolist() == [0] * 4 + [1, 1, -1] + [0] * 4 + [-1] * 3
    assert np.flatnonzero(rollout.refined).tolist() == [3, 10]
    prompt, said = out.turns[0].prompt, completion(PROBLEM.answer).tokens
    end = len(prompt) + len(said)
    assert rollout.tokens[4, :end].tolist() == [*prompt, *said] and not rollout.tokens[4, end:].any()
    assert np.flatnonzero(rollout.mask[4]).tolist() == list(range(len(prompt), end))
    assert (rollout.sampler_logp[4][rollout.mask[4]] == -1).all(), "of sampling, under the context"
    assert (rollout.sampler_logp[3][rollout.mask[3]] == -2).all(), "the same retry on the question alone"
    assert not rollout.mask[[6, 11, 12, 13]].any()
    advantage = dr_grpo(rollout.reward, rollout.compared())
    np.testing.assert_allclose(advantage[:7], [-0.25, -0.25, -0.25, 0.75, 0.5, -0.5, 0])
    np.testing.assert_allclose(advantage[7:], [0.75, -0.25, -0.25, -0.25, 0, 0, 0])


def test_the_ratio_of_a_joint_row_is_one_before_updates():
    """A policy samples, and the learner's scores of the rows are the sampler's. Mutations: a prompt without its last
    token; the mask a place to the right; a joint row cut to the question's length; own rows scored as the others."""
    model = presets.make("test", TASK.tokenizer.vocab_size)
    params = jax.tree.map(lambda x: 3 * x, jax.jit(model.init)(jax.random.key(0), np.zeros((1, 4), np.int32)))
    how = {"max_new": 5, "prompt_length": 2 * LENGTH}
    texts, own = refine.respond(model, params, TASK.tokenizer, [PROBLEM.prompt] * 4, jax.random.key(1), **how)
    first = dataclasses.replace(group(*texts), completions=own)

    def answer(_, prompts, key):
        texts, done = refine.respond(model, params, TASK.tokenizer, prompts, key, **how)
        return texts, [dataclasses.replace(c, truncated=False) for c in done]

    made, _ = refiner(lambda p: "", joint=True, count=0, attempts=3, turns=2)
    made = dataclasses.replace(made, answer=answer, task=Scored(iter([0.0, 1.0, 0.0, 1.0, 0.0])))
    (out,), row = refined(made, [first])
    assert [t.number for t in out.turns] == [1, 1, 1, 2, 2] and out.refined == () and row["refine/rows"] == 0
    assert out.turns[3].prompt[: len(out.turns[0].prompt)] == out.turns[0].prompt, "it goes on where the first ended"
    rollout = collect.to_rollout([out], length=WIDE, pad_id=0, turns=6)
    short = token_scores(model, samples=4, prompt_length=TASK.prompt_length)
    score = by_place(short, token_scores(model), count=4, size=10, length=LENGTH)
    logp = np.asarray(jax.jit(score)(params, rollout.tokens, rollout.mask)["logp"])
    assert rollout.mask.sum() > 20 and np.ptp(rollout.sampler_logp[rollout.mask]) > 0.1
    np.testing.assert_allclose(logp[rollout.mask], rollout.sampler_logp[rollout.mask], atol=1e-5)


class Scored:
    """Countdown whose retries get given rewards."""

    tokenizer = TASK.tokenizer

    def __init__(self, rewards):
        self.rewards = rewards

    def verify(self, problem, response):
        return next(self.rewards)


@pytest.mark.parametrize("credit", ["each", "last"])
def test_attempts_after_each_other_in_one_context(credit):
    """Two chains of up to three retries, one mended by its second, one never. Mutations: a context that forgets the
    first attempt; a chain that goes on after a right retry; the first attempt keeps its own reward."""
    script = {BAD[0]: BAD[1], BAD[1]: PROBLEM.answer, BAD[2]: BAD[2]}
    made, asked = refiner(
        lambda p: script[p.removesuffix(" wrong again").split(" again ")[-1].split(" : ")[-1]],
        **{"source": "indicative", "joint": True, "turns": 3, "credit": credit, "count": 0},
    )
    (out,), row = refined(made, [group(BAD[0], BAD[2], PROBLEM.answer)])
    first, second = f"{PROBLEM.prompt} {BAD[0]} wrong again", f"{PROBLEM.prompt} {BAD[2]} wrong again"
    assert asked[:2] == [first, second]
    assert asked[2:] == [f"{first} {BAD[1]} wrong again", *(second + f" {BAD[2]} wrong again" * n for n in (1, 2))]
    found = [(t.number, t.reward) for t in out.turns]
    assert row["refine/repaired"] == 0.2 and row["refine/repaired_last"] == 0.5 and row["critique/attempts"] == 5
    if credit == "each":  # both are wrong at first, and the third is alone: two have something to be compared with
        assert found == [(2, 1.0), (2, 0.0)] and out.rewards == [0, 0, 1]
    else:
        assert found == [(1, 1.0), (1, 0.0), (2, 1.0), (2, 0.0)] and out.rewards == [1, 0, 1]
    assert row["refine/joint_equal"] == 5 - len(found)


def test_several_critiques_of_an_attempt_make_a_budget():
    """1, 2, 4 or 8 retries of a group. Mutation: the same attempt counted once."""
    for attempts, critiques in ((1, 1), (1, 2), (2, 2), (4, 2)):
        more = {"attempts": attempts, "critiques": critiques, "joint": True}
        made, asked = refiner(lambda p: PROBLEM.answer, **more)
        refined(made, [group(*BAD, *BAD)])
        assert len(asked) == attempts * critiques and len(set(asked)) == min(attempts, 3)
    rewards = iter([1.0, 0.0])  # of two retries of one attempt one is right: half a reward for it
    made, _ = refiner(lambda p: PROBLEM.answer, attempts=1, critiques=2, joint=True, count=0, credit="last")
    (out,), row = refined(dataclasses.replace(made, task=Scored(rewards)), [group(*BAD)])
    assert out.rewards == [0.5, 0, 0] and [t.reward for t in out.turns] == [1, 0]
    assert out.turns[0].prompt == out.turns[1].prompt


def test_guards_by_hand():
    assert refine.looping("a b c d") == 0 and refine.looping("a b c") == 0
    assert refine.looping("a b a b a b a b") == 1 - 2 / 5
    said, known = "wrong hint 3 + 5 = 8", "1 2 -> 3 : 1 + 1 = 2"
    assert refine.copying("3 + 5 = 8 ; 8", said, known) == 2 / 4
    assert refine.copying("1 + 1 = 2 ; 8", "right 1 + 1 = 2", known) == 0, "what was there before is no copy"
    assert refine.copying("", said, known) == refine.copying("3 + 5 = 8", None, known) == 0


@pytest.mark.parametrize("name, text", [("repetition", "3 + 5 = 8 ; 3 + 5 = 8 ; 3 + 5 = 8"), ("copying", None)])
def test_what_a_guard_keeps_out_joins_nothing(name, text):
    """Right retries that loop or copy the answer out of the critique. Mutation: a guard that only counts."""
    said = text or PROBLEM.answer
    for most, rows in ((0.0, 1), (0.3, 0)):
        how = {"joint": True, "credit": "last", "guard": refine.Guard(**{name: most}), "source": "indicative_answer"}
        made, _ = refiner(lambda p: said, **how)
        made = dataclasses.replace(made, task=Scored(iter([1.0, 0.0])))
        (out,), row = refined(made, [group(*BAD, BAD[0])])
        assert row["refine/rows"] == rows and row["refine/joint_rows"] == 2 * rows
        assert row["refine/guarded"] == 2 - 2 * rows and out.rewards[0] == rows
        assert row["refine/" + {"repetition": "looping"}.get(name, name)] > 0.3


def test_retries_of_exploding_entropy_join_nothing():
    """Mutation: the ratio the wrong way round."""
    high = lambda t: dataclasses.replace(completion(t), entropy=np.full(len(completion(t).tokens), 5.0, np.float32))  # noqa: E731
    for most, rows in ((6.0, 1), (4.0, 0)):
        made, _ = refiner(lambda p: PROBLEM.answer, guard=refine.Guard(entropy=most))
        answer = lambda params, prompts, key: ([PROBLEM.answer] * 2, [high(PROBLEM.answer)] * 2)  # noqa: E731
        (out,), row = refined(dataclasses.replace(made, answer=answer), [group(*BAD, BAD[0])])
        assert row["refine/rows"] == rows and row["refine/entropy_ratio"] == 5 and row["refine/guarded"] == 2 - 2 * rows
