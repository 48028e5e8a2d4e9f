"""Does confidence as reward restore calibration?"""

from __future__ import annotations

from experiments.claims.arms import Study
from experiments.claims.data import Data
from experiments.claims.judge import Claim, How, Verdict


def calibration(data: Data, studies: list[Study], how: How) -> Verdict:
    """ECE after self-feedback less before, and beside RLVR's."""
    out = Verdict()
    out.missing.append("no calibration study (expected calibration error before and after experiments.self_feedback)")
    return out


CALIBRATION = Claim(
    id="calibration",
    main="ECE",
    text="Confidence as reward restores calibration",
    source="van Niekerk et al. 2025, arXiv:2507.21931",
    definition=(
        "Expected calibration error (10 bins, percent) of answers' confidence on held-out problems: after RL "
        "from self-feedback less before, paired by seed, and less that after RL with a verifier. "
        "For the claim: lower, and accuracy not lower than before by more than the margin."
    ),
    needs="a calibration study of the start, of self-feedback and of RLVR, 3 seeds",
    decides="a start that RL has made overconfident, answers whose span carries the uncertainty, and more seeds",
    literature=(
        ("2507.21931", "lower ECE and higher accuracy than base and SFT are claimed; tables were not found"),
        ("2511.05993", "miscalibration grows in RLVR"),
    ),
    test=calibration,
)
