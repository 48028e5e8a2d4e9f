"""Attempts at problems, with a stub for the sampler: what is verified, what is cut off, and the numbers logged."""

import math

import jax
import numpy as np
import pytest

from entropy_rl.data.packing import room
from entropy_rl.data.problem import Problem
from entropy_rl.data.tokenizers import WordTokenizer
from entropy_rl.sampling.engine import Completion
from entropy_rl.training import collect

TOKENIZER = WordTokenizer("= 1 2 3 4".split())
EOS = TOKENIZER.eos_id


class Stub:
    """The answer is the last word; half the reward for it without `=` in front."""

    tokenizer = TOKENIZER
    levels = (1,)

    def verify(self, problem, response):
        right = response.split()[-1:] == [problem.answer]
        return right * (1.0 if "=" in response else 0.5)

    def final_answer(self, response):
        return response.split()[-1] if "=" in response else ""


PROBLEMS = [Problem("1 2", "3", "a", 1), Problem("2", "4", "b", 1)]
SAMPLED = [["= 3 <eos>", "3 <eos>", "2 = 3", "1 <eos>"], ["<eos>", "= 2 <eos>", "= 2 2 2", "= 3 <eos>"]]


def completion(text):
    tokens = np.array([EOS if w == "<eos>" else TOKENIZER.encode(w)[0] for w in text.split()], np.int32)
    n = len(tokens)
    logp, entropy = -np.arange(1, n + 1) / 8, np.arange(1, n + 1) / 4
    return Completion(tokens, logp.astype(np.float32), entropy.astype(np.float32), truncated=tokens[-1] != EOS)


@pytest.fixture
def groups(monkeypatch):
    calls = []

    def generate(*args, **kwargs):
        calls.append((args, kwargs))
        return [[completion(text) for text in group] for group in SAMPLED]

    monkeypatch.setattr(collect, "generate", generate)
    out = collect.attempt("model", "params", Stub(), PROBLEMS, "key", max_new=5, samples=4, slots=2)
    prompts = [TOKENIZER.encode("1 2"), TOKENIZER.encode("2")]
    assert calls == [(("model", "params", prompts, "key"), {"max_new": 5, "eos": (EOS,), "samples": 4, "slots": 2})]
    return out


def test_groups(groups):
    assert [g.problem for g in groups] == PROBLEMS
    assert [g.prompt for g in groups] == [TOKENIZER.encode("1 2"), TOKENIZER.encode("2")]
    assert groups[0].texts == ["= 3", "3", "2 = 3", "1"]
    assert groups[1].texts == ["", "= 2", "= 2 2 2", "= 3"]


