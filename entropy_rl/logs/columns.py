"""Which column of a log is the entropy, the score and the step: by rule from what names say, whatever the trainer.

A name is read as words: `eval_rewards/MathAccuracy/mean` is eval, rewards, math, accuracy, mean. What was held out
beats what was trained on; of scores the kind counts (KINDS), and what is a spread, a length or a format is none.
Entropies that a trainer's row knows (`trainers`) come first, in its order; see `entropies` for the others.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable
from typing import Any

from entropy_rl.errors import InputError, nearest
from entropy_rl.logs import trainers

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|@")
WRAPPERS = {"metrics", "data", "inference", "summary", "history", "rewards"}  # outer segments that say nothing
HELD_OUT = {"eval", "evals", "evaluation", "val", "validation", "test", "dev", "heldout", "holdout"}
SCORED = {"acc", "accuracy", "score", "reward", "loss", "entropy"}  # behind valid, which may mean well-formed too
TRAINING = {"train", "training", "reward", "rewards", "rew", "rollout", "env", "actor", "critic", "objective", "batch"}
COUNTERS = {"step", "steps", "epoch", "epochs", "iteration", "episodes", "samples", "batch", "rollout", "id"}
RUN = {"run", "seed", "model", "experiment", "exp", "trial", "job", "method", "algorithm", "algo", "variant"}
TASKS = {"task", "dataset", "benchmark", "env", "environment"}
ALL = {"all", "agg", "overall"}  # over tasks
MEAN = (("mean",), ("avg",), ("average",))
# Words of what is no score, wherever they stand.
_NO_SCORE = """std min max var variance stderr sem ci p median low high count num n lr kl loss entropy grad norm clip
    clipped clipfrac ratio frac fraction truncated truncation length lengths len token tokens zero advantage advantages
    return returns margin margins chosen rejected best worst maj majority baseline value values penalty overlong bonus
    cost diff gap threshold coef coeff turns calls format formatting time timing runtime seconds sec elapsed throughput
    perf memory weight percentile pct valid rank mask flops system timestamp"""
NO_SCORE = frozenset(_NO_SCORE.split())
# Words that may stand beside `entropy` in its segment or behind it; others make another quantity of it.
_ENTROPY = """policy current mean avg average train training actor loss approx sequence token tokens all agg old rollout
    sampled mc per response lobprob logprob logprobs prob global step update full exact trainer model generation
    generated completion sampler sampling logits learner nats bits ppo grpo optim critic @"""
ENTROPY = frozenset(_ENTROPY.split())
SAMPLED = {"approx", "sampled", "mc", "rollout"}
BITS = "bits"  # a word of an entropy that is not in nats
STEPS = [
    "step",  # this project, TRL, verl
    "training_step",  # open-instruct, whose global_step counts episodes
    *("training/global_step", "train/global_step", "trainer/global_step", "global_step"),  # verl; TRL, OpenRLHF; SkyRL
    *("train_step", "inference.train_step", "train/step", "rollout/step", "eval/step"),
    *("global_step/max_steps", "progress/batch", "iteration", "iter", "update", "updates", "batch", "n_iter"),
    *("episode", "episodes", "samples", "num_samples", "_step"),  # W&B's own counts calls of its log
]
# Where none of these is there, what ends in a word of COUNTS, has none but of these, and rises.
_COUNTS = "step steps update updates iteration iterations iter iters it timesteps episode episodes epoch epochs"
COUNTS = frozenset(_COUNTS.split())
_COUNTED = """global train training trainer optimizer optim opt policy actor gradient grad rl grpo ppo learner learning
    current outer model num n total env time progress"""
COUNTED = COUNTS | set(_COUNTED.split())
# What alarms look at: role -> words that a name must have, all those of one group ("=": and no others), and words that
# it must not have.
SIGNALS = {
    "clip fraction": (
        "clipfrac, clip fraction, clip frac, clip ratio region, pg clip, ppo clip ratio",
        "response prompt lower length grad high low dual critic value std min max var",
    ),
    "truncated share": (
        "truncated, response clip ratio, clipped ratio, truncation",
        "prompt grad region std min max var",
    ),
    "length": (
        "response length, completion length, completions length, rollout length, response len, response lengths",
        "clip ratio prompt terminated clipped std min max var",
    ),
    "longest": ("response length max, completions max length, response len max", "prompt terminated clip ratio"),
    "zero-variance share": ("zero variance, zero std", "min max count"),
    "mixed share": (
        "frac mixed, pct mixed, groups mixed, solve partial, effective batch size",
        "min max std count eval val test",
    ),
    "none solved": ("solve none", "min max std format"),
    "all solved": ("solve all", "min max std format"),
    "reference kl": (
        "=kl, =train kl, ref kl, kl ref, kl reference, kl loss, objective kl, critic kl",
        "coef max min std",
    ),
    "gradient": ("grad norm", "critic value max min std coef clip"),
    "reward sum": ("=reward, =train reward", ""),
    "sampler gap": (
        "mismatch kl, sampler gap, logp gap, vllm kl, kl sample train, rollout kl, sampling logp difference, "
        "rollout probs diff, rollout prob diff, train rollout logprob diff, train rollout logprobs diff, "
        "vllm local logprob diff, gen kl error, generation kl error",
        "loss coef reward std min max var",
    ),
}


@functools.lru_cache(4096)
def words(text: str) -> tuple[str, ...]:
    """`MathAccuracy/mean@8` as (math, accuracy, mean, @, 8)."""
    return tuple(word.lower() for word in WORD.findall(text))


def segments(name: str) -> list[tuple[str, ...]]:
    """Words of each piece between `/` or `.`, without outer pieces that say nothing."""
    parts = [found for found in map(words, re.split(r"[/.]", name)) if found]
    while len(parts) > 1 and len(parts[0]) == 1 and parts[0][0] in WRAPPERS:
        parts = parts[1:]
    return parts


def held_out(name: str) -> bool:
    """Whether a name, or a piece of it, begins with eval, val, validation; or test, dev, where it is no inner name."""
    parts = segments(name)
    inner = HELD_OUT - {"test", "dev"}
    return bool(parts) and (
        _begins_held_out(parts[0]) or any(p[0] in inner or p in (("test",), ("dev",)) for p in parts[1:])
    )


def _begins_held_out(part: tuple[str, ...]) -> bool:
    """Of the outermost piece: val_acc, held_out, valid (alone, or with what was scored)."""
    if part[0] in HELD_OUT or part[:2] in (("held", "out"), ("hold", "out")):
        return True
    return part[0] == "valid" and (len(part) == 1 or part[1] in SCORED)


KINDS = ["accuracy", "correct", "pass@1", "avg@k", "mean@k", "score", "reward", "share", "pass@k", "evaluation"]


def kind(name: str) -> int | None:
    """Place in KINDS of the kind of score that a name says; None for no score."""
    found = words(name)
    if found and found[0] == "valid" and _begins_held_out(segments(name)[0]):
        found = found[1:]
    if found and found[-1] == "pct":
        found = found[:-1]
    if set(found) & NO_SCORE:
        return None
    text = " " + " ".join(found) + " "
    tests = [
        {"accuracy", "accuracies", "acc"} & set(found) or " exact match " in text,
        {"correct", "correctness"} & set(found),
        any(f" pass {mark} " in text for mark in ("@ 1", "at 1", "at one", "1")),
        " avg @ " in text or " avg at " in text,
        " mean @ " in text or " mean at " in text,
        {"score", "scores"} & set(found),
        {"reward", "rewards", "rew"} & set(found) or name == "R",
        "rate" in found and {"pass", "success", "solve", "win"} & set(found) or "solved" in found,
        " pass @ " in text or " pass at " in text,
        _of_a_dataset(name),
    ]
    return next((place for place, test in enumerate(tests) if test), None)


def _of_a_dataset(name: str) -> bool:
    """slime's eval/DATASET, or eval/DATASET/mean."""
    parts = segments(name)
    parts = parts[:-1] if len(parts) == 3 and parts[-1] in MEAN else parts
    return len(parts) == 2 and len(parts[0]) == 1 and _begins_held_out(parts[0]) and not set(parts[1]) & COUNTERS


