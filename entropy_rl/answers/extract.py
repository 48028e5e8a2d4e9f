r"""What a response commits to: the last box, tag, `####`, answer sentence or number.

Every rule takes the last of its kind, because models correct themselves downwards. Only the last MAX_CHARACTERS of a
response are looked at, in one pass each, so that a response of any length costs milliseconds.

Departs from math-verify, which collects all candidates and takes the first that parses: what a response commits to
does not depend on whether it can be read. A box that cannot be read is still the answer, and scores 0.
"""

from __future__ import annotations

import collections
import re

from entropy_rl.answers.last_number import HEDGES, NOT, UNSURE, changed, last_number, taken_back
from entropy_rl.errors import lookup

MAX_CHARACTERS = 100_000
SHORT = 100  # characters of a response that may be nothing but an answer

# A base model goes on with a question of its own.
_NEXT = re.compile(r"\n[ \t]*(?:\*\*)?(?:Question|Problem|Q|Human|User)(?:\*\*)?\s?[0-9]*:", re.IGNORECASE)
_MARK = re.compile(r"####|\\boxed|</answer>|[Aa]nswer is")
# Thoughts of R1, QwQ and Qwen, of Magistral, of gpt-oss (its channels) and of prompts that ask for one; a group closes.
_THOUGHT = re.compile(
    r"< ?(/)? ?(?:think|thinking|thought|reasoning|scratchpad) ?>|\[(/)?think\]|<\|(?:begin|(end))_of_thought\|>|"
    r"<\|channel\|>(?:analysis|(final)(?:<\|message\|>)?)",
    re.IGNORECASE,
)
_END = re.compile(r"(?:<\|[a-z_]+\|>|</s>|<eos>|<end_of_turn>)$")
# A box opens, an escaped character, a brace. The second way steps over one backslash of `\\boxed`, as JSON writes it.
_BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{|\\(?=\\(?:boxed|fbox))|\\.|[{}]", re.DOTALL)
_SENTENCE = re.compile(
    r"\b(?:answer|correct (?:option|choice))(?:[ \t*]*(?:[:=]|\bis\b[ \t]*:?)[ \t*]*)", re.IGNORECASE
)
# An answer that somebody else gives, or that is not the last word: "a tempting answer is 5".
_OTHERS = re.compile(
    r"\b(?:an?|one|another|some|wrong|incorrect|false|bad|na[i\u00ef]ve|tempting|first|previous|initial|earlier|old|other|"
    r"possible|plausible|common|typical|intuitive|obvious|approximate|rough|[a-z]+['\u2019]s|his|her|their) $",
    re.IGNORECASE,
)
# "I doubt that the answer is 5", "whether the answer is 5", "Tom says the answer is 5".
_CLAIMED = re.compile(
    r"(?:\b(?:doubt|not (?:think|believe|say|know|mean|sure|certain)|unlikely|unclear|whether|if)|"
    r"n['\u2019]t (?:think|believe|say|know|mean)|"
    r"\b(?!I )[A-Za-z]+ (?:says?|said|claims?|claimed|thinks|thought|believes|believed|guesse[sd]|argue[sd])|"
    r"\b(?:false|untrue|impossible|wrong))(?: (?:that|if|whether))?"
    r"(?: the| its?| my| our)?(?: final| correct| right)? $",
    re.IGNORECASE,
)
# "If x is 0, the answer is 5", of a case; and "the answer cannot be determined. 5".
_CASE = re.compile(r"\bif \$?[a-z]\$? ?(?:is\b|[=<>\u2264\u2265\u2260]|\\[lgn]e)[^.;!?\n]*$", re.IGNORECASE)
_UNDETERMINED = re.compile(
    r"\b(?:cannot|can['\u2019]t|can not|could not|impossible to) (?:be )?(?:determined?|known?)\b"
)
_STOP = re.compile(r"[.!?]\s")
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_BARE_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z{])[ \t]*(?![\s{])([^\n]{1,200})")
# What makes another value of a box, in front of it and behind it: -\boxed{5}, 2\boxed{5}, not \boxed{5}, or maybe
# \boxed{5}; \boxed{3}{4}, \boxed{3}^2, \boxed{3} million. A blank that is filled in, 3 + \boxed{5} = 8, is none.
_DENIED = re.compile(
    rf"(?:{NOT}|\bor (?:{UNSURE}))(?: be| equal(?: to)?| think (?:that )?(?:it|this|that|the answer) is)?"
    r"[\s*]*(?:\$|\\\(|\\\[)?\s*$",
    re.IGNORECASE,
)
_FACTOR = re.compile(
    r"(?:[0-9)}]|[-\u2212+/\u00d7\u00f7\u221a]|[\^_]\{?|\\[dt]?frac\{[^{}]*\}\{|"
    r"(?:[=(,]|[0-9x)}] ?)[ \t]*[-\u2212+*/\u00d7\u00f7\u00b7][ \t]*|"
    r"[A-Za-z0-9)}] ?(?:[<>]=?|[\u2260\u2264\u2265\u2248]) ?|"
    r"\\(?:times|cdot|div|sqrt|pm|neq?|leq?|geq?|lt|gt|approx|sim|not|log|ln|sin|cos|tan) ?\{?|"
    r"\\sqrt(?:\[[^\]]*\])?\{|\\[dt]?frac\{)$"
)
_TAG = re.compile(r"<[/A-Za-z_|]+>$|^\s*[-*\u2022] +$")  # of HTML; a dash that begins an item
_POWER = re.compile(
    r"[ \t]*(?:\^(?!\{? ?\\circ)|_|\*\*?[0-9a-z(]|"
    r"[-+/\u2212\u00d7\u00f7][ \t]*(?:[0-9(]|\\(?:boxed|[dt]?frac|sqrt|pi))|"
    r"\\(?:times|cdot|div|[dt]?frac|sqrt|pi|pmod|bmod|choose|over)(?![A-Za-z]))|[{0-9]|\((?=[-0-9])|"
    r"[xyznik](?![A-Za-z])|\}\{| or (?:more|less|fewer|[0-9])"
)
_APPROXIMATE = re.compile(
    rf"(?:\b(?:{HEDGES})|[~\u2248\u2243\u2245]|\\(?:approx|simeq|sim|cong))\s*(?:\$|\\\(|\\\[)?\s*$", re.IGNORECASE
)
# Between \boxed{1} and \boxed{2}. Of \boxed{1} or \boxed{2} it is the last one, as models correct themselves.
_JOINT = re.compile(r"(\})(?:\$|\\\))?(?:,?\s+and\s+|,\s*)(?:\$|\\\()?(?:[A-Za-z]\s?=)?\s*$")
_ANSWER_IS = re.compile(r"\b(?:answer|result|ans)(?: is\b:?|:)", re.IGNORECASE)
_BARE = re.compile(r"[-+\u2212$\\(\[{0-9.]|(?!I [a-z])[A-Za-z](?![A-Za-z])")
_WORD = re.compile(r"[^\W\d_]+\.*|(?i:option|choice) \(?[A-J]\)?\.?")
_CALCULATED = re.compile(r"<<[^<>\n]{0,200}>>")  # of GSM8K: 2+3=<<2+3=5>>5
_WORDS = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}")


