"""What a critique is worth at test time: accuracy against tokens spent, beside voting without one.

    python -m experiments.test_time --config=configs/critique/test_time.py --config.init=runs/start \\
        --config.critique.source=learned --config.critique.model=runs/critique_model --workdir=runs/test_time

Of the attempts at a problem one is answered (AutoMathCritique, arXiv:2411.16579; code: evaluate-all.sh):

    majority     K samples, vote.
    best of n    K samples, each judged; the vote among those judged right.
    parallel     K samples, each judged; those judged wrong are refined; vote.
    chosen       the same, and the refinements are judged too; the vote among those judged right.
    last, voted  sequential: a sample is judged and refined until it is judged right, R rounds at most; the last one is
                 answered, or the vote among all.
    pass         K samples and a judge who is never wrong: the upper bound of best of n.

A critique that cannot be read leaves its attempt as it is, and so does a conversation that is too long (`too_long`).
Policy and judge are models of Countdown's words, or of Hugging Face folders in natural language. Tokens are those
generated: samples, a model's critiques, refinements. Critiques by the solver or by arithmetic cost none and know the
truth, which nobody has at test time: `privileged` in the output. In Countdown every question states its final answer,
so the vote is about solutions (`config.vote`). The reference code is greedy and refines all by default; here responses
are sampled, and `--config.keep=False` refines those judged right as well. Writes test_time.json and test_time.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl.data.problem import Problem
from entropy_rl.evaluate import attempt_all
from entropy_rl.laws import bootstrap
from entropy_rl.methods.critique import critics, refine, test_time
from entropy_rl.methods.critique.language import Attempt
from entropy_rl.tables import span
from entropy_rl.tables import table as tabulated
from experiments.lib import build, checks, launch, workdirs
from experiments.lib.policies import load_policy
from experiments.rl import critique

TRUE = ("oracle", "arithmetic", "random")  # sources that know the truth
SOURCES = ("learned", "self", *TRUE, "none")
Curve = dict[int, tuple[np.ndarray, np.ndarray]]  # budget -> accuracy and tokens of each problem, f[P]


@dataclasses.dataclass
class Answers:
    """Attempts, parallel lists: problem, text, whether it is right, tokens spent on it so far."""

    problems: list[Problem]
    texts: list[str]
    right: np.ndarray  # bool
    tokens: np.ndarray  # f

    def at(self, places: np.ndarray) -> Answers:
        """A copy of those at `places`."""
        lists = ([x[i] for i in places] for x in (self.problems, self.texts))
        return Answers(*lists, self.right[places], self.tokens[places])

    def spent(self, tokens: np.ndarray) -> Answers:
        """The same after more tokens."""
        return dataclasses.replace(self, tokens=self.tokens + tokens)


@dataclasses.dataclass
class Judged:
    """What is said of answers: the verdict, None where it cannot be read; the sentence; tokens."""

    verdicts: list[bool | None]
    sentences: list[str]
    tokens: np.ndarray


class Tester:
    """Policy, judge and how they are sampled; making it finds what is wrong with the config."""

    def __init__(self, config: ConfigDict):
        checks.positive(config, "eval.problems", "eval.samples", "rollout.slots", "rollout.temperature", "draws")
        checks.positive(config, "rounds", "chains")
        checks.require(config, "a number between 0 and 1", lambda x: 0 < x < 1, "interval")
        samples = config.eval.samples
        checks.require(config, f"at most eval.samples={samples}", lambda x: x <= samples, "chains")
        checks.seed(config)
        checks.one_of(config, "critique.source", SOURCES)
        checks.one_of(config, "vote", ("solution", "answer"))
        self.config, self.source = config, config.critique.source
        self.task = build.task(config, split=config.eval.split, size=config.eval.problems)
        mesh = build.mesh(config)
        critique.check(config, self.task)  # before anything is loaded
        self._model, self._params = load_policy(config, config.init, mesh, self.task.tokenizer.vocab_size)
        temperature = config.rollout.temperature
        self._critique = critique.critique_step(config, self.task, self._model, mesh, temperature)
        self._how = build.sampling(config, self.task, mesh)
        self.too_long = 0  # refinements that were not asked for
        self._rng, self._key = np.random.default_rng(config.seed), jax.random.key(config.seed)

    def topic(self, text: str) -> str:
        """What is voted about."""
        return self.task.solution(text) if self.config.vote == "solution" else self.task.final_answer(text)

    def attempts(self) -> Answers:
        """`eval.samples` samples of every problem, one problem after the other."""
        samples = self.config.eval.samples
        groups = attempt_all(self._model, self._params, self.task, self._next(), samples=samples, **self._how)
        return Answers(
            [g.problem for g in groups for _ in g.texts],
            [text for g in groups for text in g.texts],
            np.array([reward >= 1 for g in groups for reward in g.rewards]),
            np.array([len(c.tokens) for g in groups for c in g.completions], float),
        )

    def judge(self, answers: Answers) -> Judged:
        """Critiques of answers."""
        tried = [Attempt(*of) for of in zip(answers.problems, answers.texts, answers.right.tolist())]
        level, free, language = self.config.critique.level, np.zeros(len(tried)), self._critique.language
        if not tried or self.source == "none":
            return Judged([None] * len(tried), [""] * len(tried), free)
        if self.source in TRUE:
            said = critics.SOURCES[self.source](tried, self._rng, level=level, language=language)
            return Judged([self._verdict(s) for s in said], said, free)
        found, replies = self._critique.ask(self._params, tried, self._next())
        sentences = ["" if c is None else language.write(language.limit(c, level)) for c in found]
        tokens = np.array([r.tokens for r in replies], float)
        return Judged([None if c is None else c.right for c in found], sentences, tokens)

    def _verdict(self, said: str) -> bool:
        """Of a sentence that a source which is no model wrote."""
        language = self._critique.language
        read = language.read(said)
        return said == language.verdict(True) if read is None else read.right

    def doubtful(self, judged: Judged) -> np.ndarray:
        """Which answers are refined: those judged wrong; those judged right too unless `config.keep`. bool[N]."""
        keep = self.config.keep
        if self.source == "none":
            return np.ones(len(judged.verdicts), bool)
        return np.array([v is not None and not (v and keep) for v in judged.verdicts], bool)

    def refine(self, answers: Answers, judged: Judged) -> tuple[Answers, np.ndarray]:
        """(the answers after the tokens of their critiques, the doubtful ones replaced by their refinements; which have
        been, bool[N]: not where the conversation is too long)."""
        out = answers.spent(judged.tokens).at(np.arange(len(answers.texts)))
        places = np.flatnonzero(self.doubtful(judged))
        answer = partial(self._critique.answer, self._params, key=self._next())
        tried = [Attempt(out.problems[i], out.texts[i], bool(out.right[i])) for i in places]
        how = {"language": self._critique.language, "fits": self._critique.fits}
        again = refine.retry(self.task, answer, tried, [judged.sentences[i] for i in places], **how)
        self.too_long += again.fits.count(False)
        made = zip(places, again.texts, again.completions, again.rewards, again.fits)
        for i, text, completion, reward, ok in made:
            if ok:  # else the conversation is too long, and the answer stays
                out.texts[i], out.right[i] = text, reward >= 1
                out.tokens[i] += len(completion.tokens)
        refined = np.zeros(len(out.texts), bool)
        refined[places] = again.fits
        return out, refined

    def _next(self) -> jax.Array:
        self._key, key = jax.random.split(self._key)
        return key


def run(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Measures; gives what test_time.json holds.

    Raises:
      InputError: a bad value, or a policy or critique model that is not there.
    """
    t = Tester(config)
    workdir = workdirs.open_workdir(config, workdir, ignore=("optimizer",))
    first = t.attempts()
    judged = t.judge(first)
    ways = parallel(t, first, judged) | sequential(t, first, judged)
    levels = np.array([p.level for p in first.problems[:: config.eval.samples]])
    out: dict[str, Any] = {
        "problems": len(t.task),
        "samples": config.eval.samples,
        "interval": config.interval,
        "privileged": t.source in TRUE or config.critique.reference,
        "unreadable": float(np.mean([v is None for v in judged.verdicts])) if t.source != "none" else 0.0,
        "too_long": t.too_long,
        "judged right": float(np.mean([bool(v) for v in judged.verdicts])),
        "ways": table(config, ways, levels),
    }
    workdirs.report(workdir, "test_time", out, page(out))
    return out


