"""Gradings that people reported as wrong elsewhere, by kind; cases.jsonl has the threads that they are from."""

import json
import pathlib
import re

import pytest

from entropy_rl.answers.grade import Grader, quantity

CASES = [json.loads(line) for line in pathlib.Path(__file__).with_name("cases.jsonl").read_text().splitlines()]
KINDS = sorted({case["kind"] for case in CASES})


@pytest.mark.parametrize("kind", KINDS)
def test_reported(kind):
    """Mutation: a response's last number instead of the formula around it; no words behind numbers; floats."""
    cases = [case for case in CASES if case["kind"] == kind]
    with Grader() as grader:
        wrong = [case for case in cases if grader.grade(case["gold"], case["response"]) != case["right"]]
    assert not wrong


@pytest.mark.slow
def test_reported_with_math_verify_behind():
    """What exactness decides is not handed on: 1/2004! is not 1/2006!. Mutation: symbolic before exact."""
    with Grader(symbolic=True) as grader:
        rewards = grader.grade_all([(case["gold"], case["response"]) for case in CASES])
    assert not [case for case, reward in zip(CASES, rewards) if reward != case["right"]]


@pytest.mark.parametrize(
    "gold, answer",
    [
        *[("5", "5 dozen"), ("5", "5 thousand"), ("12", "12 or 13"), ("2", "2 less than x"), ("5", "5 is wrong")],
        *[("3", "3 dogs and 2 cats"), ("3", "3 and a half"), ("5", "5 x"), ("5", "5 out of 7"), ("3", "3 for every 4")],
        *[
            ("5", "5 plus two"),
            ("5", "5 squared"),
            ("5", "5 percentage points of pi"),
            ("5", "five"),
            ("5", "5 but no"),
        ],
        *[("12", "(B) 13"), ("B", "C. 12"), ("18 eggs", "18 hens"), ("5", "5 to 7 days"), ("2", "2 hundred eggs")],
        *[("5 cm", "5 pencils of wood in a very long box that nobody has ever seen before in all of his days")],
    ],
)
def test_words_that_change_a_number(gold, answer):
    """Mutation: any words behind a number."""
    assert Grader().grade(gold, f"\\boxed{{{answer}}}") == 0.0
    assert Grader().grade(gold, f"The answer is {answer}.") == 0.0


def test_quantities():
    assert quantity("$460 for the week") == ("$460", "for the week") and quantity("460") == ("460", "")
    assert quantity("3 \\text{ bolts}") == ("3", "bolts") and quantity("\\frac{1}{2} \\text{ cup}")[1] == "cup"
    assert quantity("eggs") is quantity("") is quantity(None) is quantity("(1, 2)") is None


@pytest.mark.parametrize(
    "response, paid",
    [
        *[("so x = 3 and y = 5", False), ("It is 3 + 2", True), ("It is 3+2=5", True), ("a range of 0-5", False)],
        *[("The pairs are 3 and 5", False), ("It takes 5 hours", True), ("(in all 5)", True), ("**5**", True)],
        *[("Total - 5", True), ("we have x < 5", False), ("a share of 1/5", False), ("5\u20137", False)],
        *[("see Fig. 5", False), ("in Table 5", False), ("so we take #5", False)],
        *[("it is 5!", True), ("\\boxed{5}. Wait, let me check: yes, correct.", True), ("so x is 10/2", True)],
        *[("\\boxed{4}. Hmm, so the answer is 5.", True), ("<answer>The answer is 5</answer>", True)],
        *[("Question: how many?\n\\boxed{5}\n\nQuestion: and now?\n\\boxed{6}", True), ("\\boxed{5", False)],
    ],
)
def test_what_is_read_around_a_number(response, paid):
    assert Grader().grade("5", response) == paid, response