def final_answer(response: str, form: str = "any") -> str:
    r"""The answer that a response commits to, without space around it; "" when there is none. Never raises on text.

    Where there is a `</think>`, only what follows the last one counts, and after an open `<think>` nothing does. Where
    a base model goes on with a question of its own ("Question:" on a new line), what follows does not count. "The
    answer is 5" in a box or a tag is 5. A box that is taken back ("Wait, let me check") without being confirmed
    or followed by an answer is none, nor is one that is denied or a part of a formula: not \boxed{5}, -\boxed{5},
    \boxed{5}{4}, \boxed{5}^2, \boxed{5} million. Of "about \boxed{5}" it is "\approx 5", and \boxed{1} and \boxed{2}
    are "1, 2".

    Args:
      response: any text. Only its last 100,000 characters are read.
      form: where the answer stands.
        boxed: the `\boxed{...}` or `\fbox{...}` that closes last; a box in a box is its content, and one that does not
          close is none. `\boxed 5` and `\boxed\frac12` are read up to the end of the formula, or, outside one, to the
          next space.
        hash: the rest of the line after the last `####` (GSM8K).
        tag: between the last `<answer>` and `</answer>`.
        any: the first of these that there is: boxed, tag, hash (a line that starts with words and has text below it
          is a heading of Markdown, not an answer), the last sentence "the answer is X" or "Answer: X", the response
          itself where it is one short line without words, the last number in it. A number in a formula ($\frac{1}{3}$,
          2^{10}, (3, 5), 12:00, 3 + 5) is read with all of it, behind its last "=" but for equations in x, y and z;
          one of several variables (x = 3 and y = 5) or quantities (3 hours 5 minutes), a range (3-5), a number that the
          words around it deny or change (not 5, 5 million, 10% of 5) and a text whose box does not close hold none.

    Raises:
      InputError: a `form` that is none of these.
    """
    rule = lookup(FORMS, form, "answer form")
    if not isinstance(response, str):
        return ""
    text = committed(response)
    if ":" in text and "\n" in text and (answered := _MARK.search(text)):
        if following := _NEXT.search(text, answered.end()):
            text = text[: following.start()]
    return rule(_END.sub("", text.rstrip()) if text.rstrip().endswith(">") else text)


