"""Questions with answers from rows, whatever their columns are called: those of MATH, TRL and verl are known.

Columns are looked for by the names below in the first row, and hold for all. Sources: MATH, arXiv:2103.03874; TRL's
dataset formats; verl's examples/data_preprocess.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from entropy_rl.answers.extract import final_answer
from entropy_rl.data import records, rows
from entropy_rl.data.splits import SHARES
from entropy_rl.errors import InputError

PROMPT = ("problem", "question", "prompt", "query", "instruction")  # text or a list of messages
# The gold answer; where none of these is there, the box or the `####` at the end of a worked one. A worked answer that
# stands here (GSM8K) gives both.
ANSWER = ("answer", "ground_truth", "final_answer", "expected_answer", "target", "reward_model.ground_truth")
WORKED = ("solution", "completion", "response", "rationale", "extra_info.answer")
LEVEL = ("level", "extra_info.level")  # a number, or MATH's `Level 3`; anything else is level 0
SUBJECT = ("subject", "type", "category", "ability", "data_source")
_ANNOTATION = re.compile(r"<<[^<>\n]*>>")  # GSM8K's calculator


def load(
    task: str,
    suffixes: tuple[str, ...],
    path: str = "",
    split: str = "train",
    size: int | None = None,
    levels: Iterable[int] | None = None,
    seed: int = 0,
    form: str = "any",
    symbolic: bool = False,
    *,
    prompt_column: str | None = None,
    answer_column: str | None = None,
    demonstration_column: str | None = None,
    level_column: str | None = None,
    subject_column: str | None = None,
    subjects: str | Iterable[str] | None = None,
    shares: Sequence[float] = SHARES,
    skip: bool = False,
    seconds: float = 5.0,
    workers: int = 1,
) -> records.Records:
    """Problems of one split of some files.

    Args:
      task, suffixes: its name, and those of its files; the tasks jsonl and parquet bind them.
      path: a file, a pattern, a folder, or with `{split}` in it (rows.find).
      split: train, validation or test. One without a file of its own is a share of train's, by a hash of the question.
      size: how many problems, drawn by `seed`; None: all.
      levels: those that are kept; None: all. Without a level column every problem is of level 0.
      seed: of the draw.
      form: where responses have their answers: boxed, hash, tag or any (answers/extract.py).
      symbolic: whether answers that exact values leave open go to math-verify, `seconds` each, in `workers` processes.
      prompt_column, answer_column, demonstration_column, level_column, subject_column: where the guess is wrong;
        `a.b` is field b of column a.
      subjects: those that are kept; None: all.
      shares: of train, validation and test among rows that they share.
      skip: leave out rows whose own answer cannot be checked, where otherwise they are an error.

    Raises:
      InputError: no file, a broken line, a missing column, an answer that cannot be checked, a value out of range.
    """
    verifier = records.Verifier(form, symbolic, seconds, workers)
    columns = {
        "prompt": prompt_column,
        "answer": answer_column,
        "demonstration": demonstration_column,
        "level": level_column,
        "subject": subject_column,
    }
    pool = rows.find(path, split, suffixes, task)
    kept = {subjects} if isinstance(subjects, str) else None if subjects is None else set(subjects)
    found = read(rows.read(pool.files), columns, kept, skip)
    how = {"shares": shares, "size": size, "levels": levels, "seed": seed, "skip": skip}
    return records.build(task, split, found, verifier, shared=pool.shared, **how)


def read(
    table: Iterable[rows.Row],
    columns: dict[str, str | None],
    subjects: set[str] | None = None,
    skip: bool = False,
) -> Iterator[records.Example]:
    """An example of each row; see `load`. `columns` are the user's, by what they hold; None: guessed.

    With `skip` the gold answer of a row that has none is "", which `records.build` leaves out and counts.
    """
    names: dict[str, str] = {}
    there: set[str] = set()
    for row in table:
        if skip and not names and _answerless(row, columns):
            prompt = rows.column(row, columns.get("prompt"), PROMPT, "prompt_column", "question")
            yield records.Example(rows.text_of(rows.get(row.data, prompt), row.where), "", "", 0, row.where)
            continue
        if not names:
            names = _names(row, columns, subjects is not None)
        for what in ("prompt", "answer"):
            if rows.get(row.data, names[what]) is None and not (skip and what == "answer"):
                remedy = ", or set skip=True to leave such rows out" if what == "answer" else ""
                raise InputError(f"{row.where}: {names[what]} is missing or null: mend it{remedy}")
        if subjects is not None:
            subject = str(rows.get(row.data, names["subject"]))
            there.add(subject)
            if subject not in subjects:
                continue
        _check_style(row)
        yield _example(row, names, columns, skip)
    if subjects is not None and not subjects <= there:
        raise InputError(f"subjects={sorted(subjects - there)}: none of the rows has them: it has {sorted(there)}")


def _answerless(row: rows.Row, columns: dict[str, str | None]) -> bool:
    known = (*ANSWER, *WORKED) if columns.get("answer") is None else (columns["answer"],)
    return all(rows.get(row.data, name) is None for name in known)


def _names(row: rows.Row, columns: dict[str, str | None], subject: bool) -> dict[str, str]:
    names = {"prompt": rows.column(row, columns.get("prompt"), PROMPT, "prompt_column", "question")}
    known = (*ANSWER, *WORKED)
    names["answer"] = rows.column(row, columns.get("answer"), known, "answer_column", "gold answer")
    if subject:
        names["subject"] = rows.column(row, columns.get("subject"), SUBJECT, "subject_column", "subject")
    for what, known in (("demonstration", WORKED), ("level", LEVEL)):
        if columns.get(what) is not None:
            names[what] = rows.column(row, columns[what], (), f"{what}_column", what)
        else:
            names[what] = next((name for name in known if rows.get(row.data, name) is not None), "")
    return names


def _example(row: rows.Row, names: dict[str, str], columns: dict[str, str | None], skip: bool) -> records.Example:
    prompt = rows.text_of(rows.get(row.data, names["prompt"]), row.where)
    if skip and rows.get(row.data, names["answer"]) is None:
        return records.Example(prompt, "", "", 0, row.where)
    answer = rows.response_of(_plain(rows.get(row.data, names["answer"])), row.where)
    worked = rows.get(row.data, names["demonstration"]) if names["demonstration"] else None
    marked = final_answer(answer, "boxed") or final_answer(answer, "hash")
    if not marked and names["answer"] in WORKED:
        if skip:
            return records.Example(prompt, "", "", 0, row.where)
        raise InputError(
            f"{row.where}: {names['answer']} ends in no \\boxed{{}} and no ####, so it has no gold answer: "
            "mend it, set answer_column=COLUMN, or set skip=True to leave such rows out"
        )
    if worked is None and marked:
        worked = answer
    worked = "" if worked is None else _ANNOTATION.sub("", rows.response_of(worked, row.where))
    level = _level(row, names["level"], columns.get("level") is not None)
    return records.Example(prompt, _gold(marked or answer), worked, level, row.where)


def _plain(answer: Any) -> Any:
    """A bool as a word, and the one answer of a list of one (as in some exports of MATH)."""
    if isinstance(answer, list) and len(answer) == 1 and not isinstance(answer[0], dict):
        answer = answer[0]
    return str(answer) if isinstance(answer, bool) else answer


def _gold(answer: str) -> str:
    # 1,000 is 1000 to the checker in either form; a frozen or printed answer is plainer without
    answer = answer.strip()
    return answer.replace(",", "") if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", answer) else answer


def _level(row: rows.Row, name: str, given: bool) -> int:
    value = rows.get(row.data, name) if name else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"\s*(?:Level\s*)?(\d{1,9})\s*", value, re.IGNORECASE) if isinstance(value, str) else None
    if match:
        return int(match[1])
    if given and value is not None and value != "Level ?":  # as two problems of MATH have it
        raise InputError(
            f"{row.where}: level {value!r} is no whole number: set level_column to another, or leave it out"
        )
    return 0


def _check_style(row: rows.Row) -> None:
    """verl's rows say how they are scored; only rules over one gold answer are scored here."""
    style = rows.get(row.data, "reward_model.style")
    if style is not None and not str(style).startswith("rule"):
        raise InputError(f"{row.where}: reward_model.style is {style!r}: only rows scored by rule can be checked here")
