r"""What a response commits to: the last box, tag, `####`, answer sentence or number.

Every rule takes the last of its kind, because models correct themselves downwards. Only the last MAX_CHARACTERS of a
response are looked at, in one pass each, so that a response of any length costs milliseconds.

Departs from math-verify, which collects all candidates and takes the first that parses: what a response commits to
does not depend on whether it can be read. A box that cannot be read is still the answer, and scores 0.
"""

from __future__ import annotations

import re
import unicodedata

from entropy_rl.errors import lookup

MAX_CHARACTERS = 100_000
SHORT = 100  # characters of a response that may be nothing but an answer

# What follows an answer and takes it back, and what confirms it again.
_DOUBT = re.compile(
    r"\b(?:wait|hmm+|hold on|actually(?=,)|or (?:maybe|perhaps)|(?:is|was) (?:wrong|incorrect|not (?:right|correct))|"
    r"let me (?:re-?|double[- ]?)?(?:check|verify|think|consider|examine|calculate|compute))\b",
    re.IGNORECASE,
)
_CONFIRMED = re.compile(
    r"(?<!not )(?<!n't )\b(?:yes|correct|right|confirm(?:s|ed)?|holds|indeed|match(?:es)?|consistent|verified)\b",
    re.IGNORECASE,
)
# A base model goes on with a question of its own.
_NEXT = re.compile(r"\n[ \t]*(?:\*\*)?(?:Question|Problem|Q|Human|User)(?:\*\*)?\s?[0-9]*:", re.IGNORECASE)
_MARK = re.compile(r"####|\\boxed|</answer>|[Aa]nswer is")
_THOUGHTS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
_END = re.compile(r"(?:<\|[a-z_]+\|>|</s>|<eos>|<end_of_turn>)$")
# A box opens, an escaped character, a brace. The second way steps over one backslash of `\\boxed`, as JSON writes it.
_BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{|\\(?=\\(?:boxed|fbox))|\\.|[{}]", re.DOTALL)
_SENTENCE = re.compile(
    r"\b(?:answer|correct (?:option|choice))(?:[ \t*]*(?:[:=]|\bis\b[ \t]*:?)[ \t*]*)", re.IGNORECASE
)
_STOP = re.compile(r"[.!?]\s")
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_BARE_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z{])[ \t]*(?![\s{])([^\n]{1,200})")
_ANSWER_IS = re.compile(r"\b(?:answer|result)(?: is\b:?|:)", re.IGNORECASE)
_MATH = re.compile(
    r"\$\$(.+?)\$\$|(?<!\\)\$(?!\s)([^$]+?)(?<![\s\\])\$(?![0-9])|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL
)
_SUBSCRIPT = re.compile(r"_(?:\{[^{}]*\}|\w)")
_PRODUCT = re.compile(r"(?<=[0-9%)]) ?x ?(?=[$0-9(.])")
_UNKNOWN = re.compile(r"(?<![A-Za-z\\])[xyz](?![A-Za-z])")
_ASSIGNED = re.compile(r"(?<![A-Za-z0-9\\])([A-Za-z])\s?=(?!=)")
# Words of a line: letters that are not ASCII end one, but for signs.
_PIECE = re.compile(
    r"[!-~\u2013\u2044\u2212\u00d7\u00f7\u00b7\u221a\u03c0\u221e\u00b0\u00b1-\u00b3\u00bc-\u00be\u2264\u2265\u2260\u2248]+"
)
_OPERATOR = re.compile(
    r"[-+*/^=<>x\u2013\u2044\u2212\u00d7\u00f7\u00b7\u00b1\u2264\u2265\u2260\u2248]|!=|"
    r"\\(?:times|cdot|div|le|ge|leq|geq|neq|ne|pm)"
)
_WORDY = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}|^[aAI]$")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_NUMBER = re.compile(r"(?<![0-9A-Za-z_.])[-+\u2212]?\$?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?%?")
_BARE = re.compile(r"[-+\u2212$\\(\[{0-9.]|[A-Za-z](?![A-Za-z])")
# What stands before a number that is no answer, and what behind it makes another number of it.
_BEFORE = re.compile(
    r"(?:\bnot|n['\u2019]t|\bcannot|\bnever|\b(?:step|base|choose|mod|over|than|at (?:most|least)|about|minus|negative|"
    r"plus|times|sin|cos|tan|log|ln|"
    r"sqrt|twice|double|triple|(?:divided|multiplied) by|(?:out|root|half|third|quarter|percent) of|"
    r"approximately|case|option|page|line|equation|part|chapter|problem|question|january|february|march|april|may|june|july|august|"
    r"september|october|november|december)|!=|%\)? of|[0-9] in)(?: be| equal to)?\s+\$?$|[0-9] ?: ?$",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    r"\*{0,2}\$?(?:\?|!\s[a-z]|\s[nxyz]\b(?!')|\s(?:(?:and (?:a|one|two|three) )?(?:hundred|thousand|million|"
    r"billion|trillion|dozen|half|third|quarter|"
    r"tenth|hundredth|thousandth|lakh|crore)s?\b|and (?:a|one|two|three|[0-9]+)\b|"
    r"choose\b|over [0-9]|mod\b|squared|cubed|percent of|more than|less than|fewer than))"
)
_FOREIGN = re.compile(
    r"[0-9] ?[\u066b\uff0c\uff1b\u3001\u548c\u6216\u4e0e\u53ca] ?$|\u4e0d\u662f ?$|\u4e0d\u7b49\u4e8e ?$"
)
_HARMLESS = "\u2248\u2234\u2190\u2192\u21d2\u21d4"
_CALCULATED = re.compile(r"<<[^<>\n]{0,200}>>")  # of GSM8K: 2+3=<<2+3=5>>5
_CLOCK = re.compile(r"\s?[ap]\.?m\b\.?", re.IGNORECASE)
# Items of a list before the last one: "2, 3, and ", "x = 2, y = ".
_ITEMS = re.compile(r"(?<![^\s$])(?:[-+]?\$?[0-9][0-9./]*(?:,? (?:and|or|to) |[,;] (?:and |or )?))+$")
_ITEM = re.compile(
    r"[0-9)}]\$?(?:,? (?:and|or)|[,;]) \$?(?:[A-Za-z] ?= ?)?$|[0-9] [a-z]+,? and \$?$|"
    r"\b(?:is|be|equals|gives) [-\u2212\u2013] \$?$|"
    r"[0-9] (?:hours?|minutes?|feet|foot|ft|days?|weeks?|years?|yards?|dollars?|pounds?|meters?),? \$?$"
)
_GROUPS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:[ \u00a0\u202f][0-9]{3})*[ \u00a0\u202f]$")  # 10 of 10 000
_ASSIGNMENT = re.compile(r"\W*(?:[A-Za-z]{2,},? )?\W*([A-Za-z]) ?= ?[-\u2212]?[0-9./]+\W*")
_WORDS = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{2,}")