def test_a_truncated_response_is_wrong(groups):
    """`2 = 3` has the answer and no end. Mutation: its text verified all the same."""
    assert Stub().verify(PROBLEMS[0], "2 = 3") == 1.0
    assert groups[0].completions[2].truncated
    assert [g.rewards for g in groups] == [[1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]


def test_summary_by_hand(groups):
    """Answers are 3, none, 3, none and none, 2, 2, 3; the second group has no variance."""
    out = collect.summary(Stub(), groups)
    mixed = 0.25 * math.log(4) * 2 + 0.5 * math.log(2)
    want = {
        "rollout/reward": 1.5 / 8,
        "rollout/zero_variance": 0.5,
        "rollout/solved": 0.5,
        "rollout/answer_entropy": (math.log(2) + mixed) / 2,
        "rollout/length": (3 + 2 + 3 + 2 + 1 + 3 + 4 + 3) / 8,
        "rollout/truncated": 2 / 8,
    }
    assert out.keys() == want.keys()
    for key, value in want.items():
        np.testing.assert_allclose(out[key], value, atol=1e-12, err_msg=key)


def test_equal_rewards_have_no_variance_whatever_they_are(groups):
    """Mutation: only groups that are all wrong counted."""
    same = [collect.Group(g.problem, g.prompt, g.completions, g.texts, [0.7] * 4) for g in groups]
    out = collect.summary(Stub(), same)
    assert out["rollout/zero_variance"] == 1.0 and out["rollout/solved"] == 1.0
    np.testing.assert_allclose(out["rollout/reward"], 0.7)


def test_rollout(groups):
    """Prompt ++ response ++ pad, rows of a group next to each other."""
    r = collect.to_rollout(groups, length=7, pad_id=TOKENIZER.pad_id)
    np.testing.assert_array_equal(r.group, [0, 0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(r.reward, np.float32([1, 0.5, 0, 0, 0, 0, 0, 0]))
    other = collect.to_rollout(groups, length=7, pad_id=0, rewards=[[4, 3, 2, 1], [0, 0, 0, 0.5]], penalty=lambda n: -n)
    np.testing.assert_array_equal(other.reward, np.float32([1, 1, -1, -1, -1, -3, -4, -2.5]))
    assert groups[0].rewards[0] == 1 and (other.tokens == r.tokens).all()
    np.testing.assert_array_equal(r.truncated, [0, 0, 1, 0, 0, 0, 1, 0])
    np.testing.assert_array_equal(r.tokens[0], TOKENIZER.encode("1 2 = 3") + [EOS, 0, 0])
    np.testing.assert_array_equal(r.mask[0], [0, 0, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(r.mask.sum(axis=1), [3, 2, 3, 2, 1, 3, 4, 3])
    np.testing.assert_array_equal(r.sampler_logp[4], np.float32([0, -1 / 8, 0, 0, 0, 0, 0]))
    np.testing.assert_array_equal(r.entropy[1], np.float32([0, 0, 1 / 4, 2 / 4, 0, 0, 0]))


class Numbered(Stub):
    """Problems with numbers, whose attempts differ where the number is even."""

    stream = False
    response_length = 5
    prompt_length = 2

    def __len__(self):
        return 24

    def __getitem__(self, i):
        return Problem("1 2", "3" if i % 2 == 0 else "4", str(i), 1)


@pytest.mark.parametrize("rounds", [0, 4])
def test_an_epoch_has_all_problems_once(monkeypatch, rounds):
    """24 problems, four a round: six rounds of an epoch, whether steps take one or several. A resumed run goes on.

    Mutation: `rounds` rounds' worth of places for every step, of which most are skipped.
    """
    monkeypatch.setattr(collect, "informative", lambda sample, *, count, rounds: taken(sample, count))
    seen, many = [], iter([1, 2, 1, 1, 1])

    def taken(sample, count):
        groups = [g for number in range(next(many)) for g in sample(number)]
        return groups[:count], groups

    def attempt(model, params, task, problems, noise, **how):
        seen.append([p.id for p in problems])
        return [collect.Group(p, [1, 2], [completion("= 3 <eos>")], ["= 3"], [1.0]) for p in problems]

    monkeypatch.setattr(collect, "attempt", attempt)
    how = {"prompts": 4, "samples": 1, "key": jax.random.key(0), "rounds": rounds}
    first = collect.Collector(None, Numbered(), **how)
    for step in range(2):
        first(None, step)
    again = collect.Collector(None, Numbered(), **how)
    again.places = dict(first.places)
    for step in range(2, 6 - bool(rounds)):
        again(None, step)
    assert len(seen) == 6 and sorted(sum(seen, [])) == sorted(str(i) for i in range(24))


@pytest.mark.parametrize(
    "longest, widths, want", [(4, 1, 40), (4, 8, 5), (5, 8, 5), (6, 8, 10), (23, 4, 30), (40, 8, 40), (41, 8, 40)]
)
def test_room_by_hand(longest, widths, want):
    assert room(longest, 40, widths) == want


@pytest.mark.parametrize("turns, widths, columns", [((0, 0), 1, 7), ((0, 0), 2, 5), ((0, 0), 5, 5), ((1, 9), 5, 9)])
def test_rollouts_have_columns_for_their_longest_response(monkeypatch, turns, widths, columns):
    """A prompt of 2, responses of 3 of 5. Mutations: the longest of the first group alone; rows of turns cut too."""

    def attempt(model, params, task, problems, noise, **how):
        said = ["<eos>", *["= 3 <eos>"] * (len(problems) - 1)]
        return [collect.Group(p, [1, 2], [completion(t)], [t], [1.0]) for p, t in zip(problems, said, strict=True)]

    monkeypatch.setattr(collect, "attempt", attempt)
    how = {"prompts": 2, "samples": 1, "key": jax.random.key(0)}
    rollout, *_ = collect.Collector(None, Numbered(), **how, turns=turns, widths=widths)(None, 0)
    assert rollout.tokens.shape[1] == columns and rollout.mask.sum() == 4