def committed(response: str) -> str:
    """What stands behind the last `</think>`, or all of it; "" after an open `<think>`. The last 100,000 characters.

    So too `<reasoning>`, `[THINK]`, `<|begin_of_thought|>` and others of their kind.
    """
    start, thought = 0, None
    if "<" in response or "[" in response:
        for thought in _THOUGHT.finditer(response):
            start = thought.end() if thought.lastindex else start
    if thought and not thought.lastindex:
        return ""
    response = response[start:]
    return response[-MAX_CHARACTERS:]


def _boxed(text: str) -> str:
    if "\\boxed" not in text and "\\fbox" not in text:
        return ""
    found, start, end = _last_box(text)
    return "" if taken_back(text[end:]) or _changed(text, start, end) else _with_others(text, found, start)


def _changed(text: str, start: int, end: int) -> bool:
    """Whether what stands at a box, whose content is text[start:end], denies it or makes another value of it."""
    start = text.rfind("\\", 0, start)
    before, after = text[max(start - 60, 0) : max(start, 0)], text[end + (text[end : end + 1] == "}") : end + 40]
    if before.endswith("\\"):  # as JSON writes it
        before = before[:-1]
    if _DENIED.search(before):
        return True
    line = before.rpartition("\n")[2]
    factor = _FACTOR.search(line) and not _TAG.search(line)
    behind = after.partition("\n")[0].removeprefix("$").removeprefix("\\)").removeprefix("\\]")
    power = _POWER.match(behind) or changed(behind)
    return bool(factor or power) and not re.match(r"[^=\n]{0,30}=[^=]", behind)


def _with_others(text: str, found: str, start: int) -> str:
    """What the box in front of which text[:start] ends says, with the boxes that it is joined to."""
    before = text[max(start - 400, 0) : max(text.rfind("\\", 0, start), 0)]
    if _APPROXIMATE.search(before[-30:]):
        return f"\\approx {_said(found)}"
    items = [_said(found)]
    while len(items) < 20 and (joint := _JOINT.search(before[-30:])):
        end = at = max(len(before) - 30, 0) + joint.start(1)
        depth = 1
        while at > 0 and depth:
            at -= 1
            depth += (before[at] == "}") - (before[at] == "{")
        box = re.search(r"\\(?:boxed|fbox)\s*$", before[:at])
        if depth or not box:
            break
        items.insert(0, before[at + 1 : end].strip())
        before = before[: box.start()]
    return ", ".join(items) if len(set(items)) > 1 else items[0]


def _last_box(text: str) -> tuple[str, int, int]:
    """What is in the last box, and where that begins and ends."""
    first = text.find("\\boxed{")
    end = text.find("}", first)
    inner = text[first + 7 : end]
    # the plain case: one box, no braces in it
    if 0 <= first < end and "{" not in inner and "\\" not in inner and text.find("box", end) < 0:
        return inner.strip(), first + 7, end
    # One pass with a stack: looking for the partner of each of n open boxes would take n passes.
    stack: list[int] = []  # where the content of an open box starts; -1 for any other brace
    found = (0, 0)
    for match in _BRACE.finditer(text):
        token = match[0]
        if token == "}":
            if stack and (start := stack.pop()) >= 0:
                found = (start, match.start())
        elif token == "{":
            stack.append(-1)
        elif token[-1] == "{" and len(token) > 2:
            stack.append(match.end())
    inner = text[slice(*found)].strip()
    for _ in range(10):  # \boxed{\boxed{3}}
        outer = re.match(r"\\(?:boxed|fbox)\s*\{", inner)
        if not outer or not inner.endswith("}") or "{" in inner[outer.end() :]:
            break
        inner = inner[outer.end() : -1].strip()
    bare = None
    for bare in _BARE_BOX.finditer(text, found[1]):  # noqa: B007
        pass
    if bare is None:
        return inner, *found
    formula = re.match(r"(.*?)(?:\$|\\\)|\\\])", bare[1])
    inner = formula[1] if formula else bare[1].split(maxsplit=1)[0].rstrip(".,;:!?")
    return inner.strip(), bare.start(1), bare.start(1) + len(inner)