def is_training(name: str) -> bool:
    """Whether a score says by its name that it is of training: `accuracy` alone says neither."""
    return not held_out(name) and bool(set(words(name)) & TRAINING)


def scores(counts: dict[str, int], least: int = 0) -> list[str]:
    """The columns that look like scores and have at least so many cells, most trusted first.

    Held out before trained on; those of at least `least` cells first; then the kind; effective before all, all
    before one task; raw rewards before shaped; the shallower name; the more cells.
    """
    names = [n for n in counts if kind(n) is not None and not (n.endswith("/n") and n[:-2] in counts)]

    def rank(name: str) -> tuple:
        found = set(words(name))
        every = found & ALL or any(part in MEAN for part in segments(name)[1:-1])
        aggregated = ("effective" not in found, not every, "raw" not in found, "aux" in found)
        return (not held_out(name), counts[name] < least, kind(name), *aggregated, len(segments(name)), -counts[name])

    return sorted(names, key=lambda name: (*rank(name), len(name), name))


def entropies(counts: dict[str, int]) -> list[str]:
    """The columns that look like the policy's entropy, most trusted first.

    Those that a trainer's row knows; then by rule: of training before of evaluations, full distribution before
    sampled, a pass of the old policy before a loss term, all tasks before one, the shallower name.
    """
    known = [name for name in trainers.trusted(counts) if counts[name]]
    ruled = [name for name in counts if name not in known and is_entropy(name)]

    def rank(name: str) -> tuple:
        found = set(words(name))
        order = (held_out(name), "objective" in found, bool(found & SAMPLED), "loss" in found, not found & ALL)
        return (*order, len(segments(name)), -counts[name], name)

    return [*known, *sorted(ruled, key=rank)]


