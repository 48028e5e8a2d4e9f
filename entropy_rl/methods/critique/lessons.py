"""What a language model is taught with critiques: pairs of a prompt and a response, as batches of demonstrations.

    solve      question                         -> a right solution        (the task's own demonstrations)
    critique   question, attempt                -> critique                (a critique model; CFT, arXiv:2501.17703)
    refine     question, attempt, critique      -> a right solution        (an actor that can use critiques)
    refined    question                         -> a refinement            (self-training: the critique is forgotten)

The loss is on the response alone: -log p(critique | question, attempt) and so on (arXiv:2411.16579, section on critic
training; arXiv:2501.17703, Eq. 1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from entropy_rl.data.packing import pack_texts
from entropy_rl.data.problem import Task
from entropy_rl.errors import InputError
from entropy_rl.methods.critique.dataset import Row, readable
from entropy_rl.methods.critique.language import CLOSED, Attempt, Critique, Language
from entropy_rl.methods.critique.sentences import LEVELS

KINDS = ("solve", "critique", "refine", "refined")
SILENT = "none"  # beside LEVELS: a refinement that is asked for without a critique


@dataclasses.dataclass(frozen=True)
class Lessons:
    """Demonstrations of several kinds in given shares; made by `make`.

    Attributes:
      task: has the tokenizer, and `demonstrations` of solutions.
      rows: rows of a critique dataset with their critiques.
      shares: of each kind; they sum to 1.
      critique_level: what taught critiques say, one of LEVELS.
      refine_levels: what critiques say that refinements follow, drawn anew each time; of LEVELS and "none".
      prompt_length, response_length: tokens of the longest.
      even: whether critiques are of right attempts in half of the cases, however few those are.
      unreadable: rows of the dataset whose critique is not in the grammar; they are left out.
      language: of prompts and critiques.
    """

    task: Task
    rows: dict[str, list[tuple[Row, Critique]]]
    shares: dict[str, float]
    critique_level: str
    refine_levels: tuple[str, ...]
    prompt_length: int
    response_length: int
    unreadable: int
    language: Language = CLOSED
    even: bool = False

    def demonstrations(self, seed: int, step: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(tokens i32[count, T], mask bool[count, T]), T = prompt_length + response_length; pure in its arguments.

        The number of rows of a kind is its share of `count`, rounded so that they add up over steps too.
        """
        tokens = np.full((count, self.prompt_length + self.response_length), self.task.tokenizer.pad_id, np.int32)
        mask = np.zeros(tokens.shape, bool)
        ends = np.cumsum([0.0, *self.shares.values()])
        # the same fractional places for all steps but shifted, so that small shares come up at some of them
        place = np.sort((np.arange(count) + 0.5) / count + step * 0.6180339887 / count) % 1.0
        kinds = np.clip(np.searchsorted(ends, place, side="right") - 1, 0, len(self.shares) - 1)
        for k, kind in enumerate(self.shares):
            where = np.flatnonzero(kinds == k)
            if not where.size:
                continue
            if kind == "solve":
                t, m = self.task.demonstrations(seed, step, where.size)
                tokens[where, : t.shape[1]], mask[where, : t.shape[1]] = t, m
                continue
            rng = np.random.default_rng((seed, step, k))
            rows = self.rows[kind]
            picks = rng.integers(len(rows), size=where.size)
            if kind == "critique" and self.even:
                sides = [[i for i, (_, c) in enumerate(rows) if c.right == side] for side in (False, True)]
                picks = [sides[side][rng.integers(len(sides[side]))] for side in rng.integers(2, size=where.size)]
            pairs = [self._pair(kind, *rows[i], rng) for i in picks]
            tokens[where], mask[where] = pack_texts(pairs, self.task.tokenizer, tokens.shape[1])
        return tokens, mask

    def _pair(self, kind: str, row: Row, critique: Critique, rng: np.random.Generator) -> tuple[str, str]:
        level = self.critique_level if kind == "critique" else None
        if kind == "refine":
            level = self.refine_levels[rng.integers(len(self.refine_levels))]
        return pair(kind, row, critique, level, self.language)