def _said(found: str) -> str:
    """What is behind "the answer is" or "Answer:" in `found`, or all of it."""
    match = len(found) > 6 and _ANSWER_IS.search(found)
    if not match:
        return found
    said = found[match.end() :].lstrip(" }*").strip()
    return (said[:-1] if said.endswith("}") and said.count("}") > said.count("{") else said) or found


def _tag(text: str) -> str:
    if "</answer>" not in text:
        text = text.replace("ANSWER>", "answer>").replace("Answer>", "answer>")
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    if not 0 <= start < end or "<answer>" in text[end:] or taken_back(text[end + 9 :]):
        return ""
    return _said(text[start + 8 : end].strip().removeprefix("####").strip())


def _hash(text: str) -> str:
    found, below = _last_hash(text)
    return "" if taken_back(below) else _said(found)


def _last_hash(text: str) -> tuple[str, str]:
    """What stands behind the last `####` in its line, and what below it."""
    start = text.rfind("####")
    found, _, below = text[start + 4 :].lstrip().partition("\n") if start >= 0 else ("", "", "")
    return found.strip(), below


def _sentence(text: str) -> str | None:
    """What the last "the answer is" says; "" where there is none, None where it is taken back."""
    found = collections.deque(_SENTENCE.finditer(text), maxlen=20)
    if not found:
        return ""
    own = (m for m in reversed(found) if not _others(text[max(m.start() - 80, 0) : m.start()]))
    if (last := next(own, None)) is None:
        return None
    rest, _, below = text[last.end() :].lstrip().partition("\n")
    if "*" in last[0]:
        rest = rest.replace("**", "", 1)
    rest = _BOLD.sub(r"\1", rest)
    end = _STOP.search(rest)
    found = rest[: end.end() if end and end[0][0] == "?" else end.start()] if end else rest
    return None if taken_back(rest[len(found) :] + "\n" + below[:1000]) else found.strip(" \t\r*.")


def _others(before: str) -> bool:
    """Whether "answer is" behind `before` is of somebody else, doubted, or of a case."""
    return bool(_OTHERS.search(before[-20:]) or _CLAIMED.search(before) or _CASE.search(before))


def _any(text: str) -> str:
    if "box" in text:
        found, start, end = _last_box(text)
        if found and taken_back(text[end:]):
            return _sentence(text[end:]) or ""
        if found and _changed(text, start, end):
            return ""
        if found:
            return _with_others(text, found, start)
        if "\\boxed{" in text or "\\fbox{" in text:
            return ""
    if "</answer>" in text or "</ANSWER>" in text or "</Answer>" in text:
        found = _tag(text)
        if found or "<answer>" in text[text.rfind("</answer>") :]:
            return found
    found, below = _last_hash(text)
    if found and not (below.strip() and found[0].isalpha()):  # else a heading of Markdown
        return (_sentence(below) or "") if taken_back(below) else _said(found)
    found = _sentence(text)
    if found or found is None:
        return found or ""
    if "<<" in text:
        text = _CALCULATED.sub("", text)
    bare = text.strip()
    if len(bare) <= SHORT and "\n" not in bare and _is_bare(bare):
        return bare
    return "" if _UNDETERMINED.search(text) else last_number(text)


def _is_bare(line: str) -> bool:
    # Names of functions and units stand in answers; two other words make it prose.
    return bool(_BARE.match(line)) and len(_WORDS.findall(line)) < 2 or bool(_WORD.fullmatch(line))


FORMS = {"boxed": _boxed, "hash": _hash, "tag": _tag, "any": _any}
