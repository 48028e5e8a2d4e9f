"""What trainers print: verl's `step:N - k:v` lines, and objects of numbers among progress bars and other output.

Objects are python's or JSON's, `{'loss': 0.1, 'reward': np.float64(0.5)}`, anywhere in a line: behind ray's
`(TaskRunner pid=7)`, slurm's `0:`, a clock, a progress bar, colours. Their step is in them, before them
(`rollout 3: {...}`, `step 3: {...}`), or that of the progress bar of training, the one they most often follow.

What prints neither prints names and numbers: `step: 3, loss: 0.1` (MaxText, torchtitan), `step=3 entropy=0.2`, behind a
progress bar (OpenRLHF), in a frame, a line a name (Tinker cookbook, AReaL), or as a list (NeMo RL).
"""

from __future__ import annotations

import ast
import collections
import itertools
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from entropy_rl.logs import columns, text_formats
from entropy_rl.logs.tables import Run, Table, flatten, number, one_or_more

ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")  # colours, and the cursor movements of progress bars
# verl's LocalLogger prints `step:N - key:value - ...`, behind Ray's `(TaskRunner pid=1)` or a progress bar
VERL = re.compile(rb"(?<![\w/.])step:\d+ - ")
VERL_LINE = re.compile(r"(?<![\w/.])step:(\d+) - ([^\r\n]*)")
# values are plain, or as numpy 2 and torch print theirs, np.float64(0.5) and tensor(0.5, device='cuda:0');
# texts and lists are none, but no sign of a torn line either
NUMBER = r"([-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf))"
VERL_CELL = re.compile(rf"(.+?):\s*(?:{NUMBER}|[A-Za-z][\w.]*\({NUMBER}(?:,[^()]*)?\)|None|True|False|'.*'|\[.*\])$")
WRAPPED = re.compile(rf"\b[A-Za-z_][\w.]*\(('?{NUMBER}'?)(?:,[^()]*)?\)")  # array(0.5, dtype=float32), Decimal('0.5')
LOOSE = re.compile(r"(?<=[:\[,\s])(nan|-?inf|NaN|-?Infinity|null)(?=[,}\]\s])")
PIPED = re.compile(r"\bStep (\d+) \| (\w.*:.*)")  # prime-rl: `Step 3 | Reward: 0.5 | Entropy: 0.2`
REPEATED = re.compile(r" *\[repeated \d+x across cluster\].*")  # ray, of lines that several processes print
BEGUN = re.compile(r"""\{\s*(['"])[^'"]+\1: """)
BAR = re.compile(r"(\d+)/(\d+) \[")  # tqdm
# what stands before an object and says its step: `rollout 3: `, `step=3 `, `eval 3: `
COUNTED = re.compile(
    r"\b(step|iteration|iter|update|rollout|perf|eval|train)s?[ _]?[:=#]?\s*(\d+)\s*[\]):|,-]*\s*$", re.I
)
AXES = {"rollout": "rollout/step", "perf": "rollout/step", "eval": "eval/step", "train": "train/step"}
# `name: 0.5`, `name=0.5` and `| name | 0.5 |` in a frame; names are of up to four words, and begin at a word
PAIR = re.compile(
    rf"(?<![\w./@%-])([A-Za-z_][\w./@()-]*(?: [A-Za-z_][\w./@()-]*){{0,3}})\s*[:=\u2502\u2503]\s*{NUMBER}(?![\w.:])"
)
# `name 0.5` between bars or commas, where a line has two of these or more and none with a mark
BARE = re.compile(
    rf"(?:^|[|,:\]])\s*([A-Za-z_][\w./@-]*(?: [A-Za-z_][\w./@-]*){{0,2}}) +{NUMBER}%?(?=\s*(?:[|,]|$))", re.M
)
ITERATION = re.compile(r"\b(?:iter|iteration|update)\s*[:=#]?\s*(\d+)(?![\d.])", re.I)
# `step: 3`, `Step 3/40`; clu's `logging_writer.py:48] [3] loss=0.1`
STEP = re.compile(r"(?:\b(?:global[ _])?step\s*[:=#]?\s*|\] \[(?=\d+\] [A-Za-z_][\w/@.]*=))(\d+)(?![\d.])", re.I)
LEAST, LOOKED_AT = 3, 20_000  # lines with a score or an entropy, of the first of a file, for a console of pairs
SHORT = 80  # characters of a line that is about a step and has no numbers beside it
TORN = 50  # braces of a line that nothing closes
LONGEST = 1 << 16  # characters of an object over several lines
TOTALS = 8  # progress bars that are remembered at a time