def is_entropy(name: str) -> bool:
    """Whether a name says entropy, and nothing that would make another quantity of it (of answers, its change)."""
    if name == "H":
        return True
    parts = [tuple("entropy" if word == "ent" else word for word in part) for part in segments(name)]
    places = [i for i, part in enumerate(parts) if "entropy" in part]
    if not places or {"std", "min", "max", "var"} & set(words(name)):
        return False
    behind = [part for part in parts[places[0] + 1 :]]
    own = set(parts[places[0]]) - {"entropy"}
    own -= HELD_OUT if parts[places[0]][0] in HELD_OUT else set()
    task = len(behind) == 2 and behind[1] == ("mean",)  # prime-rl: entropy/TASK/mean
    return own <= ENTROPY and (task or all(set(part) <= ENTROPY for part in behind))


def choose_step(counts: dict[str, int]) -> str | None:
    """The first of STEPS that is in about as many rows as any other of them: some stand in rows of training only."""
    lower = {name.lower(): name for name in counts}
    inner = [name for name in counts if segments(name)[-1:] in ([("step",)], [("global", "step")])]  # system/step
    known = [lower[name] for name in STEPS if name in lower]
    # W&B's exports call its count of calls Step, beside the trainer's own
    last = {"_step"} | ({"Step"} if any("global_step" in name for name in known) else set())
    steps = {name: counts[name] for name in sorted([*known, *inner], key=last.__contains__)}
    return next((name for name, n in steps.items() if n >= 0.9 * max(steps.values())), None)


def likely_steps(names: Iterable[str]) -> list[str]:
    """The columns that may count steps by their names (train_steps, num_updates, epoch), those of epochs last."""
    found = [name for name in names if (said := words(name)) and said[-1] in COUNTS and set(said) <= COUNTED]
    return sorted(found, key=lambda name: (bool({"epoch", "epochs"} & set(words(name))), len(words(name))))


def runs(counts: Collection[str]) -> list[str]:
    """The columns that tell runs apart by their names: run, seed, run_id, model/name, ..."""
    return [name for name in counts if RUN & set(words(name)) and set(words(name)) <= RUN | {"id", "name", "random"}]


def tasks(counts: Collection[str]) -> list[str]:
    """The columns that say by their names which problems a row is about."""
    return [name for name in counts if TASKS & set(words(name)) and set(words(name)) <= TASKS | {"id", "name"}]


def signals(counts: dict[str, int]) -> dict[str, str]:
    """Role -> the column that an alarm looks at, for the roles of SIGNALS that the log has; never one of `live`'s."""
    found = {}
    said = {name: set(words(name)) for name in counts if not held_out(name) and ("law",) not in segments(name)}
    for role, (needed, never) in SIGNALS.items():
        for need in map(str.split, needed.split(",")):
            exact, need = need[0].startswith("="), {need[0].removeprefix("="), *need[1:]}
            fits = set.__eq__ if exact else set.issuperset
            names = [n for n, text in said.items() if fits(text, need) and not text & set(never.split())]
            if names:
                # the policy's own responses, not second attempts at what failed (refine/truncated)
                found[role] = min(names, key=lambda n: (len(segments(n)), "rollout" not in said[n], -counts[n], n))
                break
    return found


def components(names: Iterable[str]) -> dict[str, str]:
    """Reward function -> its mean, of rewards that are sums of such (TRL's rewards/NAME/mean)."""
    found = {name: re.fullmatch(r"(?:train/)?rewards/([^/]+)/mean", name) for name in names}
    return {match[1]: name for name, match in found.items() if match}


def explain(counts: dict[str, int], numbers: dict[str, int], least: int) -> list[tuple[str, int, str]]:
    """(name, cells, what it is taken for) of every column, what could be chosen first."""
    roles: dict[str, str] = {}
    for place, name in enumerate(entropies(numbers), 1):
        estimates = trainers.estimator(trainers.recognise(counts), name)
        roles[name] = f"entropy, choice {place} (estimator: {estimates})"
    for place, name in enumerate(scores(numbers, least), 1):
        of = "held out" if held_out(name) else "training" if is_training(name) else "of what its name does not say"
        roles.setdefault(name, f"score, choice {place} ({KINDS[kind(name)]}, {of})")
    if step := choose_step(counts):
        roles[step] = "step"
    for role, name in signals(numbers).items():
        roles.setdefault(name, f"for alarms: {role}")
    for name in counts:
        roles.setdefault(name, "not used" if name in numbers else "not used: no number in it")
    return [(name, counts[name], role) for name, role in roles.items()]


def named(where: str, counts: Collection[str], name: str, role: str) -> str:
    """The column of this name.

    Raises:
      InputError: there is none.
    """
    if name in counts:
        return name
    raise InputError(f"{where}: no column {name!r} for {role}{nearest(name, counts)}: there are {some(counts)}")


def some(things: Iterable[Any], most: int = 8) -> str:
    """The first few of a list, as text."""
    texts = [str(thing) for thing in things]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")