def pair(kind: str, row: Row, critique: Critique, level: str | None, language: Language) -> tuple[str, str]:
    """(prompt, response) that teach `kind`, any of KINDS but solve, with a critique of `level`."""
    tried = Attempt(language.problem(row.question, row.id, row.level), row.attempt, critique.right)
    if kind == "critique":
        return language.ask_critique(tried), language.say(language.limit(critique, level))
    if kind == "refined":
        return tried.problem.prompt, row.refinement
    said = "" if level == SILENT else language.write(language.limit(critique, level))
    return language.ask_refinement(tried, said), row.refinement


def make(
    task: Task,
    rows: Iterable[Row],
    shares: Mapping[str, float],
    *,
    critique_level: str = "reason",
    refine_levels: tuple[str, ...] = (SILENT, "verdict", "step", "reason", "hint"),
    language: Language = CLOSED,
    even: bool = False,
) -> Lessons:
    """Lessons from a critique dataset.

    Args:
      task, critique_level, refine_levels, language, even: see `Lessons`.
      rows: of critique/dataset.py. Critiques of right attempts are taught; refinements are of wrong attempts.
      shares: of `KINDS`, 0 or more; made to sum to 1.

    Raises:
      InputError: an unknown kind or level, shares that sum to 0, or a kind that no row can teach; `even` with
        attempts of one verdict alone.
    """
    shares = {k: float(v) for k, v in shares.items() if v}
    for kind, share in shares.items():
        if kind not in KINDS or share < 0:
            raise InputError(f"lessons have {kind}={share!r}: give a share of 0 or more to any of {', '.join(KINDS)}")
    for level in (critique_level, *refine_levels):
        if level not in (*LEVELS, SILENT) or critique_level == SILENT:
            raise InputError(f"no level of critique is called {level!r}: one of {', '.join(LEVELS)}")
    if not shares:
        raise InputError("lessons have no shares: give solve, critique or refine a number above 0")
    pairs, unreadable = readable(rows, language.read)
    wrong = [(row, c) for row, c in pairs if not c.right and row.refinement]
    by_kind = {"critique": pairs, "refine": wrong, "refined": [(r, c) for r, c in pairs if r.refinement]}
    for kind in shares.keys() - {"solve"}:
        if not by_kind[kind]:
            raise InputError(f"the critique dataset has no row that teaches {kind!r} ({unreadable} are unreadable)")
    if even and "critique" in shares and len({c.right for _, c in pairs}) < 2:
        raise InputError("lessons.even: all attempts of the critique dataset have one verdict; give lessons.even=False")
    # what the longest pair of each kind takes, measured on the rows themselves
    longest = {"solve": (task.prompt_length, task.response_length)} if "solve" in shares else {}
    say = max(refine_levels, key=(SILENT, *LEVELS).index)
    for kind in shares.keys() - {"solve"}:
        level = critique_level if kind == "critique" else say
        texts = [pair(kind, row, c, level, language) for row, c in by_kind[kind]]
        longest[kind] = max(language.size(p) for p, _ in texts), max(language.size(r) for _, r in texts) + 1
    total = sum(shares.values())
    # rows are prompt ++ response ++ pad, so only the sum of the two matters
    length = max(p + r for p, r in longest.values())
    prompt_length = max(p for p, _ in longest.values())
    return Lessons(
        task=task,
        rows=by_kind,
        shares={k: shares[k] / total for k in KINDS if k in shares},
        critique_level=critique_level,
        refine_levels=tuple(refine_levels),
        prompt_length=prompt_length,
        response_length=length - prompt_length,
        unreadable=unreadable,
        language=language,
        even=even,
    )