def final_answer(response: str, form: str = "any") -> str:
    r"""The answer that a response commits to, without space around it; "" when there is none. Never raises on text.

    Where there is a `</think>`, only what follows the last one counts, and after an open `<think>` nothing does. Where
    a base model goes on with a question of its own ("Question:" on a new line), what follows does not count. "The
    answer is 5" in a box or a tag is 5. A box that is taken back ("Wait, let me check") without being confirmed
    or followed by an answer is none.

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
    """What stands behind the last `</think>`, or all of it; "" after an open `<think>`. The last 100,000 characters."""
    if "think" in response or "thought|>" in response:
        for opening, closing in _THOUGHTS:
            if (end := response.rfind(closing)) >= 0:
                response = response[end + len(closing) :]
            if opening in response:
                return ""
    return response[-MAX_CHARACTERS:]


def _boxed(text: str) -> str:
    if "\\boxed" not in text and "\\fbox" not in text:
        return ""
    found, end = _last_box(text)
    return "" if _taken_back(text[end:]) else _said(found)


def _last_box(text: str) -> tuple[str, int]:
    """What is in the last box, and where it ends."""
    first = text.find("\\boxed{")
    end = text.find("}", first)
    inner = text[first + 7 : end]
    # the plain case: one box, no braces in it
    if 0 <= first < end and "{" not in inner and "\\" not in inner and text.find("box", end) < 0:
        return inner.strip(), end
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
        return inner, found[1]
    formula = re.match(r"(.*?)(?:\$|\\\)|\\\])", bare[1])
    inner = formula[1] if formula else bare[1].split(maxsplit=1)[0].rstrip(".,;:!?")
    return inner.strip(), bare.start(1) + len(inner)


def _taken_back(text: str) -> bool:
    doubt = len(text) > 3 and _DOUBT.search(text)
    return bool(doubt) and not _CONFIRMED.search(text, doubt.end())


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
    return _said(text[start + 8 : end].strip().removeprefix("####").strip()) if 0 <= start < end else ""


def _hash(text: str) -> str:
    start = text.rfind("####")
    return _said(text[start + 4 :].lstrip().partition("\n")[0].strip()) if start >= 0 else ""


def _sentence(text: str) -> str | None:
    """What the last "the answer is" says; "" where there is none, None where it is taken back."""
    last = None
    for last in _SENTENCE.finditer(text):  # noqa: B007
        pass
    if last is None:
        return ""
    rest, _, below = text[last.end() :].lstrip().partition("\n")
    if "*" in last[0]:
        rest = rest.replace("**", "", 1)
    rest = _BOLD.sub(r"\1", rest)
    end = _STOP.search(rest)
    found = rest[: end.end() if end and end[0][0] == "?" else end.start()] if end else rest
    return None if _taken_back(rest[len(found) :] + "\n" + below[:1000]) else found.strip(" \t\r*.")


def _any(text: str) -> str:
    if "box" in text:
        found, end = _last_box(text)
        if found and _taken_back(text[end:]):
            return _sentence(text[end:]) or ""
        if found:
            return _said(found)
        if "\\boxed{" in text or "\\fbox{" in text:
            return ""
    if ("</answer>" in text or "</ANSWER>" in text or "</Answer>" in text) and (found := _tag(text)):
        return found
    if "####" in text and (found := _hash(text)) and not _is_heading(text, found):
        return found
    found = _sentence(text)
    if found or found is None:
        return found or ""
    if "<<" in text:
        text = _CALCULATED.sub("", text)
    bare = text.strip()
    if len(bare) <= SHORT and "\n" not in bare and _is_bare(bare):
        return bare
    last = None
    for start in (max(0, len(text) - 2000), 0):
        for last in _NUMBER.finditer(text, start):  # noqa: B007
            pass
        if last:
            break
    return _whole(text, *last.span()) if last else ""


def _whole(text: str, start: int, end: int) -> str:
    """The formula around the number text[start:end], which is the last one; "" where it cannot be told apart."""
    left = max(text.rfind("\n", max(start - 400, 0), start) + 1, start - 400, 0)
    right = text.find("\n", end, end + 400)
    right = min(len(text), end + 400) if right < 0 else right
    opened = text.rfind("\\begin{", max(start - 1000, 0), start)
    if opened >= 0 and text.find("\\end{", opened, start) < 0:
        closed = re.search(r"\\end\{[a-z*]+\}", text[end : end + 1000])
        found = text[opened : end + closed.end()] if closed else ""
        if not closed or "matrix" in found or "array" in found or "cases" in found:
            return found
        if len(set(_ASSIGNED.findall(found.replace("&", "")))) > 1:
            return ""
    group = _GROUPS.search(text[max(start - 30, 0) : start]) if re.fullmatch(r"[0-9]{3}", text[start:end]) else None
    if group:
        return text[start - len(group[0]) : end]
    line, start, end = text[left:right], start - left, end - left
    for span in _MATH.finditer(line):
        if span.start() < start and end <= span.end():
            found = span[span.lastindex]
            break
    else:
        found = _run(line, start, end)
    if not _is_equation(found):
        found = found.rsplit("=", 1)[-1].strip().strip("*")
    sentence = re.split(r"[.!?]\s", line[:start])[-1]
    if len(set(_ASSIGNED.findall(sentence))) > 1 or re.fullmatch(r"[0-9]+(?:[-\u2013][0-9]+)+", found):
        return ""
    at = line.rfind(found, 0, end + len(found))
    before, behind = line[: at if at >= 0 else start], line[max(end, at + len(found)) :]
    if (
        _taken_back(behind)
        or _BEFORE.search(before)
        or _BEHIND.match(behind)
        or not before.strip()
        and re.match(r"[.)] +[A-Za-z*]", behind)
    ):
        return ""
    if _ITEM.search(before) or not line.isascii() and (_FOREIGN.search(before) or _is_sign(before, behind)):
        return ""
    if clock := _CLOCK.match(behind):
        return found + clock[0].rstrip(".")
    if "/" in found and (mixed := re.search(r"(?<![0-9.,/])[0-9]+ $", before)):
        return mixed[0] + found
    above = text[max(left - 100, 0) : max(left - 1, 0)].rpartition("\n")[2]
    names = [_ASSIGNMENT.fullmatch(part) for part in (above, line)]
    if all(names) and names[0][1] != names[1][1] or "=" in above and re.search(r"(?:,| and| or)\s*$", above):
        return ""
    return found


def _is_sign(before: str, behind: str) -> bool:
    """Whether a sign or a digit that is not ASCII stands at a number: a root, a sum, a power, per mille."""
    near = before.rstrip()[-1:] + behind[:1]
    return any(
        not c.isascii() and unicodedata.category(c) in ("Sm", "No", "Nd") and c not in _HARMLESS or c == "\u2030"
        for c in near
    )


def _is_equation(found: str) -> bool:
    """Whether 3x + 4y = 12, x^2 = 4, x + y - 1 = 0: no value of a name, but a line or a curve."""
    left, _, right = found.partition("=")
    left = _PRODUCT.sub("*", _SUBSCRIPT.sub("", left))
    if not right or not _UNKNOWN.search(left):
        return False
    return (
        "=" not in right
        and ("^" in left or bool(re.search("[0-9]", left)))
        or (right.strip() == "0" and bool(re.search("[-+]", left)))
    )


def _run(line: str, start: int, end: int) -> str:
    """The words of `line` around the number at start:end that make one formula with it."""
    words = [(m.start(), m.end()) for m in _PIECE.finditer(line)]
    at = next((i for i, (a, b) in enumerate(words) if a <= start < b), None)
    if at is None:
        return line[start:end]
    a, b = words[at][0], max(words[at][1], end)
    word = line[a:b]
    # a bracket that this word closes
    opened = max((line.rfind(c, 0, start) for c in "(["), default=-1)
    closed = re.search(r"[)\]]", line[end:])
    if opened >= 0 and not re.search(r"[)\]]", line[opened:start]):
        until = end + closed.end() if closed else -1
        inside = line[opened:until] if closed else ""
        if closed and not _PROSE.search(inside) and "," in inside:
            return inside
        if not closed or _PROSE.search(inside):
            a = max(a, opened + 1)
            b = min(b, until - 1) if closed else b
    # operators and what they join, to both sides
    i = at
    while i > 0 and _joined(line[words[i - 1][0] : words[i - 1][1]], line[words[i][0] : words[i][1]]):
        i -= 1
    while i < at and line[slice(*words[i])] in "-+*/=\u2013\u2212\u00d7\u00f7\u00b7":  # "Total - 5"
        i += 1
    j = at
    while j + 1 < len(words) and _joined(line[words[j][0] : words[j][1]], line[words[j + 1][0] : words[j + 1][1]]):
        j += 1
    variable = j > at + 1 and line[slice(*words[j])] == "x" and _OPERATOR.fullmatch(line[slice(*words[j - 1])])
    while j > at and not variable and _OPERATOR.fullmatch(line[slice(*words[j])]):
        j -= 1
    if i < at or j > at:
        a, b = words[i][0], words[j][1]
    listed = _ITEMS.search(line[:a])
    if listed:
        a = listed.start()
    found = line[a:b]
    if _WORDY.search(found) and i == j == at and not listed and not re.search(r"[\\^_=<>]", found):
        # "pens:5", "(5", a number in quotes: nothing but punctuation around it; else all of the word
        found = word
    found = found.strip("*`\"'~\u2248\u201c\u201d#|").rstrip(".,;:!?*`").lstrip(":,;")
    if found.startswith("(") and ")" not in found:
        found = found[1:]
    if found.endswith(")") and "(" not in found:
        found = found[:-1]
    return found.strip()


def _joined(left: str, right: str) -> bool:
    """Whether two words next to each other belong to one formula: an operator, or a command of LaTeX, between them."""
    if left[-1:] in ",;:.!?" or _WORDY.search(left) or _WORDY.search(right):
        return False
    return (
        bool(_OPERATOR.fullmatch(left) or _OPERATOR.fullmatch(right))
        or right[0] in "^*/+=<>\\"
        or left[-1] in "^*/+=<>"
    )


def _is_heading(text: str, found: str) -> bool:
    below = text[text.rfind("####") + 4 :].strip()[len(found) :]
    return bool(below.strip()) and found[:1].isalpha()


def _is_bare(line: str) -> bool:
    # Names of functions and units stand in answers; two other words make it prose.
    return bool(_BARE.match(line)) and len(_WORDS.findall(line)) < 2 or line.rstrip(".").isalpha()


FORMS = {"boxed": _boxed, "hash": _hash, "tag": _tag, "any": _any}
