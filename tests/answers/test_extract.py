"""What a response commits to."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entropy_rl.answers import extract
from entropy_rl.answers.extract import FORMS, final_answer
from entropy_rl.errors import InputError


@pytest.mark.parametrize(
    "response, answer",
    [
        ("so \\boxed{5}", "5"),
        ("\\boxed{4}, no: \\boxed{ 5 }.", "5"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\fbox{5}", "5"),
        ("\\boxed{5} or \\fbox{6}", "6"),
        ("\\fbox{6} or \\boxed{5}", "5"),
        ("\\boxed {5}", "5"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\text{a \\} b}}", "\\text{a \\} b}"),
        ("\\boxed{\\boxed{3}}", "3"),
        ("\\boxed{5 \\boxed{3}}", "5 \\boxed{3}"),
        ("\\boxed{5 \\boxed{3}", "3"),
        ("\\boxed{5} \\boxed{6", "5"),
        ("\\boxed{6", ""),
        ("\\boxed{}", ""),
        ("}}} \\boxed{5} {{{", "5"),
        ("\\\\boxed{5}", "5"),
        ("boxed{5}", ""),
        ("\\boxed 5", "5"),
        ("\\boxed 5 and more", "5"),
        ("$\\boxed 2\\%$ in all", "2\\%"),
        ("\\boxed\\frac12$", "\\frac12"),
        ("\\boxed{4}. Wait, let me check", ""),
        ("\\unboxed{5} 5", ""),
        ("#### 5", ""),
    ],
)
def test_boxed(response, answer):
    """Mutation: the first box, a box that is found by `find` without counting braces, no step over backslashes."""
    assert final_answer(response, "boxed") == answer


@pytest.mark.parametrize(
    "response, form, answer",
    [
        ("#### 5", "hash", "5"),
        ("#### 4\nno\n####  1,000 \nbye", "hash", "1,000"),
        ("####\n5", "hash", "5"),
        ("5", "hash", ""),
        ("<answer> 5 </answer>", "tag", "5"),
        ("<answer>4</answer><answer>5</answer> 6", "tag", "5"),
        ("<answer>4<answer>5</answer>", "tag", "5"),
        ("<answer>a\nb</answer>", "tag", "a\nb"),
        ("</answer><answer>5", "tag", ""),
        ("5</answer>", "tag", ""),
        ("\\boxed{5}", "tag", ""),
    ],
)
def test_hash_and_tag(response, form, answer):
    """Mutation: the first of them, or the rest of the text instead of the line."""
    assert final_answer(response, form) == answer


@pytest.mark.parametrize(
    "response, answer",
    [
        ("\\boxed{1} <answer>2</answer> #### 3", "1"),
        ("<answer>2</answer> #### 3", "2"),
        ("4\n#### 3", "3"),
        ("#### Step 1: add\nThe answer is 7.", "7"),
        ("#### 7\nThe answer is above.", "7"),
        ("The answer is 5.", "5"),
        ("The final answer is: 3.14.", "3.14"),
        ("The answer is 4. No! The answer is $\\frac{1}{2}$. I hope it helps", "$\\frac{1}{2}$"),
        ("**Answer:** 5", "5"),
        ("ANSWER = (1, 2)", "(1, 2)"),
        ("Answer: 5\nBecause 2 + 3.", "5"),
        ("The answer isn't 5 but 6", "6"),
        ("we get 3 and then 4 of them", "4"),
        ("it costs $1,234.50.", "$1,234.50"),
        ("so it is -5", "-5"),
        ("a share of 3/4 in all", "3/4"),
            ("a share of 3/4 or so", ""),
        ("from x1 and y2", ""),
        ("\\frac{1}{2}", "\\frac{1}{2}"),
        ("(3, 4)", "(3, 4)"),
        ("x+1", "x+1"),
        ("  yes\n", "yes"),
        ("5 cm", "5 cm"),
        ("12 or 13", "12 or 13"),
        ("", ""),
        ("   ", ""),
        ("I do not know", ""),
    ],
)
def test_any(response, answer):
    """Mutation: sentences before boxes, or the first number instead of the last."""
    assert final_answer(response) == answer


@pytest.mark.parametrize(
    "response, answer",
    [
        ("<think>\\boxed{4}</think>\\boxed{5}", "5"),
        ("\\boxed{4}</think>", ""),
        ("\\boxed{4}</think> so 5</think> 6", "6"),
        ("<think>\\boxed{4}", ""),
        ("\\boxed{4}</think><think>\\boxed{5}", ""),
        ("\\boxed{4}</think> It is \\boxed{5}</think>", ""),
    ],
)
def test_reasoning_does_not_count(response, answer):
    """Mutation: the first `</think>`, or the whole text where one is there."""
    assert final_answer(response) == answer


def test_only_the_end_is_read():
    """Mutation: the beginning is."""
    far = "\\boxed{5}" + " " * extract.MAX_CHARACTERS
    assert final_answer(far) == "" and final_answer(far[:-20]) == "5"
    assert final_answer("a</think>" + "b" * 2 * extract.MAX_CHARACTERS + "\\boxed{5}") == "5"


def test_forms():
    with pytest.raises(
        InputError, match="unknown answer form 'box' .did you mean 'boxed'.*: one of any, boxed, hash, tag"
    ):
        final_answer("5", "box")
    assert final_answer(None) == "" and final_answer(5) == ""


@pytest.mark.parametrize(
    "piece", ["\\boxed{", "{", "}", "\\", "####", "<answer>", "answer is ", "1,", "9", "answer  ", "-"]
)
def test_linear(piece):
    """Mutation: look for the partner of each open box in turn."""
    start = time.process_time()
    for form in FORMS:
        final_answer(piece * 200_000, form)
    assert time.process_time() - start < 1.0


@settings(max_examples=1000, derandomize=True, deadline=None)
@given(
    st.text(st.sampled_from("\\boxed{} 1.#<>answer/is:think"), max_size=80) | st.text(), st.sampled_from(sorted(FORMS))
)
def test_total(text, form):
    answer = final_answer(text, form)
    assert answer == answer.strip() and (not answer or answer in text)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.text(st.characters(exclude_characters="\\{}<>", codec="utf-8"), max_size=30), st.text(max_size=30))
def test_a_box_gives_back_what_is_in_it(inner, before):
    """Mutation: strip(" ") alone."""
    if "think>" not in before:
        assert final_answer(before.replace("\\", "") + "\n\\boxed{" + inner + "}", "boxed") == inner.strip()
