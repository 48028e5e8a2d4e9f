r"""The last number of a text with the formula around it, unless the words around it deny or change it.

A number that stands alone is what a response without any mark commits to. But \frac{1}{3}, 2^{10}, (3, 5), 12:00 and
3 + 5 are read whole, never a digit of them; "not 5", "5 million" and "10% of 5" are no 5; and one of several values
(x = 3 and y = 5; 3 hours 5 minutes) is not the answer. What is not certain is "": a reward for it would be a guess.
"""

from __future__ import annotations

import re
import unicodedata

HEDGES = r"approximately|approx\.?|nearly|almost|around|about|roughly|close to|circa|ca\.|more or less"
UNSURE = "maybe|perhaps|possibly|probably|hopefully|presumably|supposedly|likely"
NOT = r"\bnot|n['\u2019]t|\bcannot|\bnever"
# Also in the plural.
MULTIPLES = "hundred|thousand|million|billion|trillion|dozen|half|third|quarter|tenth|hundredth|thousandth|lakh|crore"
# What follows an answer and takes it back, and what confirms it again.
_DOUBT = re.compile(
    rf"\b(?:wait|hmm+|hold on|actually(?=,)|or (?:{UNSURE})|(?:is|was) (?:wrong|incorrect)|"
    r"(?:(?:is|was) not|(?:is|was)n['\u2019]t|['\u2019]s not) (?:quite |exactly |really )?"
    r"(?:right|correct|the (?:right |correct |final )?answer)|"
    r"let me (?:re-?|double[- ]?)?(?:check|verify|think|consider|examine|calculate|compute)|sorry|oops|or is it|"
    r"correction(?=:)|(?:but|however),? the (?:correct|right|real|true) (?:answer|value|one) is)\b|"
    r"\A\W*no[,.!]|\A\W*\((?:wrong|incorrect|not (?:right|correct|the answer))\)|"
    r"\b(?:but |though |although )?I(?: a|['\u2019])m (?:not|un)(?: (?:so|very|quite|really))? ?(?:sure|certain)\b|"
    r"\bI(?: have|['\u2019]ve)? (?:made|did) (?:an?|some) (?:error|mistake)|\bcontradicts\b|"
    r"\bactually,? no\b|\bnot the answer\b|\bscratch that\b|\bjust kidding\b|"
    r"\A\W*(?:but |however,? )?(?:that|this|it|which) "
    r"(?:does ?n['\u2019]t|does not|can['\u2019]t|cannot) (?:work|be right|be correct)\b|"
    r"\A\W*(?:but |however,? )?(?:that|this|it|which)(?: is|['\u2019]s) (?:wrong|incorrect|impossible|not possible|"
    r"absurd|a mistake|an error|a contradiction)\b",
    re.IGNORECASE,
)
_CONFIRMED = re.compile(
    r"(?<!not )(?<!n't )(?<!be )(?<!quite )(?<!exactly )(?<!really )(?<!seem )(?<!look )(?<!sound )"
    r"\b(?:yes|correct|right|confirm(?:s|ed)?|holds|indeed|match(?:es)?|consistent|verified)\b(?!\?)",
    re.IGNORECASE,
)
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
MONTH = (
    r"(?:jan(?:uary|\.)?|feb(?:ruary|\.)?|mar(?:ch|\.)|apr(?:il|\.)?|may|june?\.?|july?\.?|aug(?:ust|\.)?|"
    r"sept?(?:ember|\.)?|oct(?:ober|\.)?|nov(?:ember|\.)?|dec(?:ember|\.)?|(?:mon|tues|wednes|thurs|fri|satur|sun)day)"
)
# What stands before a number that is no answer, and what behind it makes another number of it.
_BEFORE = re.compile(
    rf"(?:{NOT}|\b(?:{HEDGES}|{UNSURE}|{MONTH}|"
    r"step|base|choose|mod|over|than|at (?:most|least)|"
    r"plus|minus|negative|times|sin|cos|tan|log|ln|"
    r"sqrt|twice|double|triple|(?:divided|dividing|multiplied|multiplying) by|(?:out|as) of|out of (?:every|the|all)|"
    r"(?:one|two|three|four|five) (?:in|of)|max|min|"
    r"(?:root|half|third|quarter|percent|square|cube|reciprocal|inverse|negative|opposite|factor|fraction|power) of|"
    r"up to|far from|"
    r"(?:minimum|maximum|estimate|guess) of|(?:estimate|guess) is|"
    r"(?:estimated|thought|said|believed|unlikely) (?:at|to)|"
    r"rounds? to|tends to|bounded by|exceeds|above|below|under|number but|except for|neither [0-9]+ nor|through|"
    r"(?:doubt|know|sure|say|think|guess)(?:,? (?:it|that|but)(?:['\u2019]s| is)?|,)?|no\.|"
    r"(?:could|might|may)(?= be\b)|or else|instead of|except|without|"
    r"(?:divisible|divide|multiply) by|multiples? of|(?:in|de)creased by|power of|to the power|"
    r"lemma|theorem|proposition|corollary|section|definition|remark|appendix|version|round|"
    r"case|option|page|line|equation|part|chapter|problem|question|fig\.|figure|table|example|exercise)|"
    r"!=|%\)? of|[0-9] in|[0-9] (?:of|to) (?:the|these|those))"
    r"(?: be| equal(?: to)?)?\s+\$?$|[0-9] ?: ?$|(?<!#)#$|~ ?$",
    re.IGNORECASE,
)
_BEHIND = re.compile(
    r"\*{0,2}\$?(?:\?|!\s[a-z]|\s[nxyz]\b(?!')|\s(?:(?:and (?:a|one|two|three) )?(?:"
    rf"{MULTIPLES})s?\b|(?:[a-z]+ )?and (?:a|one|two|three|[0-9]+)\b|"
    rf"(?:of )?(?i:{MONTH})\b|(?i:(?:{HEDGES})(?=\s*(?:[.,;)\n]|$))|"
    r"or so|or thereabouts|if|unless|below|at (?:most|least)|"
    r"or (?:more|less|fewer))\b|"
    r"choose\b|over [0-9]|mod\b|times (?:as|more|the|that|what|its|their|his|her)\b|squared|cubed|percent of|"
    r"more than|less than|fewer than|"
    r"is (?:too|not|n['\u2019]t)\b)|-?ish\b|\s?\((?i:rounded|approximat|estimat|roughly)|,\s(?i:"
    rf"{HEDGES})\s*(?:[.;\n]|$))"
)
# A number of a list of formulas, "from (5)", and what begins a sentence that claims nothing: a question, an assumption.
_REFERENCE = re.compile(
    r"\b(?:from|by|see|using|use|in|to|with|of|and|under|via|per|into|apply|applying|combining|eqs?\.?|formula|condition|"
    r"inequality|identity|property|relation),? $",
    re.IGNORECASE,
)
_CITED = re.compile(r"\b(?:from|by|see|using|with|in|of|to|and) \([0-9]+\)", re.IGNORECASE)
_ASKED = re.compile(
    r"\W*(?:if|suppose|assum(?:e|ing)|let|try|unless|is|are|was|were|does|did|could|would|should|what if)\b"
    r"(?!['\u2019]|.*(?:[,:;]|\bthen\b|\bso\b))",
    re.IGNORECASE,
)
# A sentence that has no answer in it: "There is no solution when x = 0".
_NONE = re.compile(
    r"(?:\bno (?:real |integer |such )?(?:solutions?|answer|number|value)|\bundefined|(?:\bnot|n['\u2019]t) exist)\b"
    r"(?!.*\b(?:but|so|then|hence|thus|therefore)\b)"
)
_FOREIGN = re.compile(
    r"[0-9] ?[\u066b\uff0c\uff1b] ?$|[\uff0b\uff0d\uff0f\uff1c\uff1e\u3001\u548c\u6216\u4e0e\u53ca\u5230\u81f3] ?$|"
    r"\u4e0d(?:\u662f|\u7b49\u4e8e|\u8db3) ?$|"
    r"(?:\u7ea6|\u5927\u6982|\u53ef\u80fd|\u81f3[\u5c11\u591a]|\u8d85\u8fc7) ?$"  # about, perhaps, at least, more than
)
_TIMES = re.compile(r" ?[\u5341\u767e\u5343\u4e07\u4ebf\u5146\u842c\u5104\u534a\u591a](?![\u514b\u7c73])|\u5de6\u53f3")
_HARMLESS = "\u2248\u2234\u2190\u2192\u21d2\u21d4"
_CLOCK = re.compile(r"\s?[ap]\.?m\b\.?", re.IGNORECASE)
# Items of a list before the last one: "2, 3, and ", "x = 2, y = ".
_ITEMS = re.compile(r"(?<![^\s$])(?:[-+]?\$?[0-9][0-9./]*(?:,? (?:and|or|to) |[,;] (?:and |or )?))+$")
_ITEM = re.compile(
    r"[0-9)}]\$?(?:,? (?:and|or)|[,;]) \$?(?:[A-Za-z] ?= ?)?$|[0-9] [a-z]+,? and \$?$|"
    r"\b(?:is|be|equals|gives) [-\u2212\u2013] \$?$|"
    r"[0-9] (?:hours?|minutes?|feet|foot|ft|days?|weeks?|years?|yards?|dollars?|pounds?|meters?),? \$?$|"
    r"[0-9] ?(?:h|hrs?|min|m|km|cm|kg|g|lbs?|oz|in|s|sec)\.?,? $"
)
_GROUPS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:[ \u00a0\u202f][0-9]{3})*[ \u00a0\u202f]$")  # 10 of 10 000
_ASSIGNMENT = re.compile(r"\W*(?:[A-Za-z]{2,},? )?\W*([A-Za-z]) ?= ?[-\u2212]?[0-9./]+\W*")


