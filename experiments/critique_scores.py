"""What a critique is worth on held-out problems: is it true, and does the policy do better with it?

    python -m experiments.critique_scores --config=configs/critique/scores.py --config.init=runs/start \\
        --config.critique.model=runs/critique --workdir=runs/scores

The policy of `config.init` attempts each problem, or that of `config.generator`, so that policies are compared on the
same attempts; the critique model judges every attempt, beside the solver's truth; failed attempts are tried again by
`config.init` after each kind of critique, after none, and afresh, unless `config.repair=False`, where only what is said
is scored, at a tenth of the cost. Intervals are over problems (percentile bootstrap). Writes scores.json and scores.md.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.errors import InputError
from entropy_rl.evaluate import attempt_all
from entropy_rl.laws import bootstrap
from entropy_rl.methods.critique import critics, refine
from entropy_rl.methods.critique.language import CLOSED, Attempt, Language
from entropy_rl.tables import span, table
from experiments.lib import build, checks, launch, workdirs
from experiments.lib.policies import load_policy
from experiments.rl import conversation


def run(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Scores a critique model; gives what scores.json holds.

    Raises:
      InputError: a bad value, nothing to score, a task without the words of critiques, or a policy or critique model
        that is not there.
    """
    checks.positive(config, "eval.problems", "eval.samples", "rollout.slots", "rollout.temperature", "draws")
    checks.require(config, "a number between 0 and 1", lambda x: 0 < x < 1, "interval")
    task = build.task(config, split=config.eval.split, size=config.eval.problems)
    language = spoken = conversation.speak(config, task)
    if language is CLOSED and not getattr(task, "talks", False):
        raise InputError(
            f"critique_scores needs the truth of critiques from a solver, and task {config.task.name!r} has none: give "
            "--config.task.name=countdown --config.task.args.talk=True and no --config.model.path"
        )
    if not config.repair and config.critique.model is None:
        raise InputError(
            "config.repair=False without a critique model leaves nothing to score: give --config.critique.model=WORKDIR"
        )
    mesh, vocab_size, path = build.mesh(config), task.tokenizer.vocab_size, config.critique.model
    model, params = load_policy(config, config.init, mesh, vocab_size)
    attempting = (model, params)
    if config.generator is not None:
        attempting = load_policy(config, config.generator, mesh, vocab_size, key="generator")
    judge = None
    if path is not None:
        judge, spoken = conversation.load_critic(config, task, mesh, path, language)
    workdir = workdirs.open_workdir(config, workdir, ignore=("optimizer",))
    rng, keys = np.random.default_rng(config.seed), iter(jax.random.split(jax.random.key(config.seed), 16))
    how = build.sampling(config, task, mesh)
    groups = attempt_all(*attempting, task, next(keys), samples=config.eval.samples, **how)
    tried = [Attempt(g.problem, t, r >= 1) for g in groups for t, r in zip(g.texts, g.rewards)]
    knows = "oracle" if language.tells_all() else "arithmetic"
    truth = [language.oracle(t, rng) if language.tells_all() else language.arithmetic(t) for t in tried]
    problem = np.repeat(np.arange(len(groups)), config.eval.samples)
    bounds = partial(interval, problem=problem, rng=rng, draws=config.draws, level=config.interval)
    out: dict[str, Any] = {"attempts": len(tried), "problems": len(groups), "interval": config.interval}

    said = None
    if judge is not None:
        ask = conversation.critique_sampler(config, task, judge[0], mesh, language=spoken)
        said, replies = ask(judge[1], tried, next(keys))
        out["critique"] = {k: bounds(v) for k, v in agreement(said, truth, tried, language).items()}
        out["critique"]["tokens"] = float(np.mean([r.tokens for r in replies]))

    if config.repair:
        told = lambda c, level: language.write(language.limit(c, level))  # noqa: E731

        def true(i: int, level: str) -> str:
            cut = language is CLOSED or not language.tells_all()
            return told(truth[i] if cut else language.oracle(tried[i], rng, level), level)

        wrong = np.flatnonzero([not t.right for t in tried])
        shift = wrong[np.roll(np.arange(len(wrong)), 1 + len(wrong) // 2)]
        ways: dict[str, list[str | None]] = {"fresh sample": [None] * len(wrong), "no critique": [""] * len(wrong)}
        for level in ("verdict", "step", "reason", "hint"):
            ways[f"{knows}, {level}"] = [true(i, level) for i in wrong]
        ways[f"random ({knows}'s of another attempt)"] = [true(i, "reason") for i in shift]
        if said:
            # in the loop the verdict of the verifier stands in for a critique that is of no use
            good = [critics.usable(c, t) for c, t in zip(said, tried)]
            for level in ("step", "reason", "hint"):
                ways[f"learned, {level}"] = [
                    told(said[i], level) if good[i] else language.verdict(False) for i in wrong
                ]
        bounds = partial(interval, problem=problem[wrong], rng=rng, draws=config.draws, level=config.interval)
        repaired, retrying = {}, how | {"prompt_length": None}
        for way, sentences in ways.items():
            answer = partial(refine.respond, model, params, task.tokenizer, key=next(keys), **retrying)
            again = refine.retry(task, answer, [tried[i] for i in wrong], sentences, language=language)
            repaired[way] = (np.array(again.rewards) >= 1).astype(float)
        out["repaired"] = {k: bounds((v, np.ones(len(v)))) for k, v in repaired.items()}
        out["repaired, less no critique"] = {
            k: bounds((v - repaired["no critique"], np.ones(len(v)))) for k, v in repaired.items() if k != "no critique"
        }
    workdirs.report(workdir, "scores", out, page(out))
    return out


def agreement(
    said: list, truth: list, tried: list[Attempt] | None = None, language: Language = CLOSED
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores of critiques against the truth, each as (numerators, denominators) over attempts: sum / sum.

    verdict accuracy   right or wrong as the truth says; a critique that cannot be read is not.
    majority           of always saying what is most frequent; "less majority" is the difference on the same attempts.
    balanced accuracy  verdict accuracy with right attempts weighed as much as wrong ones; any constant verdict has .5.
                       NaN where all attempts are of one kind.
    F1 (wrong)         2 TP / (2 TP + FP + FN), "wrong" being positive.
    first wrong step   exact, over wrong attempts.
    reason             exact, over wrong attempts whose step is; of closed sentences alone.
    malformed          cannot be read.
    """
    wrong = np.array([not t.right for t in truth])
    says = np.array([c is not None and not c.right for c in said])
    read = np.array([c is not None for c in said])
    texts = [t.text for t in tried] if tried else [""] * len(said)
    place = lambda c, text: None if c is None else language.place(text, c)  # noqa: E731
    places = [(place(c, text), place(t, text)) for c, t, text in zip(said, truth, texts)]
    step = np.array([c is not None and not t.right and a == b for c, t, (a, b) in zip(said, truth, places)])
    ones, hit = np.ones(len(truth)), read & (says == wrong)
    majority = wrong if wrong.mean() >= 0.5 else ~wrong
    weight = np.where(wrong, (~wrong).sum(), wrong.sum()).astype(float)
    scores = {
        "verdict accuracy": (hit, ones),
        "majority": (majority, ones),
        "verdict accuracy, less majority": (hit * ones - majority, ones),
        "balanced accuracy": (hit * weight, weight),
        "F1 (wrong)": (2 * (says & wrong), 2 * (says & wrong) + (says & ~wrong) + (~says & wrong)),
        "first wrong step": (step, wrong),
        "malformed": (~read, ones),
    }
    if language is CLOSED:
        scores["reason"] = (np.array([s and c.reason == t.reason for s, c, t in zip(step, said, truth)]), step)
    return scores


def interval(
    ratio: tuple[np.ndarray, np.ndarray], *, problem: np.ndarray, rng: np.random.Generator, draws: int, level: float
) -> list[float]:
    """[value, low, high] of sum(a) / sum(b); whole problems are drawn with replacement. NaN where b sums to 0."""
    a, b = (np.bincount(problem, weights=np.asarray(x, float), minlength=problem.max(initial=0) + 1) for x in ratio)
    with np.errstate(invalid="ignore", divide="ignore"):
        return bootstrap.percentiles(lambda i: a[i].sum() / b[i].sum(), len(a), rng, level=level, draws=draws)


def page(out: dict[str, Any]) -> str:
    """scores.md: two tables."""
    rows = [f"{out['attempts']} attempts at {out['problems']} held-out problems.", ""]
    for title in ("critique", "repaired", "repaired, less no critique"):
        if title in out:
            cells = [[key, span(v, sign=False)] for key, v in out[title].items() if isinstance(v, list)]
            rows += [table([title, f"value [{out['interval']:.0%} interval]"], cells), ""]
    return "\n".join(rows)


if __name__ == "__main__":
    launch.main(run)