def parallel(t: Tester, first: Answers, judged: Judged) -> dict[str, Curve]:
    """Ways that choose among K samples, or among their refinements; budgets are K."""
    k, n = t.config.eval.samples, len(t.task)
    second, _ = t.refine(first, judged)
    again = t.judge(second)
    topics, new_topics = ([t.topic(text) for text in answers.texts] for answers in (first, second))
    vote, best_of = test_time.vote, test_time.best_of
    # (what is chosen among some attempts at a problem, given their places; answers and what they cost)
    ways: dict[str, tuple[Callable[[slice], int], Answers]] = {
        "majority": (lambda s: vote(topics[s]), first),
        "parallel": (lambda s: vote(new_topics[s]), second),
        "pass": (lambda s: int(np.argmax(first.right[s])), first),
    }
    if t.source != "none":
        ways |= {
            "best of n": (lambda s: best_of(judged.verdicts[s], topics[s]), first.spent(judged.tokens)),
            "chosen": (lambda s: best_of(again.verdicts[s], new_topics[s]), second.spent(again.tokens)),
        }
    sizes = [1 << i for i in range(k.bit_length()) if 1 << i <= k]
    out: dict[str, Curve] = {}
    for way, (choose, answers) in ways.items():
        out[way] = {}
        for size in sizes:
            each = [
                test_time.in_blocks(choose, answers.right, answers.tokens, range(p * k, (p + 1) * k), size)
                for p in range(n)
            ]
            out[way][size] = tuple(np.array(each).T)
    return out


