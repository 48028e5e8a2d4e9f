"""Reward 1 or 0 for a response whose final answer equals a gold answer."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from entropy_rl.answers import exact, latex, values
from entropy_rl.answers.algebra import budget, constant
from entropy_rl.answers.extract import FORMS, final_answer
from entropy_rl.answers.last_number import HEDGES, MONTH, MULTIPLES, UNSURE
from entropy_rl.answers.latex import clean
from entropy_rl.answers.symbolic import Symbolic
from entropy_rl.answers.units import UNITS
from entropy_rl.answers.workers import Failure
from entropy_rl.errors import lookup

MAX_QUANTITY = 200  # characters of a number with its words
_CHOICE = re.compile(r"(?:\(([A-J])\)\s+|([A-J]) ?[.:)]\s*)(?!(?:or|and|is|not|nor|but) )([^\s,/&].*)")
_LETTER = re.compile("[A-J]")
_OPTION = re.compile(r"(?:option|choice) (?=\(?[A-J]\b)", re.IGNORECASE)
_QUANTITY = re.compile(
    r"([^A-Za-z]*?(?:\\(?:frac|sqrt|pi)[^A-Za-z]*)*)(?:\s+|[-/](?=[a-z]{2}))"
    r"([A-Za-z(][A-Za-z ,'()/-]*(?:\bfor (?:the )?[0-9]+ [A-Za-z ]+)?|for (?:the )?[0-9]+ [A-Za-z ]+)"
)
_HEDGE = re.compile(
    r"[\s$(]*(?:[A-Za-z]\s*)?=?\s*(?:\\text ?\{\s*)?"
    rf"(?:\\(?:approx|simeq|sim|cong)(?![A-Za-z])|[~\u2248\u2243\u2245\u223c]|(?:{HEDGES})(?=[\s}}$]))",
    re.IGNORECASE,
)
_ROUNDED = re.compile(r"([^\u2248]*[\\/][^\u2248]*?)\s*(?:\\(?:approx|simeq)|\u2248)\s*(-?[0-9]{1,9}\.[0-9]{1,9})")
_SPEED = re.compile(r"\b(?:m|km|cm|ft|mi)/(?:s|h|sec|hr)\b")
_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty halves "
    "percent percentage pi k fourth fourths fifth fifths sixth sixths seventh sevenths eighth eighths ninth "
    "ninths tens score gross mil bn mn th"
)
_CHANGES = (
    "or nor not no plus minus times over than squared cubed factorial divided multiplied mod modulo "
    "remainder to but wait if is was isn wrong incorrect unless except between because since then hence power root "
    "too under above below negative positive double doubled triple tripled halved am pm about "
    "approximately approx roughly nearly almost rounded estimate estimated estimation guess "
    "guessing unsure uncertain assuming think thereabouts ish circa bound bounds minimum "
    "maximum max never neither cannot fails fail failed false excluded excluding rejected invalid impossible mistake "
    "error alternatively otherwise versus vs then until"
)
# A second quantity, another number, or a word that takes the first one back; a letter alone is a variable.
_NO_NOUN = re.compile(
    rf"\b(?:{'|'.join((_NUMBERS + ' ' + _CHANGES).split())}|{UNSURE}|(?:{MULTIPLES})s?)\b|"
    r"\b[B-Zb-z]\b|\bout of\b|\band a\b|\bat (?:least|most)\b|"
    rf"\baround$|\bper (?:mille|thousand|million)\b|\b{MONTH}(?!\w)",
    re.IGNORECASE,
)


class Grader:
    """Grades responses: extract.final_answer, then exact.equal, then math-verify where that is asked for.

    An answer that stays undecided scores 0: a reward for what nobody checked is worse than one that is missed. Its
    processes start with the first undecided answer; close it, or use it in a `with`.

    Args:
      form: where answers stand (extract.final_answer).
      symbolic: whether answers that exactness leaves open go to math-verify.
      seconds: that it has for one.
      workers: processes that it runs in.

    Attributes:
      counts: graded answers by what decided them: exact; symbolic; undecided (0 without being read); timeout (of
        the symbolic ones), failed (memory, crash). They are counts, not locks: threads may lose one.

    Raises:
      InputError: an unknown form; math-verify is not installed; a value out of range.
    """

    def __init__(self, form: str = "any", symbolic: bool = False, seconds: float = 5.0, workers: int = 1):
        lookup(FORMS, form, "answer form")
        self.form = form
        self.counts = dict.fromkeys(("exact", "symbolic", "undecided", "timeout", "failed"), 0)
        self._symbolic = Symbolic(seconds=seconds, count=workers) if symbolic else None

    def grade(self, gold: str, response: str) -> float:
        """1.0 where the response's final answer is the gold one, else 0.0. Never raises on text."""
        return self.grade_all([(gold, response)])[0]

    def grade_all(self, pairs: Iterable[tuple[str, str]]) -> list[float]:
        """`grade` of each (gold, response); all that need math-verify go to the processes together."""
        rewards, undecided = [], {}
        for i, (gold, response) in enumerate(pairs):
            answer = final_answer(response, self.form)
            decided = equal(gold, answer) if answer else False
            if decided is None:
                undecided[i] = (gold, answer)
            else:
                self.counts["exact"] += 1
            rewards.append(1.0 if decided else 0.0)
        if undecided:
            for i, reward in zip(undecided, self._ask(list(undecided.values()))):
                rewards[i] = reward
        return rewards

    def final(self, response: str) -> str:
        """The final answer in its canonical form, so that 1/2 and 0.5 are one answer to a vote; "" for none."""
        return canonical(final_answer(response, self.form))

    def close(self) -> None:
        """Ends the processes, if there are any."""
        if self._symbolic:
            self._symbolic.close()

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *args) -> None:
        self.close()

    def _ask(self, pairs: list[tuple[str, str]]) -> list[float]:
        if self._symbolic is None:
            self.counts["undecided"] += len(pairs)
            return [0.0] * len(pairs)
        results = self._symbolic.equal_all([(reference(gold), answer) for gold, answer in pairs])
        for result in results:
            failed = isinstance(result, Failure)
            kind = "symbolic" if not failed else "timeout" if result.reason == "timeout" else "failed"
            self.counts[kind] += 1
        return [1.0 if result else 0.0 for result in results]