# kind: (right, wrong), each "gold | response".
VARIATIONS = {
    "nouns": (
        """12 | The answer is 12 inches by hand.
        18 | The answer is $18 every day.
        18 | The answer is **18** eggs.
        64 | The answer is $64 for 16 glasses.
        13 | 13-year-old
        18 | 18 eggs/day
        15 | 15\\text{ ft/s}
        7 | 7 (days)
        16\\pi | The answer is $16\\pi$ square units.
        \\frac{\\pi}{4} | \\frac{\\pi}{4}\\text{ radians}""",
        """5 | 5 sixths
        5 | 5 \\text{ hundredths}
        5 | 5\\text{th}
        5 | 5 lakh
        5 | 5 negative
        5 | 5 too many
        3 | 3 PM
        5 apples | 5 oranges
        5 | 5 (in thousands)
        5 | The answer is 5? No.
        5 | The answer is 5. Actually, it is 6.
        5 | The answer is 5. Wait, let me check.""",
    ),
    "LaTeX": (
        """2\\pi | 2\u03c0
        2\\pi | 2pi
        \\sqrt{13} | \u221a13
        \\sqrt{x+1} | \u221a(x+1)
        x^{2}+1 | x\u00b2 + 1
        \\frac{3}{2} | 1\u00bd
        \\pm 3 | \u00b13
        -\\frac{1}{2} | -{1 \\over 2}
        120 | \\dbinom{10}{3}
        \\frac13 | 0.\\overline{3}
        \\sin x | \\sin{x}
        81 | $3^4 = 81$
        2516_8 | (2516)_8""",
        """5 | 2 + 4 = 5
        3 | 3 = 4
        1/2 | 1 \\over 2 + 3
        1/3 | 0.0\\overline{3}
        \\sqrt{1}3 | \u221a13
        12 | 1\u00bd2
        25 | 5\u00b20""",
    ),
    "lists": (
        """1, 2 | $x = 1$ or $x = 2$
        (1,2),(3,4) | $(1,2)$ and $(3,4)$
        (2,3) | (x, y) = (2, 3)
        (2,3) | y=3, x=2
        [-2,7] | [-2;7]
        2, 3, 5 | The primes are 2, 3, and 5.""",
        """(1,2) | y=1, x=2
        (1,2) | (y,x) = (1,2)
        (x,y)=(1,2) | (a,b)=(1,2)
        (2,3) | x=2 \\text{ or } y=3
        56 | $5$$6$
        4 | The solutions are $3$ and $4$.
        4 | So the solutions are x=3, x=4
        5 | The primes are 2, 3, 5.
        5 | a = 3\nb = 5
        2 | The vector is\n$$\n\\begin{pmatrix}\n1\\\\\n2\n\\end{pmatrix}\n$$""",
    ),
    "inequalities": (
        """[2,\\infty) | x\\ge 2
        x \\ge 2 | x \u2265 2
        (1,2] | 1 < x \\leq 2
        (-\\infty,2) | 2 > x
        \\theta \\ge 2 | 2 \\le \\theta
        (-\\infty,2)\\cup(3,\\infty) | x<2 \\text{ or } x>3""",
        """[2,\\infty) | x > 2
        2 | x \\ge 2
        x>2 | y>2
        x>2 | \\mu>2
        (2,1) | 2 < x < 1
        x<2 | x<2 \\text{ and } x>1""",
    ),
    "choices": (
        """B | The correct option is B.
        B | choice (B)
        \\textbf{(B)}\\ 12 | 12
        \\textbf{(B)}\\ 12 | B""",
        """B | \\text{(B) or (C)}
        B | \\boxed{B. C}
        C | \\boxed{B. C}
        \\textbf{(B)}\\ 12 | (C) 12
        B | The answer is B? No, C.""",
    ),
    "equations": (
        """2x+3 | f(x) = 2x+3
        3 | \\text{Area} = 3
        3 | x = 6/2 = 3
        25 | $a^2+b^2 = 9+16 = 25$
        8 | So $m+n = 8$.""",
        """12 | So the line is 3x + 4y = 12.
        4 | The circle is $x^2+y^2=4$.
        0 | The plane is 2x+3y-z=0
        2 | The equation is x = 2 y""",
    ),
    "times and money": (
        """10:30 \\text{ a.m.} | 10:30 \\text{ AM}
        10:30 AM | They meet at 10:30 AM.
        1200 | \u20ac1,200
        1200 | 1200\\$
        10000 | So she has 10 000 apples""",
        """10:30 AM | 10:30 pm
        \\$5 | \u20ac5
        0 | So she has 10 000 apples""",
    ),
    "last numbers": (
        """18 | She makes 9 * 2 = $<<9*2=18>>18 every day.
        5 | Sum: 2 + 3 = **5**
        5 | \u7b54\u6848\u662f 5\u3002""",
        """5 | It is 5 million
        5 | It is not 5.
        3 | It is 1 over 3
        1/2 | It is 5 1/2.
        5 | It is 5! ways
        5 | So 5 is wrong
        5 | So is it 5?
        5 | So he has 5 + x
        5 | It is 3 hours 5 minutes
        5 | It is sqrt 5
        20 | The date is June 20.
        5 | It is \u221b5
        5 | It is 4\u62165
        5 | <thinking>The answer is 5""",
    ),
    "tags": (
        """5 | <Answer>5</Answer>
        5 | <answer>Answer: 5</answer>
        5 | #### Answer: 5
        5 | <answer>The final answer is: $5$.</answer>""",
        """5 | #### The answer is not 5
        5 | <answer>First answer: 4. Second answer: 5</answer>""",
    ),
}
MARKS = re.compile(r"[aA]nswer|####|boxed|\n|\b(?:The|So|It|Sum:|They|She) |\u7b54")