def read_verl(path: Path, run: str | None) -> list[Run]:
    """verl's console output: rows are the lines with `step:N - `, all else is other output and no row.

    A line that ends in half a `key:value` (cut off, or another process wrote into it) is used up to there and
    counted as broken.
    """
    table = Table(path.name, run=run)
    with open(path, encoding="utf-8", errors="replace", newline="\n") as f:
        for line, text in enumerate(f, 1):
            if "step:" not in text:
                continue
            found = VERL_LINE.search(REPEATED.sub("", ANSI.sub("", text)))
            if not found:
                continue
            cells = [VERL_CELL.match(piece) for piece in found[2].rstrip().split(" - ")]
            if not text.endswith("\n"):  # where it stops in a number, no one can tell
                cells[-1] = None
            if None in cells:
                table.spoil(line, "torn")
            table.add(line, [("step", found[1]), *((cell[1], cell[2] or cell[3] or "none") for cell in cells if cell)])
    return one_or_more(path, "verl console", table)


def is_verl(path: Path, head: bytes) -> bool:
    """Some line says `step:N - `; JSON and CSV may hold such words in their texts."""
    first = head.lstrip().partition(b"\n")[0]
    if b"\0" in head or path.suffix in (".csv", ".tsv") or not path.is_file() or text_formats.parse(first) is not None:
        return False
    with open(path, "rb") as f:
        return any(b"step:" in line and VERL.search(line) for line in f)


def read_objects(path: Path, run: str | None) -> list[Run]:
    """Consoles that print an object a step (TRL, ms-swift, slime, ROLL): see the module."""
    table = Table(path.name, run=run)
    bars: dict[int, int] = collections.OrderedDict()  # total -> count, the last ones seen
    seen: list[dict[int, int]] = []
    last: list[int | None] = []  # the total of the bar that a row follows
    above = None  # a line that says the step of what comes below
    for line, before, row in objects(path):
        latest = None
        for count, total in BAR.findall(before):
            latest = int(total)
            bars.pop(latest, None)
            bars[latest] = int(count)
            if len(bars) > TOTALS:
                bars.pop(next(iter(bars)))
        if row == {}:
            table.spoil(line, "torn")
        if not row:
            above = COUNTED.search(ANSI.sub("", before)) or above
            continue
        cells = dict(text_formats.cells_of(row))
        if (found := COUNTED.search(before) or above) and columns.choose_step(dict.fromkeys(cells, 1)) is None:
            cells[AXES.get(found[1].lower(), "step")] = int(found[2])
        table.add(line, cells.items())
        above = None
        seen.append(dict(bars))
        last.append(latest if latest is not None else next(reversed(bars), None))
    if columns.choose_step({name: len(column.row) for name, column in table.columns.items()}) is None and any(last):
        total = collections.Counter(filter(None, last)).most_common(1)[0][0]
        for row, counts in enumerate(seen):
            if total in counts:
                table.put(row, "step", counts[total])
        table.notes.append(f"steps are those of the progress bar of {total}")
    return one_or_more(path, "console", table)


def objects(path: Path) -> Iterator[tuple[int, str, dict[str, Any] | None]]:
    """(line, text before it, object): None for text without one, an empty one for one that its line does not end."""
    with open(path, encoding="utf-8", errors="replace", newline="\n") as f:
        for line, text in joined(f):
            if "{" not in text:
                if found := PIPED.search(ANSI.sub("", text)) if " | " in text else None:
                    pairs = (piece.partition(":") for piece in found[2].split(" | "))
                    yield line, "", {"step": int(found[1])} | {k.strip(): v.strip() for k, _, v in pairs if v}
                elif "/" in text and "[" in text or len(text) < SHORT and COUNTED.search(ANSI.sub("", text)):
                    yield line, text, None
                continue
            text = ANSI.sub("", text)
            at = torn = 0
            while (start := text.find("{", at)) >= 0 and torn < TORN:
                row, end = one_object(text, start)
                torn += end < 0
                if row is not None:
                    yield line, text[at:start], row
                    at = end
                else:
                    yield line, text[at:start], {} if end < 0 and BEGUN.match(text, start) else None
                    at = start + 1