def equal(gold: str, answer: str) -> bool | None:
    r"""`exact.equal`, where `gold` may also be a reference solution that ends in a box or in `#### 72`.

    An answer that says that it is near (\approx 5, about 5, ~5) is none, unless the gold answer says so of itself; of
    "\\sqrt{2} \\approx 1.41" the exact side counts.
    Equal are also a number and that number with words behind it that are no quantity ("18 eggs", "$460 for the week":
    see `quantity`), and a choice or its value and both together ("B. 12", "(B) 12").
    """
    gold = reference(gold)
    near, said = _near(gold), _near(answer)
    if said is not None:
        return _equal(near, said) if near is not None else False
    return _equal(gold if near is None else near, answer)


def _equal(gold: str, answer: str) -> bool | None:
    if len(answer) <= MAX_QUANTITY and not answer.isalnum() and (rounded := _ROUNDED.fullmatch(answer)):
        found = values.value(rounded[1])
        if found and found.kind in ("number", "expression") and not found.unit:
            budget()
            side = found.data if found.kind == "expression" else constant(found.data)
            return exact.equal(gold, rounded[1]) if side.near(rounded[2]) else None
    decided = exact.equal(gold, answer)
    if decided:
        return True
    choice = asked = None
    if _LETTER.search(answer) or _LETTER.search(gold):  # of a choice
        if _OPTION.match(plain := _plain(answer)):
            plain = answer = plain[7:]
            decided = exact.equal(gold, answer)
        choice, asked = _choice(plain), _choice(_plain(gold))
    if choice and asked:
        return True if choice[0] == asked[0] and exact.equal(asked[1], choice[1]) else None
    if choice:  # one of the two is what was asked for
        decided = True if exact.equal(gold, choice[0]) or exact.equal(gold, choice[1]) else None
    elif asked:
        decided = True if exact.equal(asked[0], answer) or exact.equal(asked[1], answer) else None
    if decided is None and (a := quantity(gold)) and (b := quantity(answer)) and "" in (a[1], b[1]) and _fit(a, b):
        return exact.equal(a[0], b[0])
    return decided


def _near(text: str) -> str | None:
    """5 of "x \\approx 5", "about 5", "~5"; None of a text that does not begin like that."""
    hedge = None if text[:1].isdigit() or len(text) > MAX_QUANTITY else _HEDGE.match(text)
    return text[hedge.end() :].strip(" $}") if hedge else None


def _choice(plain: str) -> tuple[str, str] | None:
    """(B, 12) of "(B) 12"."""
    match = _CHOICE.fullmatch(plain)
    if not match:
        return None
    rest = values.value(match[3])
    other = rest and rest.kind == "word" and len(rest.data) == 1 or re.search(r"\([A-J]\)|^[A-J][.,:)]", match[3])
    return None if other else (match[1] or match[2], match[3])


def quantity(text: str) -> tuple[str, str] | None:
    """(number, words behind it) of "18 eggs", (number, "") of a number alone, else None.

    The words are at most twelve, without a digit (but in "for 3 more reasons"), an operator, a single letter but a, or
    a word that makes another number of it or takes it back: 5 dozen, 12 or 13, 2 less than x, 5 is wrong.
    """
    if not isinstance(text, str) or len(text) > MAX_QUANTITY:
        return None
    found = values.value(text)
    if found is not None:
        return (text, "") if _is_quantity(found) else None
    match = _QUANTITY.fullmatch(_plain(text).rstrip("."))
    if not match or len(match[2].split()) > 12 or _NO_NOUN.search(_SPEED.sub("", match[2])):
        return None
    if match[2].startswith("for ") and "$" not in match[1]:  # 3 for 4 dollars
        return None
    found = values.value(match[1].strip())
    return (match[1].strip(), match[2]) if found is not None and _is_quantity(found) else None


def _fit(a: tuple[str, str], b: tuple[str, str]) -> bool:
    """Whether the words of one are the unit of the other, where that has one: 5 apples are no 5 oranges."""
    a, b = (b, a) if a[1] else (a, b)
    units = values.value(a[0]).unit, values.value(b[0]).unit
    return not b[1] or not units[0] or units[0] in (UNITS.get(b[1].split()[0].casefold()), units[1])


def _is_quantity(found: values.Value) -> bool:
    return found.kind == "number" or found.kind == "expression" and not found.data.names


def _plain(text: str) -> str:
    return (clean(text) or "") if len(text) <= MAX_QUANTITY else ""


def canonical(answer: str) -> str:
    """`values.show` of an answer that has a value, `latex.normal` of another one; its own canonical form."""
    for _ in range(8):  # what is normal may have a value
        last, found = answer, values.value(answer)
        answer = latex.normal(answer) if found is None else values.show(found)
        if answer == last:
            break
    return answer


@functools.lru_cache(maxsize=4096)
def reference(gold: str) -> str:
    """The answer in a gold text: what is in its last box or after its last `####`, else the text."""
    if not isinstance(gold, str):
        return ""
    found = final_answer(gold, "boxed") or final_answer(gold, "hash")
    return found or gold.strip()