def variations(right):
    """(kind, gold, response): a response that is nothing but an answer in a box and in a sentence."""
    for kind, both in VARIATIONS.items():
        for line in both[not right].replace("\n        ", "\r").split("\r"):
            gold, _, response = line.partition(" | ")
            framed = (f"\\boxed{{{response}}}", f"The answer is {response}.")
            yield from ((kind, gold, way) for way in ((response,) if MARKS.search(response) else framed))


@pytest.mark.parametrize("right", [True, False])
def test_variations(right):
    """Mutation: any of the rules of extract, exact and quantity that these are about."""
    grader = Grader()
    assert not [case for case in variations(right) if grader.grade(*case[1:]) != right]


def test_numbers_that_python_does_not_write():
    """Mutation: str() of 2004!, which has more than 4300 digits."""
    grader = Grader()
    assert grader.final("\\boxed{1/2004!}") != grader.final("\\boxed{1/2006!}")
    assert grader.grade("2x = 3", "\\boxed{x = 2400!}") == grader.grade("1", "\\boxed{2400!, 2400!, 1}") == 0.0


def pairs_by_kind():
    """{kind: [(right, gold, response)]} of kinds.txt: "# kind", then "1 gold | response"; ⏎ is a line break."""
    kinds: dict[str, list[tuple[bool, str, str]]] = {}
    for line in pathlib.Path(__file__).with_name("kinds.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            found = kinds.setdefault(line[2:], [])
        else:
            gold, _, response = line[2:].replace("⏎", "\n").partition(" | ")
            found.append((line[0] == "1", gold, response))
    return kinds


@pytest.mark.parametrize("kind", pairs_by_kind())
def test_adversarial(kind):
    """A sceptic's pairs. Mutation: no hedge in grade.equal, no group in extract._THOUGHT that closes."""
    grader = Grader()
    assert not [pair for pair in pairs_by_kind()[kind] if grader.grade(*pair[1:]) != pair[0]]


@pytest.mark.slow
def test_adversarial_with_math_verify_behind():
    """Mutation: symbolic.asked is always True: 5 hours is 5 minutes then."""
    pairs = [pair for kind in pairs_by_kind().values() for pair in kind]
    true = {"\\boxed{\\sin(x)}", "\\boxed{\\ln(2)}", "\\boxed{\\ln e^5}", "\\boxed{(-\\infty,\\infty)}", "#### |5|"}
    true |= {"#### |-5|", "\\boxed{|5|}", "\\boxed{\\lfloor 5 \\rfloor}", "\\boxed{1/2x}"}
    true |= {"\\boxed{\\begin{vmatrix}1&2\\\\3&4\\end{vmatrix}}"}  # what exactness leaves open
    with Grader(symbolic=True) as grader:
        rewards = grader.grade_all([pair[1:] for pair in pairs])
    assert not [pair for pair, reward in zip(pairs, rewards) if reward != pair[0] and pair[2] not in true]
