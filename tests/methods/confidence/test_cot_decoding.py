"""CoT-decoding: branches against a model that is run token by token, spans and choices by hand."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl.data.problem import Problem
from entropy_rl.errors import InputError
from entropy_rl.methods.confidence import cot_decoding
from entropy_rl.methods.confidence.cot_decoding import aggregate, answer_tokens, branch, most_confident, read
from entropy_rl.models import presets, tiles
from entropy_rl.models.scoring import top_gap, top_gaps
from entropy_rl.sampling.engine import Completion
from entropy_rl.tasks import countdown

TASK = countdown.make("validation", levels=(3,), size=4)
TOKENS = TASK.tokenizer
EOS = TOKENS.eos_id


@pytest.fixture(scope="module")
def policy():
    """A model that is not trained, with logits far enough apart that greedy is stable."""
    model = presets.make("test", TOKENS.vocab_size)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    return model, jax.tree.map(lambda x: 4 * x, params)


def test_gap_by_hand():
    """softmax(0, log 2, log 5) = (1, 2, 5) / 8. Equal largest ones: 0."""
    np.testing.assert_allclose(top_gap(jnp.log(jnp.array([[1.0, 2.0, 5.0], [3.0, 1.0, 3.0]]))), [3 / 8, 0.0], atol=1e-6)


def test_branches_are_first_tokens_continued_greedily(policy):
    """Against argmax over whole prefixes. Mutations: prompts without the first token, max_new + 1, sampling."""
    model, params = policy
    problems, k, longest = [TASK[0], TASK[1]], 3, 6
    found = branch(model, params, TASK, problems, k=k, max_new=longest, prompt_length=TASK.prompt_length)

    def probabilities(tokens):
        padded = np.zeros((1, TASK.prompt_length + longest), np.int32)
        padded[0, : len(tokens)] = tokens
        return np.asarray(run(padded))[0, len(tokens) - 1]

    run = jax.jit(lambda tokens: jax.nn.softmax(model.apply(params, tokens)[0]))
    for problem, group in zip(problems, found):
        prompt = TOKENS.encode(problem.prompt)
        best = np.argsort(-np.asarray(probabilities(prompt)))[:k]
        assert [b.completion.tokens[0] for b in group] == best.tolist()
        for b in group:
            text, gaps, logp = list(prompt), [], []
            for place in range(longest):
                p = np.asarray(probabilities(text), float)
                token = b.completion.tokens[0] if place == 0 else int(p.argmax())
                gaps.append(np.sort(p)[-1] - np.sort(p)[-2])
                logp.append(np.log(p[token]))
                text.append(int(token))
                if token == EOS:
                    break
            assert b.completion.tokens.tolist() == text[len(prompt) :]
            np.testing.assert_allclose(b.gap, gaps, atol=1e-4)
            np.testing.assert_allclose(b.completion.logp, logp, rtol=1e-3, atol=1e-3)
            assert b.completion.truncated == (text[-1] != EOS)


def test_gaps_in_tiles_are_gaps(policy, monkeypatch):
    """With room for five tokens' logits at a time the numbers are the same, and column 0 is 0."""
    model, params = policy
    tokens = np.random.default_rng(0).integers(2, 40, (3, 7)).astype(np.int32)
    whole = jax.jit(top_gaps(model))(params, tokens, tokens > 0)["gap"]
    monkeypatch.setattr(tiles, "ELEMENTS", 5 * TOKENS.vocab_size)
    np.testing.assert_allclose(jax.jit(top_gaps(model))(params, tokens, tokens > 0)["gap"], whole, atol=1e-6)
    logits = jax.jit(model.apply)(params, tokens)[0]
    np.testing.assert_allclose(whole[:, 1:], top_gap(logits)[:, :-1], atol=1e-6)
    assert not whole[:, 0].any()


def given(text, ended=True):
    tokens = np.array([*TOKENS.encode(text), *[EOS] * ended], np.int32)
    return Completion(tokens, np.zeros(len(tokens)), np.zeros(len(tokens)), truncated=not ended)


def confidences(monkeypatch, texts, span, forced=0, ended=True):
    """Branches of responses whose gaps are 0.1 at their first token, 0.2 at the next, and so on."""

    def scores(model, params, tokens, mask):
        gap = np.cumsum(mask, axis=1) * mask / 10
        return {"logp": -gap, "entropy": gap, "gap": gap}

    monkeypatch.setattr(cot_decoding, "_scores", scores)
    made = [[given(text, ended) for text in texts]]
    return read(None, None, TASK, [[5, 6]], made, length=20, span=span, forced=forced)[0]


def test_spans_by_hand(monkeypatch):
    """`3 + 5 = 8 <eos>` has gaps .1 to .6: the answer is token 5, decisions are 3 + 5, and <eos> is of the response."""
    (b,) = confidences(monkeypatch, ["3 + 5 = 8"], "answer")
    assert (b.answer, b.span.tolist()) == ("8", [False] * 4 + [True, False])
    assert b.confidence == pytest.approx(0.5)
    (b,) = confidences(monkeypatch, ["3 + 5 = 8"], "solution")
    assert b.span.tolist() == [True] * 3 + [False] * 3 and b.confidence == pytest.approx(0.2)
    (b,) = confidences(monkeypatch, ["3 + 5 = 8"], "response")
    assert b.span.all() and b.confidence == pytest.approx(0.35)