def joined(f: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(line, text): lines, those of an object that is printed over several as one, by the number of the last.

    Such a line ends in `{` or `,` with a brace open, and those below begin with a quote or close it; else it was torn.
    """
    held, begun = "", 0
    for line, text in enumerate(f, 1):
        if held and (text.lstrip()[:1] not in ("'", '"', "}", "]") or len(held) > LONGEST):
            yield begun, held
            held = ""
        if held:
            held += text
            if held.count("{") <= held.count("}"):
                yield line, held
                held = ""
        elif text.rstrip().endswith(("{", ",")) and text.count("{") > text.count("}"):
            held, begun = text, line
        else:
            yield line, text
    if held:
        yield begun, held


def one_object(text: str, start: int) -> tuple[dict[str, Any] | None, int]:
    """The object of numbers that begins at `start` and where it ends; None where there is none, -1 without an end."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] == "{":
            depth += 1
        elif text[i] == "}":
            depth -= 1
            if depth == 0:
                break
    else:
        return None, -1
    piece = text[start : i + 1]
    if len(piece) < 3 or piece[1:].lstrip()[:1] not in ("'", '"'):
        return None, start
    row = text_formats.parse(piece)
    if row is None:
        try:
            row = ast.literal_eval(LOOSE.sub("None", WRAPPED.sub(r"\1", piece)))
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None, start
    if not isinstance(row, dict) or not all(isinstance(key, str) for key in row):
        return None, start
    cells = [number(value) for _, value in flatten(row)]
    numbers = sum(map(math.isfinite, cells))
    return (row if numbers and 2 * numbers >= len(cells) else None), i + 1


def is_objects(path: Path, head: bytes) -> bool:
    """Some line among others holds an object of numbers."""
    if b"\0" in head or path.suffix in (".csv", ".tsv", ".json") or not path.is_file() or b"<" in head.lstrip()[:1]:
        return False
    return any(row for _, _, row in objects(path))


def pairs(text: str) -> list[tuple[str, str]]:
    """Names and numbers of a line."""
    found = PAIR.findall(text)
    if found or ("|" not in text and "," not in text):
        return found
    found = BARE.findall(text)
    return found if len(found) > 1 else []


def read_pairs(path: Path, run: str | None) -> list[Run]:
    """Consoles that print names and numbers: a row ends where a step is said or a name comes again.

    The last pair of a line that was cut off is left out and counted as broken. What a progress bar writes over is a
    line of its own.
    """
    table, row, last = Table(path.name, run=run), {}, 1
    bar, bars = None, []  # count and total of the progress bar at a row

    def close() -> None:
        if row.keys() - {"step"}:
            table.add(last, row.items())
            bars.append(bar)
        row.clear()

    with open(path, encoding="utf-8", errors="replace") as f:
        for line, text in enumerate(f, 1):
            text = ANSI.sub("", text)
            found = pairs(text)
            if not text.endswith("\n") and found:
                table.spoil(line, "torn")
                found.pop()
            # the last: `Epoch 1/9 Step 3/40 Train step 43/360`
            if steps := STEP.findall(text) or ITERATION.findall(text):
                close()
                row["step"] = steps[-1]
            for name, value in found:
                if STEP.search(f"{name}: {value}") or ITERATION.search(f"{name}: {value}"):
                    continue
                if name in row:
                    close()
                row[name], last = value, line
                bar = (BAR.findall(text) or [None])[-1]
    close()
    if "step" not in table.columns and None not in bars and len({total for _, total in bars}) == 1:
        counts = np.array([int(count) for count, _ in bars])
        anew = int((np.diff(counts) < 0).sum())  # often: a bar of an inner loop
        if anew <= len(counts) // 20 and len(np.unique(counts)) > 2:
            for at, count in enumerate(counts.tolist()):
                table.put(at, "step", count)
            table.notes.append(f"steps are those of the progress bar of {bars[0][1]}")
    return one_or_more(path, "console of pairs", table)


def is_pairs(path: Path, head: bytes) -> bool:
    """Some lines say a score or an entropy by name."""
    if b"\0" in head or path.suffix in (".csv", ".tsv", ".json", ".jsonl") or not path.is_file():
        return False
    with open(path, encoding="utf-8", errors="replace") as f:
        said = (pairs(ANSI.sub("", text)) for text in itertools.islice(f, LOOKED_AT))
        found = (line for line in said if any(columns.is_entropy(n) or columns.kind(n) is not None for n, _ in line))
        return len(list(itertools.islice(found, LEAST))) == LEAST
