"""Measures the answer verifiers: speed, junk, and agreement with math-verify and with reasoning-gym's scorers.

    python -m experiments.check_verifiers --config=configs/verifiers.py --workdir=OUT

Writes OUT/verifiers.json and prints its tables. Answers are drawn with a seed, so that all counts repeat; times do not.
"""

from __future__ import annotations

import collections
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from entropy_rl import files, tables
from entropy_rl.answers import exact, values
from entropy_rl.answers.extract import FORMS, final_answer
from entropy_rl.answers.grade import Grader
from entropy_rl.answers.symbolic import require
from entropy_rl.answers.workers import Failure, Workers
from entropy_rl.data import gym as reasoning_gym
from experiments.lib import checks, launch
from experiments.verifiers import answer_junk
from experiments.verifiers.answer_pairs import KINDS, NEAR

FRAMES = {"boxed": "\\boxed{{{}}}", "hash": "#### {}", "tag": "<answer>{}</answer>"}
STORY = (
    "There are 12 boxes with 6 pencils each, which makes 72 pencils. Then 3 friends take 4 each, that is 12 pencils, "
    "so that 60 are left. Each of the 5 children gets the same number of them.\n"
)


def run(config: ConfigDict, workdir: str | os.PathLike) -> dict[str, Any]:
    """Measures everything; returns what is in verifiers.json.

    Raises:
      InputError: math-verify or reasoning-gym is not installed, a number out of range.
    """
    keys = ("speed", "junk", "pairs", "slow_pairs", "gym.problems", "workers.count", "workers.megabytes")
    checks.whole(config, 1, *keys)
    checks.positive(config, "workers.seconds", "gym.seconds")
    checks.seed(config)
    require()
    limits = dict(config.workers)
    found = {"speed": speed(config.speed)}
    print(_table([found["speed"]]), flush=True)
    found["junk"] = junk(config.junk, config.seed)
    print(_table([found["junk"]]), flush=True)
    found["math_verify"] = math_verify(config.pairs, config.slow_pairs, config.seed, limits)
    print(_table(found["math_verify"]), flush=True)
    limits["seconds"] = config.gym.seconds
    found["gym"] = gym(config.gym.problems, config.seed, limits)
    print(_table(found["gym"]), flush=True)
    files.write(Path(workdir) / "verifiers.json", json.dumps(found, indent=2) + "\n")
    return found


def speed(count: int) -> dict[str, float]:
    """Answers a second of `Grader.grade` in one thread, by where the answer stands; half are wrong."""
    rates = {}
    for name, frame in FRAMES.items():
        pairs = [(str(i), STORY + frame.format(i + i % 2)) for i in range(count)]
        grader = Grader()
        start = time.process_time()
        right = sum(grader.grade(gold, response) for gold, response in pairs)
        rates[f"{name}, answers/s"] = round(count / (time.process_time() - start))
        assert right == (count + 1) // 2
    return rates


def junk(count: int, seed: int) -> dict[str, Any]:
    """Exceptions, the slowest call, and what is taken for right among junk and near misses."""
    rng, grader = random.Random(seed), Grader()
    functions: dict[str, Callable[[str], Any]] = {
        "final_answer": final_answer,
        "value": values.value,
        "equal": lambda text: exact.equal(text, text + "0"),
        "grade": lambda text: grader.grade("5", text),
        "final": grader.final,
    }
    functions |= {form: lambda text, form=form: final_answer(text, form) for form in FORMS}
    slowest, raised, kept, valued = collections.Counter(), 0, 0, 0
    for _ in range(count):
        text = answer_junk.draw(rng)
        for name, function in functions.items():
            try:
                result, took = _timed(function, text)
                if took > slowest[name]:  # again, as what else the process does now and then is not the call's
                    slowest[name] = max(slowest[name], min(took, _timed(function, text)[1]))
            except Exception:
                raised += 1
                continue
            if name == "value" and result is not None:
                valued += 1
                same = result._replace(unit="", name="")
                kept += len(values.show(same)) > values.MAX_CHARACTERS or values.value(values.show(same)) == same
    wrong = [pair for pair in NEAR if exact.equal(*pair)]
    for frame in FRAMES.values():
        wrong += [(gold, text) for gold, text in NEAR if grader.grade(gold, "So " + frame.format(text))]
    return {
        "strings": count,
        "exceptions": raised,
        "with a value": valued,
        "value(show(v)) is v": kept,
        "near misses": len(NEAR),
        "taken for right": len(wrong),
        "slowest ms": {name: round(1000 * seconds, 1) for name, seconds in slowest.items()},
    }


def _timed(function: Callable[[str], Any], text: str) -> tuple[Any, float]:
    start = time.process_time()
    return function(text), time.process_time() - start