def sequential(t: Tester, first: Answers, judged: Judged) -> dict[str, Curve]:
    """Ways that go on from one sample, mean over the chains of a problem; budgets are rounds."""
    c = t.config
    chains = np.flatnonzero(np.arange(len(first.texts)) % c.eval.samples < c.chains)
    now = first.at(chains)
    now_judged = Judged(*([x[i] for i in chains] for x in (judged.verdicts, judged.sentences)), judged.tokens[chains])
    past = [[(text, right)] for text, right in zip(now.texts, now.right)]
    going = np.ones(len(chains), bool)
    out: dict[str, Curve] = {"last": {}, "voted": {}}
    for number in range(c.rounds + 1):
        if number:
            places = np.flatnonzero(going)
            some = now.at(places)
            if number > 1:
                now_judged = t.judge(some)
            some, again = t.refine(some, now_judged)
            for i, j in enumerate(places):
                now.texts[j], now.right[j], now.tokens[j] = some.texts[i], some.right[i], some.tokens[i]
            for j in places[again]:
                past[j].append((now.texts[j], now.right[j]))
            going[places[~again]] = False
        voted = [tries[test_time.vote([t.topic(text) for text, _ in tries])][1] for tries in past]
        tokens = now.tokens.reshape(-1, c.chains).mean(axis=1)
        for way, right in (("last", now.right), ("voted", voted)):
            out[way][number] = np.reshape(right, (-1, c.chains)).mean(axis=1), tokens
    return out


def table(config: ConfigDict, ways: dict[str, Curve], levels: np.ndarray) -> dict[str, dict[str, dict[str, Any]]]:
    """{way: {budget: accuracy, tokens, accuracy per level, accuracy less a baseline's at equal tokens}}.

    Intervals are percentile bootstraps over problems, the same ones for a way and its baselines.
    """

    def bounds(of: Callable[[np.ndarray], float]) -> list[float]:
        rng = np.random.default_rng((config.seed, 1))
        return bootstrap.percentiles(of, len(levels), rng, level=config.interval, draws=config.draws)

    baselines = {
        name: tuple(np.stack(x) for x in zip(*ways[name].values()))
        for name in ("majority", "best of n")
        if name in ways
    }
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for way, budgets in ways.items():
        for budget, (accuracy, tokens) in budgets.items():
            row: dict[str, Any] = {"accuracy": bounds(lambda i, a=accuracy: a[i].mean()), "tokens": tokens.mean()}
            for name, (a, cost) in baselines.items():
                if name != way and way != "pass":
                    row[f"less {name}"] = bounds(
                        lambda i, x=accuracy, y=tokens, a=a, cost=cost: test_time.less_at_equal_tokens(
                            x[i], y[i], a[:, i], cost[:, i]
                        )
                    )
            row |= {f"level{v}": accuracy[levels == v].mean() for v in np.unique(levels)}
            out.setdefault(way, {})[str(budget)] = row
    return out


def page(out: dict[str, Any]) -> str:
    """test_time.md: a line for each way and budget (K samples, or rounds)."""
    lines = [
        f"{out['problems']} held-out problems, {out['samples']} samples each; {out['interval']:.0%} intervals over "
        f"problems. Critiques {'know the truth' if out['privileged'] else 'come from a model'}; unreadable: "
        f"{out['unreadable']:.3f}.",
        "",
    ]
    head = ["way", "samples or rounds", "tokens a problem", "accuracy"]
    head += ["less majority at equal tokens", "less best of n"]
    rows = []
    for way, budgets in out["ways"].items():
        for budget, row in budgets.items():
            cells = [way, budget, f"{row['tokens']:.0f}", span(row["accuracy"], sign=False)]
            found = (row.get(f"less {name}") for name in ("majority", "best of n"))
            rows.append([*cells, *(span(v, missing="") for v in found)])
    return "\n".join([*lines, tabulated(head, rows)]) + "\n"


if __name__ == "__main__":
    launch.main(run)