def last_number(text: str) -> str:
    """The formula that holds the last number of `text`, a slice of it; "" for none or one that is no answer."""
    last = None
    for start in (max(0, len(text) - 2000), 0):
        for last in _NUMBER.finditer(text, start):  # noqa: B007
            pass
        if last:
            break
    return _whole(text, *last.span()) if last else ""


def taken_back(text: str) -> bool:
    """Whether `text`, which follows an answer, doubts it ("Wait, let me check") and does not confirm it after that."""
    doubt = len(text) > 3 and _DOUBT.search(text)
    return bool(doubt) and not _CONFIRMED.search(text, doubt.end())


def changed(behind: str) -> bool:
    """Whether what stands behind a number makes another one of it: 5 million, 5 choose 2, 5 and a half, 5?"""
    return bool(_BEHIND.match(behind))


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
    fence = text.rfind("```", 0, start)
    if fence >= 0 and text[fence + 3 : fence + 4].isalpha() and text.count("```", 0, start) % 2:
        return ""  # a program
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
    found = re.sub(r"^[=-]> ", "", found)  # an arrow that begins a line
    if not _is_equation(found):
        found = found.rsplit("=", 1)[-1].strip().strip("*")
    sentence = re.split(r"[.!?]\s", line[:start])[-1]
    if len(set(_ASSIGNED.findall(sentence))) > 1 or re.fullmatch(r"[0-9]+(?:[-\u2013][0-9]+)+", found):
        return ""
    at = line.rfind(found, 0, end + len(found))
    before, behind = line[: at if at >= 0 else start], line[max(end, at + len(found)) :]
    if (
        taken_back(behind)
        or _BEFORE.search(before[-60:])
        or changed(behind)
        or _ASKED.match(sentence)
        or _NONE.search(sentence)
        or re.fullmatch(r"\([0-9]+\)", found)
        and _REFERENCE.search(before[-60:])
        or not before.strip()
        and re.match(r"[.)] +[A-Za-z*]", behind)
    ):
        return ""
    if _ITEM.search(_CITED.sub(" ", before) if "(" in before else before):
        return ""
    if not line.isascii() and (_FOREIGN.search(before) or _TIMES.match(behind) or _is_sign(before, behind)):
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
    at = next(i for i, (a, b) in enumerate(words) if a <= start < b)
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
    if re.fullmatch(r"\|[-\u2212].*\|", found):
        return ""
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
