import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.losses.weights import compose
from entropy_rl.sampling.engine import Completion
from entropy_rl.training.rollouts import minibatches, pack


def completion(*tokens):
    n = len(tokens)
    return Completion(np.array(tokens), -np.arange(1.0, n + 1), np.full(n, 0.5), truncated=False)


def rollout(groups=4):
    prompts = [[10 + i] * (1 + i % 2) for i in range(groups)]
    completions = [[completion(5, 6, 1), completion(7, 1)] for _ in range(groups)]
    return pack(prompts, completions, [[1.0, 0.0]] * groups, length=6, pad_id=0)


def test_pack_by_hand():
    r = rollout(2)
    np.testing.assert_array_equal(r.tokens[0], [10, 5, 6, 1, 0, 0])
    np.testing.assert_array_equal(r.tokens[3], [11, 11, 7, 1, 0, 0])
    np.testing.assert_array_equal(r.mask[3], [False, False, True, True, False, False])
    np.testing.assert_array_equal(r.sampler_logp[3], [0, 0, -1, -2, 0, 0])
    np.testing.assert_array_equal(r.entropy[0], [0, 0.5, 0.5, 0.5, 0, 0])
    np.testing.assert_array_equal(r.group, [0, 0, 1, 1])
    np.testing.assert_array_equal(r.reward, [1, 0, 1, 0])


def test_too_long_is_named():
    with pytest.raises(InputError, match=r"prompt 4 \+ response 3 tokens exceed the batch length 6"):
        pack([[1] * 4], [[completion(1, 2, 3)]], [[0.0]], length=6, pad_id=0)


def test_minibatches_keep_groups_whole_and_cover_everything_once(rng):
    r = rollout(4)
    advantage = np.arange(8, dtype=np.float32)
    parts = list(minibatches(r, advantage, compose("token_mean"), count=2, rng=rng))
    seen = np.concatenate([p.advantage.max(axis=1) for p in parts])
    np.testing.assert_array_equal(np.sort(seen), advantage)
    for p in parts:
        assert p.tokens.shape == (4, 6)
        np.testing.assert_allclose(np.sum(p.weight), 1.0, rtol=1e-6)  # of this mini-batch, not of the rollout
        first = p.advantage.max(axis=1)
        np.testing.assert_array_equal(first[::2] + 1, first[1::2])
        np.testing.assert_array_equal(p.advantage[~p.mask], 0.0)


def test_a_count_that_does_not_divide_is_named():
    with pytest.raises(InputError, match="4 prompts cannot be split into 3 mini-batches"):
        list(minibatches(rollout(4), np.zeros(8), compose("token_mean"), count=3))


def test_a_weight_is_told_which_of_its_rows_are_refined(rng):
    """Rows 1, 3, 5, 7, each its group's second; without the field, none. Mutation: the rollout's rows, not the part's.

    Every group has three tokens of row 0 and two of row 1, whose first has more entropy.
    """
    r = rollout(4)
    r.entropy[1::2, 1:3] = [0.9, 0.1]
    r.entropy[3::4, 2:4] = [0.9, 0.1]
    weight = compose("refined_forks", frac=0.5)
    marked = r.replace(refined=np.arange(8) % 2 == 1)
    for p in minibatches(marked, np.ones(8), weight, count=2, rng=rng):
        learnt = np.asarray(p.weight) > 0
        assert learnt.sum() == 8 and learnt[::2].sum() == 6 and (learnt[1::2].sum(axis=1) == 1).all()
        np.testing.assert_array_equal(p.refined, [False, True] * 2)
    for p in minibatches(r.replace(refined=None), np.ones(8), weight, count=2):
        assert p.refined is None and (np.asarray(p.weight) > 0).sum() == 10
