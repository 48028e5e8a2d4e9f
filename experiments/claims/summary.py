"""The page's first screen: a verdict for each claim and world, and where a claim holds that holds partly.

A *world* is a task and the model that solves it (`Run.world`): closed Countdown, or Countdown in words solved by the
model of a folder. A *setting* is a place of tests within one, such as a study.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence

from entropy_rl.tables import table
from experiments.claims.arms import Study
from experiments.claims.data import Data
from experiments.claims.verdicts import (
    AGAINST,
    FOR,
    OPEN,
    PARTLY,
    UNDECIDED,
    Claim,
    Criterion,
    Verdict,
    main_criterion,
    rule,
    spelled,
)

OUTCOMES = (FOR, AGAINST, OPEN)
SEVERAL = "several worlds"


class Worlds:
    """Which world a test is from, by the place in its title; `names`: all, those with the most runs first."""

    def __init__(self, studies: Sequence[Study], data: Data):
        counts = collections.Counter(run.world for run in data.runs if run.kind != "other")
        self.names = [name for name, _ in counts.most_common()]
        self._of: dict[str, set[str]] = collections.defaultdict(set)
        homes = {study.folder: {run.world for arm in study.arms for run in arm.runs.values()} for study in studies}
        for study in studies:
            self._of[study.name] |= {run.world for arm in study.arms for run in arm.runs.values()}
        for document in data.documents:  # of the study that it lies in, if that is not known by its folder's name
            folder = document.path.parent
            above = next((homes[home] for home in (folder, *folder.parents) if home in homes), None)
            if above and folder.name not in self._of:
                self._of[folder.name] |= above

    def of(self, test: Criterion, found: Verdict) -> str:
        """The world of a test of `found`; `SEVERAL` where its place is a study's name that stands for more than one."""
        if test.where in self.names:
            return test.where
        for place in (test.where, test.where.partition(", ")[0]):
            worlds = {run.world for run in found.runs if run.study.name == place} or self._of.get(place, set())
            if worlds:
                return next(iter(worlds)) if len(worlds) == 1 else SEVERAL
        return SEVERAL

    def split(self, found: Verdict) -> dict[str, list[Criterion]]:
        """{world: its tests}, worlds without any test left out."""
        groups: dict[str, list[Criterion]] = {}
        for test in found.criteria:
            groups.setdefault(self.of(test, found), []).append(test)
        return {name: groups[name] for name in (*self.names, SEVERAL) if name in groups}


def by_world(found: Verdict, worlds: Worlds) -> dict[str, str]:
    """The verdict of each world that has a test, or runs of which something is shown."""
    verdicts = {name: rule([test.outcome for test in tests]) for name, tests in worlds.split(found).items()}
    for run in (*found.runs, *found.beside):
        verdicts.setdefault(run.world, UNDECIDED)
    return verdicts


def screen(claims: Sequence[tuple[Claim, Verdict]], worlds: Worlds) -> str:
    """Claim, verdict of each world with its tests for/against/open, and one number."""
    spoken = [by_world(found, worlds) for _, found in claims]
    names = [name for name in (*worlds.names, SEVERAL) if any(name in of for of in spoken)]
    rows = []
    for (claim, found), verdicts in zip(claims, spoken):
        groups = worlds.split(found)
        cells = []
        for name in names:
            count = "/".join(str(sum(test.outcome == o for test in groups.get(name, []))) for o in OUTCOMES)
            runs = len({id(run) for run in (*found.runs, *found.beside) if run.world == name})
            told = count if name in groups else f"{runs} run{'s' if runs > 1 else ''}"
            cells.append(f"{verdicts[name]}, {told}" if name in verdicts else "–")
        main = main_criterion(claim, found)
        value = f"{short(main, place=True)}: {valued(main)}" if main else ""
        rows.append([f"[{claim.text}](#{claim.id})", f"**{found.verdict}**", *cells, value])
    return table(["claim", "verdict", *names, "the number"], rows)


def where(claims: Sequence[tuple[Claim, Verdict]], worlds: Worlds) -> str:
    """For claims that hold partly in a world: which quantities, in which settings, are for it, against it and open."""
    rows = []
    for claim, found in claims:
        for name, tests in worlds.split(found).items():
            if rule([test.outcome for test in tests]) != PARTLY:
                continue
            cells = []
            for outcome in OUTCOMES:
                places: dict[str, list[str]] = {}
                for test in tests:
                    if test.outcome == outcome:
                        places.setdefault(short(test), []).append(test.where)
                lists = {
                    what: " · ".join(dict.fromkeys(place for place in of if place != name))
                    for what, of in places.items()
                }
                told = [f"{what} ({of})" if of else what for what, of in lists.items()]
                cells.append("; ".join(told))
            rows.append([f"[{claim.text}](#{claim.id})", name, *cells])
    return table(["claim", "world", "holds: quantity (settings)", "fails", "open"], rows) if rows else ""


def short(test: Criterion, place: bool = False) -> str:
    """A test's title without the arms that it is a mean of, and without its place unless that is asked for."""
    what = re.sub(r", mean of .*?(?=, less )|, mean over runs", "", test.what).partition("; ")[0]
    return what if place or not test.where else what.removeprefix(f"{test.where}: ")


def valued(test: Criterion) -> str:
    """Its number and interval, with signs where the side of 0 is what counts."""
    span = (test.value, test.low, test.high)
    return spelled(span, sign=test.said.endswith(" 0") or min(span) < 0)
