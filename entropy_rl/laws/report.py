"""law.md and its tables: what the fit says and what it cannot, on one page for a colleague who has not seen the run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from entropy_rl import tables
from entropy_rl.laws.curves import CURVES

Law = Mapping[str, Any]  # what is in law.json


def table(law: Law) -> str:
    """The curves as lines of text, those in H before those in steps; differences of BIC from the best."""
    errors = {"heldout_rmse": "held-out", "blocked_rmse": "blocked"}
    if "agreement" in law:
        errors = {"left_out_rmse": "left-out"}
    keys = ["a", "b", "ceiling", "r2", "rmse", *errors, "delta_bic"]
    head, rows = ["curve", "a", "b", "ceiling", "R2", "rmse", *errors.values(), "dBIC"], []
    for name in sorted(law["curves"], key=lambda name: CURVES[name].x):
        rows.append([name, *(_number(law["curves"][name][key]) for key in keys)])
    return tables.table(head, rows, "lr", [10])


def law_line(law: Law) -> str:
    """a, b and the ceiling of exp with their intervals, in one line."""
    exp, spans = law["curves"]["exp"], law["interval"]
    parts = [f"{key} = {exp[key]:.4g} [{spans[key][0]:.4g}, {spans[key][1]:.4g}]" for key in ("a", "b", "ceiling")]
    over = f" over {spans['runs']} runs" if "runs" in spans else ""
    return f"R = -a exp(H) + b: {', '.join(parts)} ({spans['level']:.0%} intervals{over})"


def runs(law: Law) -> str:
    """A line for each of several runs; empty for one."""
    if not _several(law):
        return ""
    heads = ["run", "points", "H", "a", "b", "ceiling", "R2 exp / linear", "held-out exp / linear"]
    rows = []
    for name, one in _several(law).items():
        exp, linear, spans = one["curves"]["exp"], one["curves"]["linear"], one["interval"]
        coefficients = [f"{exp[key]:.3g} [{spans[key][0]:.3g}, {spans[key][1]:.3g}]" for key in ("a", "b", "ceiling")]
        errors = [f"{exp[key]:.3g} / {linear[key]:.3g}" for key in ("r2", "heldout_rmse")]
        rows.append([name, str(one["n"]), f"{one['H']['min']:.3g} - {one['H']['max']:.3g}", *coefficients, *errors])
    return tables.table(heads, rows, widths=[2 + max(map(len, column)) for column in zip(heads, *rows)])


def groups(law: Law) -> str:
    """Ceilings by group, and whether one law does for all; empty where no groups were asked for."""
    if not law.get("groups"):
        return ""
    heads, rows = ["group", "runs", "a", "ceiling", "its runs share a curve"], []
    for one in law["groups"]:
        spans = one["interval"]
        a, ceiling = (f"{one[key]:.3g} [{spans[key][0]:.3g}, {spans[key][1]:.3g}]" for key in ("a", "ceiling"))
        shared = "-" if one["share_p"] is None else f"p {one['share_p']:.2g}"
        rows.append([one["name"], str(len(one["runs"])), a, ceiling, shared])
    table = tables.table(heads, rows, widths=[2 + max(map(len, column)) for column in zip(heads, *rows)])
    return f"{table}\n{_one_law(law)}"


def _one_law(law: Law) -> str:
    """One law or several: what Cochran's Q says of the runs of each group and of all."""
    if "agreement" not in law:
        return "one run: one law"
    within, p = [one["share_p"] for one in law["groups"] if one["share_p"] is not None], law["agreement"]["p"]
    if p >= 0.01:
        return f"one law may do for all groups (p {p:.2g})"
    if within and min(within) < 0.01:
        return f"runs differ within a group too (p {min(within):.1g}): that groups differ (p {p:.1g}) says little"
    if not within:
        return f"several laws: the runs, one a group, do not share one curve (p {p:.1g})"
    return f"several laws: groups do not share one curve (p {p:.1g}), runs within them may (p {min(within):.2g})"


def _several(law: Law) -> dict[str, Law]:
    """Each run's own law by name, where there are several."""
    return {one["name"]: one for one in law.get("runs", ()) if "curves" in one}


