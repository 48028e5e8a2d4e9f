"""The claims, in the order of the page: a row each, from the file of its family."""

from __future__ import annotations

from experiments.claims import change, confidence, control, course, critique, dual, law, select
from experiments.claims.verdicts import Claim

CLAIMS: tuple[Claim, ...] = (
    law.FORM,
    law.COEFFICIENTS,
    course.FRONT,
    course.EARLY,
    change.CHANGE,
    control.CEILING,
    control.FORKING,
    critique.PRESERVES,
    critique.TEST_TIME,
    critique.PLATEAU,
    dual.DUAL,
    select.SELECTS,
    confidence.CALIBRATION,
    select.BOTTLENECK,  # not a claim but the question that the page ends with
)
