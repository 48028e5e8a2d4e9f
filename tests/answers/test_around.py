"""What stands around an answer: a box that is a part of a formula, a number that is a reference or an assumption.

A sceptic's variations by kind, each "gold | response": right ones are paid, the others are not.
"""

import pytest

from entropy_rl.answers.extract import final_answer
from entropy_rl.answers.grade import Grader

KINDS = {
    "a box is a part of a formula": (
        r"""5 | $x = \boxed{5}$.
        5 | $$ 2 + 3 = \boxed{5}. $$
        5 | $3 + \boxed{5} = 8$
        5 | \boxed{5} + 3 = 8
        50 | \boxed{50}\%
        90 | $\boxed{90}^{\circ}$
        5 | $\$\boxed{5}$
        5 | \boxed{5}\text{ cm}
        5 | \boxed{5}cm
        5 | The answer is \boxed{5}! Great.
        5 | - \boxed{5}
        5 | 1. \boxed{5}
        5 | Answer – \boxed{5}
        5 | => \boxed{5}
        5 | <answer>\boxed{5}</answer>
        5 | \textcolor{red}{\boxed{5}}
        5 | \\boxed{5}
        5 | So \boxed{5} (since 2 + 3 = 5).
        5 | So \boxed{5} - which is prime.
        5 | a < b, so a = \boxed{5}
        (1,2) | (x,y) = \boxed{(1,2)}""",
        r"""3 | \boxed{3}{4
        3 | \boxed{3}{4}
        3 | $\boxed{3}/4$
        3 | \boxed{3}^2
        3 | \boxed{3}_8
        3 | \boxed{3}**2
        3 | \boxed{3}\frac{1}{2}
        3 | \boxed{3}! ways
        3 | \boxed{3}x
        3 | \boxed{3}4
        3 | \boxed{3} \times 10^4
        3 | \boxed{3} + 4
        3 | \boxed{3} million
        3 | \boxed{3} squared
        3 | \boxed{3} and a half
        3 | \boxed{3} or 4
        3 | \boxed{3} or more
        3 | \boxed{3} mod 7
        3 | $x = -\boxed{3}$
        3 | -\boxed{3}
        3 | x = - \boxed{3}
        3 | 2\boxed{3}
        3 | 4 + \boxed{3}
        3 | 7/\boxed{3}
        3 | \sqrt{\boxed{3}}
        3 | \frac{\boxed{3}}{7}
        3 | \frac{7}{\boxed{3}}
        3 | 2^{\boxed{3}}
        3 | x_{\boxed{3}}
        3 | \pm\boxed{3}
        3 | x > \boxed{3}
        3 | x \le \boxed{3}
        3 | x \neq \boxed{3}""",
    ),
    "an answer is denied": (
        r"""5 | We can't divide, so \boxed{5}
        5 | Not only is it prime, it is \boxed{5}
        5 | why not: \boxed{5}
        5 | \boxed{5}. No other value works.
        5 | \boxed{5}. The correct answer is 5.
        5 | \boxed{4}. However, the correct answer is 5.""",
        r"""5 | It is not \boxed{5}.
        5 | $x$ is not $\boxed{5}$
        5 | The answer isn't \boxed{5}
        5 | It can't be \boxed{5}
        5 | I don't think it is \boxed{5}
        5 | \boxed{5}? No.
        5 | \boxed{5} is not the answer
        5 | \boxed{5}. No, it's 6.
        5 | \boxed{5}. Sorry, it is 6.
        5 | \boxed{5}. Correction: 6
        5 | \boxed{5}. Oops.
        5 | \boxed{5}. That's wrong.
        5 | \boxed{5}. This is a mistake.
        5 | \boxed{5} (wrong)
        5 | \boxed{5} (not the answer)
        5 | \boxed{5}. But this is impossible, so 6.
        5 | The answer is 5. No, 6.
        5 | The answer is 5... or is it 6
        5 | The answer is 5. However, the correct value is 6.""",
    ),
    "a number is a reference": (
        r"""5 | By Theorem 2 there are 5 ways.
        5 | From (1) we get 5
        5 | From (1) and (2), x = 5.
        5 | (5)
        5 | The answer is (5).
        5 | in section A there are 5
        5 | so with these, 5
        5 | the last round has 5 players""",
        r"""5 | The result follows from (5)
        5 | This follows from (5).
        5 | So we get the claim from (5)
        5 | by (5)
        5 | see (5)
        5 | as shown in (5)
        5 | according to (5)
        5 | by combining (4) and (5)
        5 | By Lemma 5
        5 | By Theorem 5.
        5 | It follows from Corollary 5.
        5 | in Section 5
        5 | by Proposition (5)
        5 | Round 5
        5 | on the 5 of May""",
    ),
    "nothing is claimed": (
        r"""5 | If we add them, we get 5.
        5 | If x = 2 then the sum is 5
        5 | Let x be the number, so x = 5
        5 | Let's compute: 2 + 3 = 5
        5 | Is it 4? No, it is 5
        5 | Assume the price is 2; then he has 5
        5 | Isaac has 5
        5 | Perhaps surprisingly, the total is 5
        5 | It would be 5""",
        r"""5 | Suppose x = 5
        5 | Assume it is 5
        5 | Let x = 5
        5 | Try x = 5
        5 | Is it 5
        5 | If the answer were 5
        5 | It could be 5
        5 | It might be 5
        5 | maybe 5
        5 | I guess perhaps 5""",
    ),
    "a number is near another, or made another": (
        r"""5 | -> and so 5
        5 | => 5
        5 | Up to symmetry there are 5
        5 | Around the table sit 5
        5 | The nearly full box has 5
        5 | The power of the engine is 5
        5 | half of 10 is 5""",
        r"""5 | nearly 5
        5 | almost 5
        5 | roughly 5
        5 | approx. 5
        5 | ~5
        5 | close to 5
        5 | up to 5
        5 | instead of 5
        5 | except 5
        5 | without 5
        5 | 3 or else 5
        5 | divisible by 5
        5 | a multiple of 5
        5 | increased by 5
        5 | divide by 5
        5 | raised to the power of 5""",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("right", [True, False])
def test_around(kind, right):
    """Mutation: any alternative of the expressions in extract and last_number that these are about."""
    pairs = [line.strip().split(" | ") for line in KINDS[kind][not right].split("\n")]
    grader = Grader()
    assert not [pair for pair in pairs if grader.grade(*pair) != right]


def test_forms_hold_to_it_too():
    """Mutation: in `any` alone."""
    assert final_answer(r"\boxed{3}{4", "boxed") == final_answer(r"$-\boxed{3}$", "boxed") == ""
    assert final_answer("-\n\\boxed{3}", "boxed") == "3"