def test_a_forced_token_counts_only_alone(monkeypatch):
    (b,) = confidences(monkeypatch, ["3 + 5 = 8"], "solution", forced=1)
    assert b.span.tolist() == [False, True, True, False, False, False] and b.confidence == pytest.approx(0.25)
    monkeypatch.setattr(type(TASK), "final_answer", lambda self, text: text)
    (b,) = confidences(monkeypatch, ["8"], "answer", forced=1)
    assert b.span.tolist() == [True, False] and b.confidence == pytest.approx(0.1)


def test_no_answer_is_no_confidence(monkeypatch):
    for span in ("answer", "solution"):
        assert confidences(monkeypatch, ["3 + 5 8"], span)[0].confidence == 0
        assert confidences(monkeypatch, ["3 + 5 = 8"], span, ended=False)[0].confidence == 0  # cut off


def test_answers_of_several_tokens():
    """The last place counts; the tokens are those whose text overlaps it."""
    text = "3 + 5 = 8 ; 8 + 5 = 3 + 5"
    tokens = np.array(TOKENS.encode(text), np.int32)
    assert np.flatnonzero(answer_tokens(TASK, tokens, text, "3 + 5")).tolist() == [10, 11, 12]
    with pytest.raises(InputError, match="final answer '24' does not stand"):
        answer_tokens(TASK, tokens, text, "24")


def test_a_response_is_decoded_once(monkeypatch):
    """Mutation: every prefix of it is, which is quadratic."""
    tokens, seen = np.array(TOKENS.encode("3 + 5 = 8 ; 8 + 5 = 13 " * 40), np.int32), []
    decode = type(TOKENS).decode
    monkeypatch.setattr(type(TOKENS), "decode", lambda self, ids: seen.append(len(ids)) or decode(self, ids))
    answer_tokens(TASK, tokens, decode(TOKENS, tokens), "13")
    assert sum(seen) <= 3 * len(tokens)


def test_an_answer_in_canonical_form_stands_where_it_was_read():
    """0.5 for \\frac{1}{2}. Mutation: an error that ends the measurement."""

    class Letters:
        def pieces(self, ids):
            return list(text)

    text = r"so \boxed{\frac{1}{2}} it is"
    found = answer_tokens(SimpleNamespace(tokenizer=Letters()), np.arange(len(text)), text, "0.5")
    assert "".join(np.array(list(text))[found]) == r"\frac{1}{2}"
    text = "it is\n4  apples, no"  # tasks give answers with single spaces
    found = answer_tokens(SimpleNamespace(tokenizer=Letters()), np.arange(len(text)), text, "is 4 apples")
    assert "".join(np.array(list(text))[found]) == "is\n4  apples"


def test_an_answer_that_cannot_be_found_is_none(monkeypatch):
    """Unless that is so of all. Mutations: an error that ends a run; none where the task's answers never stand."""
    odd = lambda self, text: "24" if text.startswith("8") else text[-1:]  # noqa: E731
    monkeypatch.setattr(type(TASK), "final_answer", odd)
    lost, there = confidences(monkeypatch, ["8 + 5 = 3", "3 + 5 = 8"], "answer")
    assert (lost.answer, lost.confidence, there.answer) == ("", 0.0, "8") and there.confidence > 0
    with pytest.raises(InputError, match="final answer '24' does not stand"):
        confidences(monkeypatch, ["8 + 5 = 3"], "answer")


def test_choices_by_hand():
    """a: 0.6 + 0.5 beats b: 0.9 in sum and not in maximum. "" counts only alone."""
    sure, keys = [0.5, 0.9, 0.6, 0.8], ["a", "b", "a", ""]
    assert most_confident(sure) == 1 and aggregate(sure, keys) == 2
    assert aggregate([0.3, 0.2], ["", ""]) == 0 and aggregate([0.0, 0.9], ["x", ""]) == 0
    assert most_confident([0.5, 0.5]) == 0


def test_a_first_token_can_end_the_response(policy):
    """All tokens as first ones: <eos> is one of them, and nothing follows it."""
    model, params = policy
    k = TOKENS.vocab_size
    (group,) = branch(model, params, TASK, [TASK[0]], k=k, max_new=2, prompt_length=TASK.prompt_length)
    assert sorted(int(b.completion.tokens[0]) for b in group) == list(range(k))
    (ended,) = [b for b in group if b.completion.tokens[0] == EOS]
    assert len(ended.completion.tokens) == 1 and not ended.completion.truncated and ended.confidence == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k=0 first tokens"),
        ({"span": "anser"}, "span 'anser'"),
        ({"prompt_length": 2}, "it must have 1 to 2"),
    ],
)
def test_bad_input(policy, changes, message):
    how = {"k": 2, "max_new": 2, "prompt_length": TASK.prompt_length}
    with pytest.raises(InputError, match=message):
        branch(*policy, TASK, [Problem("3 5 3 -> 24 :", "", "a", 3)], **(how | changes))