def math_verify(count: int, slow: int, seed: int, limits: dict[str, Any]) -> list[dict[str, Any]]:
    """By kind of pair: what is right by construction, what `exact.equal` and math-verify say."""
    pairs = []
    for kind, draw in KINDS.items():
        rng = random.Random(f"{seed}/{kind}")
        number = slow if kind.startswith(("root", "polynomial")) else count
        pairs += [(kind, *draw(rng)) for _ in range(number)]
    with Workers("experiments.verifiers.answer_peers:math_verify", setup={}, **limits) as workers:
        theirs = workers.map([(gold, answer) for _, gold, answer, _ in pairs])
    rows: dict[str, collections.Counter] = {kind: collections.Counter() for kind in KINDS}
    examples: dict[str, dict[str, tuple[str, str]]] = {kind: {} for kind in KINDS}
    for (kind, gold, answer, truth), mv in zip(pairs, theirs):
        ours = exact.equal(gold, answer)
        row, failed = rows[kind], isinstance(mv, Failure)
        row["pairs"] += 1
        row["failed"] += failed
        row["undecided"] += ours is None
        row["of it theirs equal"] += ours is None and mv is True
        row["both equal"] += ours is True and mv is True
        row["both unequal"] += ours is False and mv is False
        here = {
            "only ours": ours is True and mv is False,
            "only theirs": ours is False and mv is True,
            "ours wrong": ours is not None and truth is not None and ours != truth,
            "theirs wrong": not failed and truth is not None and mv != truth,
        }
        for key, holds in here.items():
            row[key] += holds
            if holds:
                examples[kind].setdefault(key, (gold, answer))
    return [
        {"kind": kind, **row, "why": WHY.get(kind, "") if examples[kind] else "", "example": examples[kind]}
        for kind, row in rows.items()
    ]


def gym(problems: int, seed: int, limits: dict[str, Any]) -> list[dict[str, Any]]:
    """By task of reasoning-gym whose answers have an exact value: `exact.equal` against its own score of 1."""
    rows = []
    orders = [(name, problems, seed) for name in reasoning_gym.names()]
    with Workers("experiments.verifiers.gym_answers:scored", **limits) as workers:
        found = dict(zip((name for name, *_ in orders), workers.map(orders)))
    for name, scored in found.items():
        if isinstance(scored, Failure):
            rows.append({"task": name, "answers": 0, "why": f"{scored.reason}: {scored.text}"})
            continue
        row, example = collections.Counter(), {}
        scorer, answers = scored
        for gold, answer, how, score in answers:
            ours, gyms = exact.equal(gold, answer), score >= 1
            row["answers"] += 1
            row["it raised"] += score < 0
            row["right, not ours"] += how != "perturbed" and ours is not True
            row["perturbed, ours"] += how == "perturbed" and ours is True
            row["both right"] += ours is True and gyms
            row["both wrong"] += ours is not True and not gyms
            for key, here in (("only ours", ours is True and not gyms), ("only theirs", ours is not True and gyms)):
                row[key] += here
                if here:
                    example.setdefault(key, (gold, answer))
        if row["answers"]:
            why = GYM.get(name, LETTERS if scorer == "string" else READS) if example else ""
            rows.append({"task": name, "scorer": scorer, **row, "why": why, "example": example})
    return rows


def _table(rows: list[dict[str, Any]]) -> str:
    heads = list(dict.fromkeys(key for row in rows for key in row if key != "example"))
    return tables.table(heads, ([row.get(key, "") for key in heads] for row in rows)) + "\n"


# where the two differ, and why
WHY = {
    "integer, same": "math-verify reads no 5. and **5** in a box",
    "decimal, rounded": "math-verify rounds to 6 digits; nothing is rounded here",
    "mixed number": "math-verify takes 12 1/4 for 13/4",
    "scientific": "math-verify takes e for Euler's number: 9.7e5 is 9.7 e 5",
    "unit, left out": "math-verify takes dollars for a product of letters",
    "unit, another": "math-verify drops units: 5 cm is 5 m; here that is undecided",
    "money": "math-verify takes 7,207.19 dollars for the set of 7 and 207.19 d o l l a r s",
    "degrees": "math-verify does not read the character \u00b0",
    "choice, same": "math-verify reads no D. in a box",
    "yes or no": "math-verify reads no yes. in a box, and takes Yes for a product of letters",
}
LETTERS = "it compares letters"
READS = "it reads plain text only: no $, no other form"
GYM = {
    "advanced_geometry": f"{READS}; it rounds to 2 or 3 digits",
    "coin_flip": f"{READS}; what one begins with is right: 11 for 1; it allows 1e-4, and drops commas",
    "decimal_arithmetic": f"{READS}; it allows one unit of the last digit that its settings speak of",
    "fraction_simplification": "it takes the first fraction of a text: 1/2 or 0 is 1/2; it wants it reduced",
    "game_of_life_halting": "a bug: bool(answer) of a text, so that any answer is right",
    "gsm_symbolic": "it takes the first number of a text, without its sign: -5 is 5; 28,080 is 28",
    "number_format": f"{READS}; it allows 0.01",
    "polynomial_equations": f"{READS}; a score that falls with distance",
    "power_function": f"{READS}; it rounds to 3 significant digits",
    "prime_factorization": "it raises on what is no number",
    "time_intervals": "it takes the first word: 5 days or 0 is 5 days; it does not read 5.0",
}


if __name__ == "__main__":
    launch.main(run)
