"""Thinking budgets: what is left out, what is appended, what is counted; by hand, and with an untrained policy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.methods.budget import budget
from entropy_rl.models import presets
from entropy_rl.sampling.engine import Completion
from entropy_rl.tasks.countdown import TALKER

EOS, WORD = (1,), TALKER.encode("again")


def made(*tokens, logp=-0.5, entropy=0.25):
    n = len(tokens)
    return Completion(np.array(tokens, np.int32), np.full(n, logp), np.full(n, entropy), tokens[-1] not in EOS)


@pytest.fixture(scope="module")
def say():
    model = presets.make("test", TALKER.vocab_size)
    params = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 2), np.int32))
    return budget.sampler(model, params, EOS)


def test_the_end_is_left_out_and_the_word_comes():
    """Mutation: the end token stays, or `wait` forgets what was written before the last response."""
    asked = []

    def say(prefixes, key, *, max_new, width):
        asked.append(([list(p) for p in prefixes], max_new, width))
        return [made(20 + len(asked), 1), made(30, 31)]

    how = {"rounds": 2, "word": [9], "eos": EOS, "prompt_length": 2, "response_length": 3}
    first = [made(10, 11, 1), made(12, 13, 14)]
    rounds = budget.continued(say, [[5], [6, 7]], first, jax.random.key(0), way="wait", **how)
    assert [[c.tokens.tolist() for c in r] for r in rounds] == [[[21, 1], [30, 31]], [[22, 1], [30, 31]]]
    assert asked == [
        ([[5, 10, 11, 9], [6, 7, 12, 13, 14, 9]], 3, 6),
        ([[5, 10, 11, 9, 21, 9], [6, 7, 12, 13, 14, 9, 30, 31, 9]], 3, 10),
    ]
    asked.clear()
    budget.continued(say, [[5], [6, 7]], first, jax.random.key(0), way="retry", **how)
    assert asked[0] == ([[5, 10, 11, 9], [6, 7, 12, 13, 14, 9]], 3, 6)  # the first round is the same
    assert asked[1] == ([[5, 21, 9], [6, 7, 30, 31, 9]], 3, 6)
    asked.clear()
    budget.continued(say, [[5], [6, 7]], first, jax.random.key(0), way="repeat", **how)
    assert asked[1] == ([[5, 10, 11, 9, 10, 11, 9], [6, 7, 12, 13, 14, 9, 12, 13, 14, 9]], 3, 10)
    for bad in ({"way": "weight"}, {"way": "wait", "word": []}):
        with pytest.raises(InputError, match="wait word"):
            budget.continued(say, [[5]], first[:1], jax.random.key(0), **{**how, **bad})


def test_a_thought_has_exactly_its_tokens(say):
    """An untrained policy would end half of its thoughts within 30 tokens. Mutation: `ends` is ignored."""
    prompts = [TALKER.encode("3 5 7 -> 15 :")] * 40
    thoughts, answers = budget.exact(
        say, prompts, jax.random.key(1), tokens=30, word=WORD, prompt_length=6, response_length=8
    )
    assert all(len(c.tokens) == 30 and c.truncated and 1 not in c.tokens for c in thoughts)
    assert all(1 <= len(c.tokens) <= 8 for c in answers) and len({tuple(c.tokens) for c in answers}) > 20
    free = say(prompts, jax.random.key(1), max_new=30, width=6)
    assert any(len(c.tokens) < 30 for c in free)


def test_the_probability_of_an_end_is_shared_out():
    logits = jnp.log(jnp.array([[0.5, 0.2, 0.3]]))
    assert np.allclose(jax.nn.softmax(budget.endless(logits, (1,))), [[0.625, 0, 0.375]])
    sharp = jax.nn.softmax(budget.endless(logits, (1,), 0.5))
    assert np.allclose(sharp, [[25 / 34, 0, 9 / 34]])


def test_batches_are_filled_up_and_cut_off_again(monkeypatch):
    """Five prefixes are two batches of four, and five responses. Mutation: what fills up is not cut off."""
    sizes = []
    monkeypatch.setattr(budget, "together", lambda *args, **how: 4)
    monkeypatch.setattr(
        budget, "generate", lambda model, params, part, key, **how: sizes.append(len(part)) or [[p[0]] for p in part]
    )
    say = budget.sampler(None, None, EOS)
    assert say([[i] for i in range(5)], jax.random.key(2), max_new=4, width=6) == [0, 1, 2, 3, 4] and sizes == [4, 4]


@pytest.mark.parametrize(
    ("tokens", "word", "after"),
    [
        ([3, 9, 4, 9, 5], [9], [5]),
        ([3, 4], [9], [3, 4]),
        ([9, 8, 9, 8], [9, 8], []),
        ([8, 9, 8, 7], [9, 8], [7]),
        ([], [9], []),
    ],
)
def test_the_answer_is_what_follows_the_last_word(tokens, word, after):
    assert budget.answer(np.array(tokens, np.int32), word) == after


def test_measures_by_hand():
    """Two problems of two chains."""
    completions = [made(3, 1), made(3, 4, 1), made(3, 1), made(3, 1, entropy=0.75)]
    right = np.array([True, False, True, True])
    out = budget.per_problem(right, ["a", "b", "a", "a"], completions, np.array([2, 4, 6, 8]), 2)
    assert out["accuracy"].tolist() == [0.5, 1.0] and out["within"].tolist() == [0.5, 0.0]
    assert np.allclose(out["answer_entropy"], [math.log(2), 0])
    assert np.allclose(out["surprise"], [(2 * 0.5 + 3 * 0.5) / 2, 1.0])
    assert np.allclose(out["token_entropy"], [0.25, 0.5]) and out["tokens"].tolist() == [3, 7]
