"""dual.md: the matrix of experiments/studies/dual_matrix.py as tables, and what it says in a few sentences."""

from __future__ import annotations

from typing import Any

from entropy_rl import tables
from entropy_rl.tables import span
from experiments.studies.dual_matrix import TEST, TITLES, TRAINING


def page(out: dict[str, Any]) -> str:
    """The text of dual.md."""
    lines = [*verdict(out), ""]
    where = f"{out['problems']} problems, {out['chains']} chains each"
    about = f"{where}; {out['level']:.0%} intervals over seeds and problems."
    lines += [about, ""]
    if out["training"]:
        lines += [f"Controls of training after {out['last']} steps, less {out['baseline']}:", ""]
        lines.append(table("control", out["training"], {k: TITLES[k] for k in TRAINING}))
    named = {"the start": out["curves"]["start"]["0"]}
    if out["training"]:
        named[f"{out['baseline']} after {out['last']} steps"] = out["curves"][out["baseline"]][str(out["last"])]
    for name, ways in named.items():
        lines += ["", f"Budgets, {name}:", "", levels(ways)]
    titles = {k: TITLES[k] for k in TEST} | {"less majority": "accuracy less majority at equal tokens"}
    where = f"{out['baseline']} after {out['last']} steps" if out["training"] else "the policy"
    lines += ["", f"Budgets at test time less the plain response, {where}:", ""]
    lines.append(table("budget", out["test"], titles, tokens=True))
    if out["test at the start"]:
        lines += ["", "The same at the start:", "", table("budget", out["test at the start"], titles, tokens=True)]
    if out["correlation"]:
        first = next(iter(out["correlation"].values()))
        lines += [
            "",
            f"Correlation with the entropy in training, {first['n']} checkpoints of {first['runs']} runs:",
            "",
        ]
        rows = ([TITLES[k], span(v["all"]), span(v["within"])] for k, v in out["correlation"].items())
        lines.append(tables.table(["", "over checkpoints", "within runs"], rows, "lr"))
    lines += ["", "Coverage and dilution, accuracy against the spread of answers:", ""]
    rows = []
    for name, row in out["dilution"].items():
        fit, best = row.get("fit"), row.get("best")
        cells = [name, span(best) if best else ""]
        cells += ["{:.3g} to {:.3g}".format(*row["spreads"])]
        cells += [f"{fit['r2']:.2f}", f"{fit['line_r2']:.2f}"] if fit else ["", ""]
        rows.append([*cells, f"not identified: {row['why']}" if row["why"] else "identified"])
    lines.append(tables.table(["points", "best spread", "measured", "R²", "of a line", ""], rows, "lrrrrl"))
    return "\n".join(lines) + "\n"


def verdict(out: dict[str, Any]) -> list[str]:
    """Sentences that follow from the intervals alone."""
    key = f"wait {out['rounds']}"
    inflation = out["test"][key]["surprise"]
    lines = [f"Forcing answers on for {out['rounds']} rounds {_moved(inflation, 'the entropy of answers')}."]
    again = out["test"][f"repeat {out['rounds']}"]["surprise"]
    lines.append(f"A trace as long that only repeats the first response {_moved(again, 'it')}.")
    trained = out["training"].get(f"{out['baseline']} less the start")
    if trained:
        lines.insert(0, f"Training {_moved(trained['entropy'], 'the token entropy')}.")
        lines.append(f"Training {_moved(trained['inflation'], 'the inflation of answer entropy')}.")
        for control, row in out["training"].items():
            if row is not trained:
                one, two = _moved(row["entropy"], "token entropy"), _moved(row["inflation"], "inflation")
                lines.append(f"{control}, less {out['baseline']}: {one}; {two}.")
    if "inflation" in out["correlation"]:
        over, within = (out["correlation"]["inflation"][k] for k in ("all", "within"))
        signs = {(r[1] > 0) - (r[2] < 0) for r in (over, within)}
        seen = {
            0: "no relation of the two is seen",
            1: "they rise and fall together",
            -1: "one rises as the other falls",
        }
        what = seen[signs.pop()] if len(signs) == 1 else "whether they are related depends on which is asked"
        lines.append(
            f"Correlation of training entropy and inflation: over checkpoints {span(over)}, within runs, where time "
            f"changes both, {span(within)}: {what}."
        )
    return lines


def levels(ways: dict[str, Any]) -> str:
    """A table of means at each budget."""
    keys = ("accuracy", "pass@8", "surprise", "answer_entropy", "between", "within", "token_entropy")
    titles = [TITLES.get(k, "variance between problems") for k in keys]
    rows = []
    for way, budgets in ways.items():
        for budget, row in budgets.items():
            cells = [f"{way} {budget}", f"{row['tokens']:.0f}", *(f"{row[k]:.3f}" if k in row else "" for k in keys)]
            rows.append(cells)
    return tables.table(["budget", "tokens a problem", *titles], rows, "lr")


def table(kind: str, rows: dict[str, Any], titles: dict[str, str], *, tokens: bool = False) -> str:
    """A table of differences; what a row does not have stays empty."""
    heads = [kind, *(["tokens a problem"] if tokens else []), *titles.values()]
    lines = []
    for name, row in rows.items():
        lines.append([name, *([f"{row['tokens']:.0f}"] if tokens else []), *(span(row.get(key)) for key in titles)])
    return tables.table(heads, lines, "lr")


def _moved(d: dict[str, Any], what: str) -> str:
    how = "raises" if d["low"] > 0 else "lowers" if d["high"] < 0 else "does not measurably change"
    return f"{how} {what}, {span(d)}"
