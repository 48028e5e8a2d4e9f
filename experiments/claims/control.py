"""Does holding entropy up pay, and do few tokens carry the signal?"""

from __future__ import annotations

import math

from experiments.claims import arms
from experiments.claims.arms import Arm, Study
from experiments.claims.data import Data
from experiments.claims.pairs import common, least_attempts, mean_runs_span, paired_span
from experiments.claims.verdicts import Claim, How, Verdict, mean_span, spelled

HELD = 1.25  # times the plain arm's entropy at the end, or more: then it was held up
CONTROL = ("loss", "entropy_coef", "kl", "entropy_advantage", "weight", "weight_policy", "advantage", "diversity")
SHARES = (0.15, 0.25)  # of the tokens: "about 20 %"


def entropy_ratio(arm: Arm, plain: Arm, how: How) -> tuple[float, float, float] | None:
    """Mean over seeds of ln(entropy at the end / the plain arm's), with its interval."""
    pairs = [(arm.runs[s].entropy(), plain.runs[s].entropy()) for s in common(arm, plain)]
    return mean_span([math.log(x / y) for x, y in pairs if x and y], how)


def holders(study: Study, plain: Arm, how: How) -> list[Arm]:
    """Arms that change a control and nothing else, and whose entropy at the end is held up, beyond their interval."""
    found = []
    for arm in study.arms:
        if arm is plain or arm.source or len(common(arm, plain)) < how.least or not arms.only(arm, plain, CONTROL):
            continue
        span = entropy_ratio(arm, plain, how)
        if span and span[1] > math.log(HELD):
            found.append(arm)
    return found


def ceiling(data: Data, studies: list[Study], how: How) -> Verdict:
    """pass@1 and pass@k at the end: arms that hold entropy less the plain one."""
    out = Verdict()
    for study, plain in plain_studies(studies):
        held = holders(study, plain, how)
        if not held:
            continue
        seeds = common(plain, *held)
        out.runs += [arm.runs[s] for arm in (plain, *held) for s in arm.runs]
        k = least_attempts(arm.runs[s] for arm in (plain, *held) for s in seeds)
        for what, title in (("pass@1", "pass@1"), ("pass@k", f"pass@{k}")):
            span, both = mean_runs_span(held, plain, what, k, how)
            names = ", ".join(arm.name for arm in held)
            title = f"{study.name}: {title} at the end, mean of {names}, less {plain.name}"
            out.add(title, span, how, len(both), above=0.0, slack=how.margin)
        rows = []
        for arm in study.arms:
            pairs = common(arm, plain)
            if arm is plain or not pairs or arm.source:
                continue
            x, y = ([of.runs[s] for s in pairs] for of in (arm, plain))
            spans = [paired_span(x, y, what, k, how) for what in ("pass@1", "pass@k")]
            ratio = entropy_ratio(arm, plain, how)
            times = f"{math.exp(ratio[0]):.2f}" if ratio else "-"
            if ratio and None not in spans:
                point = {"study": study.name, "arm": arm.name, "held": arm in held, "ratio": math.exp(ratio[0])}
                out.plots.append(point | {"pass@1": spans[0], "pass@k": spans[1], "k": k})
            rows.append([arm.name, str(len(pairs)), times, "yes" if arm in held else "", *map(spelled, spans)])
        height = lambda row: -float(row[2]) if row[2] != "-" else 0.0  # noqa: E731
        header = ["arm", "seeds", f"entropy, times {plain.name}'s", "held", "pass@1", f"pass@{k}"]
        out.details.append((f"{study.name}: differences to {plain.name} at the end", header, sorted(rows, key=height)))
    if not out.criteria:
        out.missing.append(
            f"no study with a plain arm and one that holds entropy {HELD:g} times as high, {how.least} common "
            "seeds each"
        )
    return out


def plain_studies(studies: list[Study], several: bool = True) -> list[tuple[Study, Arm]]:
    """RL studies with evaluations and a plain arm, and with others beside it if there must be `several`."""
    found = [(s, s.plain()) for s in studies if s.kind == "rl" and (len(s.arms) > 1 or not several)]
    return [(s, plain) for s, plain in found if plain and plain.first.task]


