"""Reads a compiled program's text: which collectives it runs, how often, on how many bytes."""

from __future__ import annotations

import collections
import math
import re

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
BYTES = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "f64": 8}
# how often its result crosses a device's links, in a ring: a sum goes round twice
PASSES = {"all-reduce": 2.0}

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$", re.MULTILINE)
_SHAPE = re.compile(r"\b(pred|[a-z]+\d+)\[([\d,]*)\]")
_INSTRUCTION = re.compile(rf"^\s*(?:ROOT )?%?[\w.-]+ = (.*?) ({'|'.join(KINDS)})(-start)?\(", re.MULTILINE)
_CALLED = re.compile(r"\b(body|condition|calls|branch_computations)=(\{[^}]*\}|%?[\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_BELOW = re.compile(r"compare\(%?([\w.-]+), %?([\w.-]+)\), direction=LT")


def collectives(text: str) -> tuple[dict[str, tuple[int, float]], bool]:
    """(kind -> (number, bytes that cross a device's links), whether all loops' lengths were known).

    Instructions in a loop count as often as it runs at most, and once where the text does not say. Bytes are those of
    the result (of a reduce-scatter, of its operand), twice for an all-reduce: a ring of many devices, where each of
    them sends nearly all of the array.

    Args:
      text: `compiled.as_text()`: the program of one device.
    """
    bodies = _bodies(text)
    times: dict[str, float] = collections.Counter()
    known = True

    def visit(name: str, factor: float) -> None:
        nonlocal known
        times[name] += factor
        for line in bodies.get(name, "").splitlines():
            called = [
                (role, name.strip().lstrip("%"))
                for role, names in _CALLED.findall(line)
                for name in names.strip("{}").split(",")
            ]
            trips = _trips(line, dict(called), bodies) if " while(" in line else 1
            known &= trips is not None or not any(_INSTRUCTION.search(bodies.get(name, "")) for _, name in called)
            for _, other in called:
                visit(other, factor * (trips or 1))

    visit(next(name for name in bodies if name.startswith("ENTRY ")), 1.0)
    found: dict[str, tuple[int, float]] = {}
    for name, factor in times.items():
        for match in _INSTRUCTION.finditer(bodies.get(name, "")):
            kind = match[2]
            line = bodies[name][match.start() : bodies[name].find("\n", match.end())]
            size = _size(match[1], largest=bool(match[3]))
            if kind == "reduce-scatter":
                size *= _group(line)
            count, total = found.get(kind, (0, 0.0))
            found[kind] = count + int(factor), total + factor * size * PASSES.get(kind, 1.0)
    return found, known


def _trips(line: str, called: dict[str, str], bodies: dict[str, str]) -> int | None:
    """How often a loop runs: what the compiler noted, or the constant that its counter is compared with."""
    if match := _TRIPS.search(line):
        return int(match[1])
    condition = bodies.get(called.get("condition", ""), "")
    for _, limit in _BELOW.findall(condition):
        if match := re.search(rf"%?{re.escape(limit)} = s32\[\]\S* constant\((\d+)\)", condition):
            return int(match[1])
    return None


def _bodies(text: str) -> dict[str, str]:
    """Text of each computation by name; the entry's name begins with ENTRY."""
    heads = list(_COMPUTATION.finditer(text))
    ends = [h.start() for h in heads[1:]] + [len(text)]
    return {(h[1] or "") + h[2]: text[h.end() : end] for h, end in zip(heads, ends)}


def _size(shapes: str, *, largest: bool) -> float:
    """Bytes of a result; of a started one, whose result has its operand too, those of the largest part."""
    sizes = []
    for kind, dims in _SHAPE.findall(shapes):
        width = BYTES.get(kind) or (int(re.sub(r"\D", "", kind)) / 8 if re.search(r"\d", kind) else 4)
        n = 1.0
        for d in filter(None, dims.split(",")):
            n *= int(d)
        sizes.append(n * width)
    return (max(sizes) if largest else sum(sizes)) if sizes else 0.0


def _group(line: str) -> int:
    """Devices that take part together."""
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
        return int(match[1])
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return len(match[1].split(","))
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", line):
        size = dict(part.split("=") for part in match[1].replace("'", "").split(","))
        return math.prod(int(size[axis.strip()]) for axis in match[2].replace("'", "").split(","))
    return 1
