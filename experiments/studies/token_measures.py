"""What experiments/tokens.py writes of a rollout: histograms, summaries of tokens, forks in their text, examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from entropy_rl.data.tokenizers import EOS, Tokenizer
from entropy_rl.entropy import record as entropy
from entropy_rl.losses.weights import top_entropy
from entropy_rl.training.rollouts import Rollout

AROUND = 80  # characters on either side of a fork
SMALLEST = {"entropy": 1e-6, "covariance": 1e-3}  # the edge next to 0
LARGEST_COVARIANCE = 100.0  # what is beyond counts in the last bin


def measure(
    rollout: Rollout,
    advantage: np.ndarray,
    decisions: np.ndarray | None,
    tokenizer: Tokenizer,
    *,
    bins: int,
    top: float,
    words: int,
) -> dict[str, Any]:
    """Everything of tokens.json but the examples.

    Args:
      rollout: at least one response with tokens.
      advantage: f32[B, T].
      decisions: bool[B, T], True at decisions among the response tokens; None: not told apart, all words are format.
      tokenizer: gives the words.
      bins: of the histogram of entropies; of covariances as many on either side of 0.
      top: the share of tokens that are called forks.
      words: at most so many rows in `words`.
    """
    mask, h, logp = rollout.mask, rollout.entropy, rollout.sampler_logp
    known, decisions = decisions, np.zeros(mask.shape, bool) if decisions is None else np.asarray(decisions)
    cov = np.asarray(entropy.covariance(logp, advantage, mask))
    fork = np.asarray(top_entropy(mask, entropy=h, frac=top)) > 0
    shares = (*entropy.TABLE_1, 1.0)

    def summary(select):
        """Of the tokens in `select` bool[B, T], at least one of them."""
        mean = {"entropy": h[select].mean(), "covariance": cov[select].mean()}
        return {"count": int(select.sum()), **mean, "forking": int(fork[select].sum())}

    place = np.where(mask, np.cumsum(mask, axis=1) - 1, -1)
    common = Counter(zip(rollout.tokens[mask].tolist(), decisions[mask].tolist()))
    by_group = [rollout.reward[rollout.group == g] for g in np.unique(rollout.group)]
    return {
        "reward": rollout.reward.mean() if np.isfinite(rollout.reward).all() else None,
        "tokens": int(mask.sum()),
        "zero_variance": np.mean([np.ptp(rewards) == 0 for rewards in by_group]),
        "record": dict(jax.jit(entropy.record)(h, logp, advantage, mask, known, rollout.group)),
        "entropy": histogram(h[mask], entropy_edges(tokenizer.vocab_size, bins)),
        "covariance": histogram(cov[mask], covariance_edges(bins))
        | {"table": {f"{share:g}": mean for share, mean in zip(shares, entropy.covariance_table(cov, mask, shares))}},
        "kinds": {
            name: summary(select)
            for name, select in (("decision", mask & decisions), ("format", mask & ~decisions))
            if select.any() and known is not None
        },
        "words": [
            {"word": word_of(tokenizer, token), "decision": decision}
            | summary(mask & (rollout.tokens == token) & (decisions == decision))
            for (token, decision), _ in common.most_common(words)
        ],
        "places": [summary(place == i) for i in range(place.max() + 1)],
        "signs": signs(h[mask], logp[mask], advantage[mask]),
    }


def entropy_edges(vocabulary: int, bins: int) -> np.ndarray:
    """[bins + 1] edges in nats: 0, then evenly in the logarithm from 1e-6 to ln(vocabulary), the highest there is."""
    return np.concatenate([[0.0], np.geomspace(SMALLEST["entropy"], np.log(vocabulary), bins)])


def covariance_edges(bins: int) -> np.ndarray:
    """[2 bins] edges: from 1e-3 to 100 evenly in the logarithm, on either side of 0."""
    positive = np.geomspace(SMALLEST["covariance"], LARGEST_COVARIANCE, bins)
    return np.concatenate([-positive[::-1], positive])


def histogram(x: np.ndarray, edges: np.ndarray) -> dict[str, list]:
    """Counts of x between edges, [low, high) but for the last, which has its high; what is beyond is in the outer bins.

    Args:
      x: f[n].
      edges: f[m + 1], ascending.

    Returns:
      `edges` and `counts`, m whole numbers that add up to n.
    """
    counts, _ = np.histogram(np.clip(x, edges[0], edges[-1]), edges)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def signs(h: np.ndarray, logp: np.ndarray, advantage: np.ndarray) -> list[dict[str, Any]]:
    """Tokens by the signs of advantage and polarity, those that there are.

    Args:
      h, logp, advantage: f[n], of the tokens.

    Returns:
      Rows with the two signs (1, 0, -1), count, mean entropy, and `change`, the sum over these tokens of -S A / n.
    """
    s = np.asarray(entropy.polarity(logp, h))
    rows = []
    for a_sign in (1, 0, -1):
        for s_sign in (1, 0, -1):
            select = (np.sign(advantage) == a_sign) & (np.sign(s) == s_sign)
            if select.any():
                change = -(s * advantage)[select].sum() / len(h) + 0.0  # no -0.0
                about = {"advantage": a_sign, "polarity": s_sign, "count": int(select.sum())}
                rows.append({**about, "entropy": h[select].mean(), "change": change})
    return rows


def examples(
    rollout: Rollout, rows: Sequence[tuple[str, int]], advantage: np.ndarray, tokenizer: Tokenizer
) -> list[dict[str, Any]]:
    """Responses word by word: prompt, reward, mean advantage; and words, entropy and logp of each token.

    `rows` has the prompt and the row of each response that is wanted.
    """
    out = []
    for prompt, i in rows:
        of = rollout.mask[i]
        about = {"prompt": prompt, "reward": rollout.reward[i], "advantage": advantage[i][of].mean()}
        words = [word_of(tokenizer, token) for token in rollout.tokens[i][of].tolist()]
        out.append({**about, "words": words, "entropy": rollout.entropy[i][of], "logp": rollout.sampler_logp[i][of]})
    return out


def forks(rollout: Rollout, advantage: np.ndarray, tokenizer: Tokenizer, count: int) -> list[dict[str, Any]]:
    """The `count` tokens of the highest entropies, the highest first, each with the text of the row around it."""
    mask, h = rollout.mask, rollout.entropy
    cov = np.asarray(entropy.covariance(rollout.sampler_logp, advantage, mask))
    places = np.flatnonzero(mask)
    out = []
    for at in places[np.argsort(-h.ravel()[places], kind="stable")][:count]:
        i, t = divmod(int(at), mask.shape[1])
        before, after = (tokenizer.decode(rollout.tokens[i, part]) for part in (slice(t), slice(t + 1, None)))
        numbers = {"entropy": h[i, t], "logp": rollout.sampler_logp[i, t], "advantage": advantage[i, t]}
        word = word_of(tokenizer, int(rollout.tokens[i, t]))
        about = {"row": i, "before": before[-AROUND:], "word": word, "after": after[:AROUND]}
        out.append(about | numbers | {"covariance": cov[i, t]})
    return out


def word_of(tokenizer: Tokenizer, token: int) -> str:
    """Text of one token; EOS for one that ends a response."""
    return EOS if token in tokenizer.eos_ids else tokenizer.decode([token])
