"""A paper beside a claim: what a row of literature.py and literature_feedback.py holds."""

from __future__ import annotations

import dataclasses

CONTRADICTS, LIMITS, REPLACES, SUPPORTS = "contradicts", "limits", "replaces", "supports"
# what was read: its text, a part of it or a figure, its abstract, its code; or only what others say about it; or notes
# that do not say which of these
READ = ("paper", "paper in part", "abstract", "code", "second hand", "not recorded")
NOT_GROUNDED = ("second hand", "not recorded")
NOT_RUN = "not run: "


@dataclasses.dataclass(frozen=True)
class Paper:
    """A paper beside a claim.

    found: what it says. bears: what that does to the claim; "replaces": another method or quantity instead. tests:
    words in the titles of our tests that stand beside it. beside: more of ours, with where it is, or what was not run.
    """

    id: str
    found: str
    bears: str
    read: str
    tests: tuple[str, ...] = ()
    beside: str = ""

    @property
    def grounded(self) -> bool:
        """Whether we read it, at least its abstract or code."""
        return self.read not in NOT_GROUNDED

    def as_json(self) -> dict[str, str | bool]:
        """Its row in retest.json."""
        about = {"arxiv": self.id, "found": self.found, "bears": self.bears, "read": self.read}
        return about | {"grounded": self.grounded, "beside": self.beside}


STUDY_2026 = NOT_RUN + "configs/sweeps/controls.py:2026"
MISMATCH = NOT_RUN + "configs/sweeps/mismatch.py"
HELD_LEVELS = NOT_RUN + "configs/sweeps/equal_entropy.py"
NARROWING = NOT_RUN + "configs/sweeps/narrowing.py"
LEARN = NOT_RUN + "configs/sweeps/critique_learn.py"