def alarms(law: Law) -> str:
    """A line for each alarm, with its evidence, and one for the knobs of those alike; empty where there is none."""
    lines: dict[str, list[str]] = {}
    for alarm in law.get("alarms", ()):
        line = f"ALARM {alarm['name']} in {alarm['run']} at step {alarm['step']:g}: {alarm['evidence']}"
        lines.setdefault(alarm["knobs"], []).append(line)
    return "\n".join(line for knobs, alike in lines.items() for line in [*alike, f"  knobs: {knobs}"])


def alarm_counts(law: Law) -> str:
    """Of several runs how many have which alarm; empty for one."""
    if len(law["runs"]) < 2:
        return ""
    seen = Counter(alarm["name"] for alarm in law["alarms"])
    return f"alarms in {len(law['runs'])} runs: " + (", ".join(f"{k} in {n}" for k, n in seen.most_common()) or "none")


def forecasts(law: Law) -> str:
    """Errors and coverage of the forecasts that could be made, a line for each kind and share, and why others not."""
    found = law["forecast"]
    keys = ["bias", "rmse", "median_error", "coverage", "width", "rmse_after"]
    head, rows = ["forecast from the first", "runs", "bias", "rmse", "median", "covered", "width", "rmse after"], []
    for line in found["summary"]:
        if line["runs"]:
            cells = [_number(line[key], percent=key == "coverage") for key in keys]
            rows.append([f"{line['share']:.0%}, {line['kind']}", str(line["runs"]), *cells])
    lines = [tables.table(head, rows, "lr", [24, 11])] if rows else []
    impossible = [f"{line['share']:.0%} ({line['impossible']})" for line in found["summary"] if line["impossible"]]
    if impossible:
        reasons = {row["reason"] for of_run in found["runs"].values() for row in of_run if row["reason"]}
        which = ", ".join(dict.fromkeys(impossible))
        lines.append(f"no forecast from the first {which} of the runs: {sorted(reasons)[-1]}")
    return "\n".join(lines)


def page(law: Law, *, command: str = "") -> str:
    """Markdown: `law` with the keys that experiments/fit_laws.py adds; the `command` that made it."""
    agree = law.get("agreement", {}).get("p", 1.0) >= 0.01
    figure = ["![score against entropy](law.png)", ""]
    fitted = [*_block(table(law)), _about_curves(law), ""]
    parts = ["# Reward against entropy", "", *(f"- {line}" for line in law["sources"])]
    parts += [*(f"- left out: {line}" for line in law["skipped"]), ""]
    for one in law.get("runs", ()):
        parts += [line for text in one.get("warnings", ()) for line in (f"**{one['name']}: {text}.**", "")]
    parts += [f"**{law['verdict'][0].upper()}{law['verdict'][1:]}.**", ""]
    each = _each(law)
    if law.get("alarms"):
        parts += ["## Alarms", "", *_block(alarms(law))]
    if not agree:
        parts += [
            *figure,
            *each,
            "## One fit to all, which is a mean over runs that differ",
            "",
            law_line(law),
            "",
            *fitted,
        ]
    elif _allowed(law):
        parts += [law_line(law), "", *figure, "## Curves", "", *fitted, *each]
    else:
        parts += [*figure, "For the record, and not as a law:", "", law_line(law), "", *fitted, *each]
    if "headroom" in law:
        parts += ["## What is left", "", _left(law), ""]
    if law.get("groups"):
        parts += ["## Groups", "", *_block(groups(law))]
    if law["scaling"]:
        parts += ["## Coefficients against model size", "", _scaling(law["scaling"]), ""]
    if law.get("ahead"):
        parts += ["## Forecast", "", _ahead(law["ahead"]), ""]
    if law["forecast"]:
        parts += ["## Forecasts, had they been made early", "", *_block(forecasts(law)), _ABOUT_FORECASTS, ""]
    if law.get("errata"):
        parts += ["## What is known of this entropy", "", *map(_erratum, law["errata"]), ""]
    parts += ["## How to read this", "", _ABOUT, ""]
    if command:
        parts += [f"Made by `{command}`."]
    return "\n".join(parts).rstrip() + "\n"


def _erratum(row: Mapping[str, str]) -> str:
    more = "; ".join(filter(None, (row["size"], row["source"])))
    return f"- {row['trainer']}, {row['versions']}: {row['defect']}" + (f" ({more})" if more else "")


def _number(value: float | None, *, percent: bool = False) -> str:
    return "-" if value is None else f"{value:.0%}" if percent else f"{value:.3g}"