def forking(data: Data, studies: list[Study], how: How) -> Verdict:
    """pass@1 and pass@k of learning from the tokens of highest entropy only, less those of learning from all."""
    out = Verdict()
    for study, plain in plain_studies(studies):
        rows, few = [], []
        chosen = sorted((arm for arm in study.arms if arm.share), key=lambda arm: arm.share)
        for arm in chosen:
            base = min(
                (a for a in study.arms if not a.source and _learns_from_all(a)),
                key=lambda a: (len(arms.differ(arm, a)), a is not plain),
                default=plain,
            )
            pairs = common(arm, base)
            x, y = ([of.runs[s] for s in pairs] for of in (arm, base))
            k = least_attempts([*x, *y])
            spans = [paired_span(x, y, what, k, how) for what in ("pass@1", "pass@k")]
            out.runs += [*x, *y]
            other = sorted(key for key in arms.differ(arm, base) if not key.startswith("weight"))
            rows.append(
                [arm.name, f"{arm.share:.0%}", base.name, str(len(pairs)), *map(spelled, spans), ", ".join(other)]
            )
            if SHARES[0] <= arm.share <= SHARES[1]:
                few.append(arm)
                for what, span in (("pass@1", spans[0]), (f"pass@{k}", spans[1])):
                    title = (
                        f"{study.name}: {what} at the end from the {arm.share:.0%} of highest entropy, less all tokens"
                    )
                    out.add(title, span, how, len(pairs), above=-how.margin)
        others = [arm for arm in study.arms if arm.first.get("weight.args.bottom")]
        for arm in few:
            for other in others:
                if arms.differ(arm, other) <= {"weight.args.bottom", "weight.args.frac"}:
                    pairs = common(arm, other)
                    x, y = ([of.runs[s] for s in pairs] for of in (arm, other))
                    rest = 1 - other.first.get("weight.args.frac", 0)
                    what = (
                        f"{study.name}: pass@1 from the {arm.share:.0%} of highest entropy, less the other {rest:.0%}"
                    )
                    out.add(what, paired_span(x, y, "pass@1", 1, how), how, len(pairs), above=0.0)
                    out.runs += y
        if rows:
            header = ["arm", "tokens", "beside", "seeds", "pass@1", "pass@k", "what else differs"]
            out.details.append((f"{study.name}: learning from the tokens of highest entropy", header, rows))
            if not few:
                tried = ", ".join(f"{arm.share:.0%}" for arm in chosen)
                out.missing.append(f"{study.name}: shares tried are {tried}, none about 20%")
    if not out.runs:
        out.missing.append("no study with an arm whose weight is top_entropy, and a plain one")
    return out


def _learns_from_all(arm: Arm) -> bool:
    whole = arm.first.get("weight.args.frac", 0) == 1 and not arm.first.get("weight.args.bottom")
    return arm.first.get("weight.name") == "token_mean" or (arm.first.get("weight.name") == "top_entropy" and whole)


CEILING = Claim(
    id="ceiling",
    main="pass@1",
    text="Holding entropy up raises the ceiling",
    source="Cui et al. 2025, arXiv:2505.22617, sections 2 and 4",
    definition=(
        f"Within a study, the arms that change a control and nothing else and end with at least {HELD:g} "
        "times the plain arm's entropy (the interval over seeds says so), against the plain arm: "
        "held-out pass@1 and pass@k (the largest k) at the end, mean over arms, paired by seed and, where "
        "they are kept, problem. For the claim: both higher; a gain below the margin counts as none."
    ),
    needs="a study with a plain arm and an arm that holds entropy, 3 common seeds, evaluations",
    decides="runs that go on until the arms that hold entropy stop gaining: here they end while these may still rise",
    test=ceiling,
)

FORKING = Claim(
    id="forking",
    main="pass@1",
    text="About 20 % forking tokens carry the signal",
    source="Wang et al. 2025, arXiv:2506.01939",
    definition=(
        f"Learning from the tokens of highest entropy only, {SHARES[0]:.0%} to {SHARES[1]:.0%} of all, against "
        "learning from all, in the same study: pass@1 and pass@k at the end, paired. For the claim: no worse than the "
        "margin, and better than from the other tokens alone, where that was tried. Each arm, of any share, is "
        "compared with the one of all tokens that differs from it least."
    ),
    needs="RL arms with weight.name=top_entropy and frac about .2, one of all tokens, 3 common seeds",
    decides="a sweep of the share from 5 to 100 % with the same clip, and the other 80 % alone beside it",
    test=forking,
)
