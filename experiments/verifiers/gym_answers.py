"""Answers of reasoning-gym's tasks, right and perturbed, with the scores that it gives them."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from entropy_rl.answers import values
from entropy_rl.data import gym


def scored(order: Sequence) -> tuple[str, list[tuple[str, str, str, float]]]:
    """How a task scores, and (gold, answer, how it was made, score): -1 where its scorer raises.

    Problems whose answer has no exact value are left out.

    It scores by "string", as most do, where an answer must be the gold one letter by letter, or by its "own" rule.

    Args:
      order: name, number of problems, seed.
    """
    reasoning_gym = gym.module()
    from reasoning_gym.dataset import ProceduralDataset

    name, problems, seed = order
    rng = random.Random(f"{seed}/{name}")
    rows = []
    dataset = reasoning_gym.create_dataset(name, size=problems, seed=seed)
    base = type(dataset).score_answer is ProceduralDataset.score_answer
    for i in range(problems):
        entry = dataset[i]
        gold = entry["answer"]
        found = values.value(gold) if isinstance(gold, str) else None
        if found is None:
            if i == 9 and not rows:
                break  # a task whose answers are no values
            continue
        answers = {"right": [gold], "rewritten": rewritten(gold, found), "perturbed": perturbed(gold, found, rng)}
        for how, texts in answers.items():
            for answer in texts:
                try:
                    score = float(dataset.score_answer(answer, entry))
                except Exception:
                    score = -1.0
                rows.append((gold, answer, how, score))
    return "string" if base else "own", rows


def rewritten(gold: str, found: values.Value) -> list[str]:
    """The same answer otherwise written."""
    ways = [f"${gold}$", f" {gold} ", values.show(found)]
    if found.kind == "number" and isinstance(found.data, int):
        ways += [f"{found.data}.0", f"{found.data:,}", f"{found.data:+d}"]
    if found.kind == "word":
        ways += [gold.upper(), f"\\text{{{gold}}}"]
    if found.kind in ("sequence", "set", "list"):
        ways += [re.sub(r"\s*,\s*", ",", gold), re.sub(r"\s*,\s*", " , ", gold)]
    return list(dict.fromkeys(way for way in ways if way != gold))


def perturbed(gold: str, found: values.Value, rng: random.Random) -> list[str]:
    """Answers that are not the same: nothing is done to zeros, nor to items that are equal."""
    digits = [m.start() for m in re.finditer("[0-9]", gold)]
    wrong = [f"{gold} or 0", f"not {gold}"]
    if digits:
        i = rng.choice(digits)
        wrong.append(gold[:i] + str((int(gold[i]) + rng.randint(1, 9)) % 10) + gold[i + 1 :])
        if gold[i] != "0":
            wrong.append(gold[:i] + gold[i] + gold[i:])
    if found.kind == "number" and found.data:
        wrong.append(gold[1:] if gold.startswith("-") else f"-{gold}")
    if found.kind == "word":
        wrong += [word for word in ("yes", "no", "A", "B") if word.casefold() != gold.casefold()]
    if found.kind == "sequence" and len(found.data[1]) > 1:
        left, items, right = found.data
        if len(set(items)) > 1:
            wrong.append(left + ", ".join(map(values.show, items[1:] + items[:1])) + right)
    return list(dict.fromkeys(text for text in wrong if text != gold))