def _block(text: str) -> list[str]:
    return ["```", text, "```", ""]


def _allowed(law: Law) -> bool:
    every = _several(law).values() if "agreement" in law else [law]
    return any(not any(sign["forbids"] for sign in one["signs"]) for one in every)


def _about_curves(law: Law) -> str:
    if "agreement" in law:
        lines = ["left-out: error on each run of the fit to all others."]
    else:
        lines = [
            "held-out: error on the last 30 % of the points of a fit to the first 70 %, H known; blocked: on stretches "
            f"in between; dBIC: with {law['n_effective']:.3g} effective points for the {law['fitted']}, as neighbours "
            "are correlated."
        ]
    if "exp_rate" in law["curves"]:
        c = law["curves"]["exp_rate"]
        low, high = c["interval"]["c"]
        lines.append(f"exp_rate: c = {c['shape']['c']:.2g} [{low:.2g}, {high:.2g}]; the law says 1, a straight line 0.")
    lines += [f"{name} could not be fitted: {why}." for name, why in law["left_out"].items()]
    return " ".join(lines)


def _each(law: Law) -> list[str]:
    if not _several(law):
        return []
    verdicts = [f"- {name}: {one['verdict']}" for name, one in _several(law).items()]
    return ["## Run by run", "", *_block(runs(law)), *verdicts, ""]


def _left(law: Law) -> str:
    if not _allowed(law):
        return "Without a law there is no ceiling to measure it by."
    h = law["headroom"]
    low, high = h["interval"]
    text = f"By exp, {h['left']:.3g} [{low:.3g}, {high:.3g}] lie between the score at {h['H_now']:.3g} nats and the "
    text += "ceiling."
    if h["entropy_spent"] is not None:
        text += f" Of the entropy at the start ({h['H_start']:.3g}) {h['entropy_spent']:.0%} is spent,"
        text += f" and {h['gain_had']:.0%} of the way to the ceiling is done."
    for mark in law["marks"]:
        if mark["entropy"] is not None and mark["gain"] is not None:
            share = "1/12" if math.isclose(mark["share"], 1 / 12) else "1/3"
            text += f" At {share} of the run {mark['entropy']:.0%} of all that it spent was spent,"
            text += f" and {mark['gain']:.0%} of its gain had."
    return text


def _ahead(ahead: Mapping[str, Any]) -> str:
    (low, high), (H_low, H_high) = ahead["interval"], ahead["entropy_interval"]
    return (
        f"At step {ahead['at']:g}, from all points up to {ahead['until']:g}: score {ahead['score']:.3g} "
        f"[{low:.3g}, {high:.3g}] at an entropy of {ahead['entropy']:.3g} [{H_low:.3g}, {H_high:.3g}] nats "
        f"({ahead['level']:.0%} intervals, if the law and the decay of entropy hold that long)."
    )


def _scaling(scaling: Mapping[str, Any]) -> str:
    heads = ["coefficient", "per factor e in N", "R2", "models", "largest, from the others", "at N"]
    rows = []
    for name, s in scaling.items():
        (low, high), at = s["slope_interval"], s.get("at")
        miss = "-" if s["left_out"] is None else f"off by {s['left_out']:+.3g}"
        ahead = f"{at['N']:.3g}: {at['value']:.3g} [{at['low']:.3g}, {at['high']:.3g}]" if at else "-"
        rows.append([name, f"{s['slope']:.3g} [{low:.3g}, {high:.3g}]", f"{s['r2']:.3f}", str(s["n"]), miss, ahead])
    return tables.table(heads, rows)


_ABOUT_FORECASTS = (
    "*given entropy*: the law fitted to the first part of the run, the entropy at which it ended taken as known, as in "
    "the paper; *pure*: entropy forecast too. Only the second could have been made at the time. Errors are forecast "
    "less score; *rmse after* is over all later points, given their entropies."
)

_ABOUT = (
    "R = -a exp(H) + b is an empirical law (Cui et al. 2025, arXiv:2505.22617, Eq. 6) with the ceiling b - a at H = 0. "
    "Intervals are from a bootstrap that knows that neighbouring points are correlated, and hold if the curve is "
    "right; noise in H itself they do not see, and it draws a towards 0. Below about 0.3 nats exp(H) is nearly a "
    "straight line: where exp is not identified, its ceiling and that of the line are equally good guesses, and their "
    "distance is part of the uncertainty."
)
