"""One way to write one thing."""

import pytest

from entropy_rl.answers.latex import CLOSE, OPEN, SEPARATOR, clean, normal


@pytest.mark.parametrize(
    "text, plain",
    [
        ("$5$", "5"),
        ("$$5$$", "5"),
        ("\\(5\\)", "5"),
        ("\\[ 5 \\]", "5"),
        ("\\boxed{5}", "5"),
        ("$5$ and $6$", "5 and 6"),
        ("\\(5\\) and \\(6\\)", "\\(5\\) and \\(6\\)"),
        ("\\boxed{4}\\boxed{5}", "\\boxed{4}\\boxed{5}"),
        ("\\boxed{4}2", "\\boxed{4}2"),
        ("$5", "$5"),
        ("\\$5", "$5"),
        ("\\left( 1, 2 \\right]", "( 1, 2 ]"),
        ("\\leftarrow", "\\leftarrow"),
        ("\\dfrac12", "\\frac12"),
        ("\\text{a}b", "a b"),
        ("1\\text{2}", "1 2"),
        ("5\\text{m}", "5 meters"),
        ("\\{1\\}", OPEN + "1" + CLOSE),
        ("1\\,000", f"1{SEPARATOR}000"),
        ("1\\,00", "1 00"),
        ("1\\!0", "10"),
        ("3^\\circ", "3 deg"),
        ("3\\degree", "3 deg"),
        ("a\n\tb", "a b"),
        ("\u0663", None),
        ("\x00", None),
        ("\x01", None),
        ("\x025\x03", None),
    ],
)
def test_clean(text, plain):
    """Mutation: `\\text{2}` replaced without space, `\\left` without its lookahead, outer dollars by strip("$")."""
    assert clean(text) == plain


@pytest.mark.parametrize("text", ["\u0663", "\x00", "5\x01", "\u4e09", "\ud800", "x" * 2000, ""])
def test_normal_keeps_what_it_does_not_know(text):
    assert normal(text) == text.strip()


def test_normal_is_of_text():
    assert normal(None) == ""
