"""From the ways' attempts to elicit.json and elicit.md: pass@k, crossovers, gaps, recovery, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from entropy_rl import tables
from entropy_rl.evaluate import crossover, efficiency_gap, pass_at_k
from entropy_rl.laws import paired
from entropy_rl.methods.elicit.activations import gap_recovery
from experiments.studies.dual_matrix import at_equal_tokens

NAMES = {
    "base": "the base",
    "again": "the base, sampled again",
    "vector": "steering vector",
    "sae": "autoencoder feature",
    "random": "feature at random",
    "cot": "CoT-decoding",
    "cft": "critique fine-tuning, one problem",
    "rl": "RLVR (GRPO)",
}
Parts = dict[str, list[dict[str, Any]]]


def table(parts: Parts, problems: list[dict[str, Any]], *, interval: float, draws: int, seed: int) -> dict[str, Any]:
    """All that elicit.json holds.

    Args:
      parts: for each way what its file holds, a seed after the other (experiments/elicit.py).
      problems: `id` and `level` of each test problem.
      interval: level of the intervals, over seeds and problems (laws/paired.py).
      draws, seed: of the bootstrap.
    """
    n = parts["base"][0]["samples"]
    ks = [1 << i for i in range(n.bit_length()) if 1 << i <= n]

    def less(x, y):
        d = paired.difference(x, y, np.random.default_rng((seed, 2)), level=interval, draws=draws)
        return [d.value, d.low, d.high]

    base = {k: _curve(parts["base"], k) for k in ks}  # [S, P] each
    out: dict[str, Any] = {"problems": len(problems), "levels": [p["level"] for p in problems], "samples": n}
    out |= {"seeds": len(parts["base"]), "interval": interval, "ks": ks, "ways": {}}
    for way, runs in parts.items():
        if way == "cot":
            continue
        curve = {k: _curve(runs, k) for k in ks}
        missing = [_missing(run, first, problems) for run, first in zip(runs, parts["base"])]
        out["ways"][way] = {
            "pass": {str(k): float(curve[k].mean()) for k in ks},
            "less base": {str(k): less(curve[k], base[k]) for k in (1, min(8, n), n)} if way != "base" else {},
            "crossover": _crossovers(ks, [base[k] for k in ks], [curve[k] for k in ks]) if way != "base" else None,
            "gap": efficiency_gap(base[n].mean(), curve[1].mean()),
            "new": missing if way != "base" else None,
            "distinct": float(np.mean([run["distinct"] for run in runs])),
            "entropy": float(np.mean([run["entropy"] for run in runs])),
            "length": float(np.mean([run["length"] for run in runs])),
            "steered": float(np.mean([run["steered"] for run in runs])),
            "choices": [run["choice"] for run in runs] if "choice" in runs[0] else None,
        }
    if "cot" in parts:
        out["cot"] = _cot(parts, base, less)
    out["recovery"] = _recovery(parts, less)
    out["autoencoders"] = [run["quality"] for run in parts["sae"]]
    out["features"] = [run["best"] for run in [*parts["sae"], *parts["random"]]]
    return out


def _curve(runs: list[dict[str, Any]], k: int) -> np.ndarray:
    """f[S, P], pass@k of each problem."""
    return np.stack([pass_at_k(run["samples"], np.array(run["right"]), k) for run in runs])


def _crossovers(ks, base, method) -> dict[str, Any]:
    """k* of the mean curves, and of each seed's; infinity is written as null."""
    mean = crossover(ks, [b.mean() for b in base], [m.mean() for m in method])
    seeds = [crossover(ks, [b[s].mean() for b in base], [m[s].mean() for m in method]) for s in range(len(base[0]))]
    return {"mean": _finite(mean), "seeds": [_finite(k) for k in seeds]}


def _finite(k: float) -> float | None:
    return k if np.isfinite(k) else None


def _missing(run, first, problems) -> list[str]:
    """Problems that are solved at least once and that no sample of the base solved."""
    return [p["id"] for p, r, b in zip(problems, run["right"], first["right"]) if r and not b]


def _cot(parts: Parts, base: dict[int, np.ndarray], less) -> dict[str, Any]:
    """CoT-decoding beside greedy decoding and votes of the base's samples at as many tokens."""
    out: dict[str, Any] = {"choice": parts["cot"][0]["choice"], "tried": parts["cot"][0]["tried"], "rows": []}
    for span in parts["cot"][0]["spans"]:
        of = [run["spans"][span] for run in parts["cot"]]
        ways = [] if out["rows"] else [("greedy", [x["greedy"] for x in of])]
        ways += [(f"{mode}, {span}", [x["modes"][mode] for x in of]) for mode in of[0]["modes"]]
        for name, seeds in ways:
            right = np.array(seeds, float)
            tokens = float(np.mean([x["tokens"] for x in of]))
            votes = [at_equal_tokens(first["votes"], tokens, "right") for first in parts["base"]]
            row = {"way": name, "pass@1": float(np.mean(right[0])), "less base": less(right, base[1])}
            row["recovery"] = gap_recovery(row["pass@1"], float(base[1].mean()), float(_curve(parts["rl"], 1).mean()))
            if name != "greedy" and all(v is not None for v in votes):
                row |= {"tokens": tokens, "vote": float(np.mean(votes)), "less vote": less(right, np.array(votes))}
            out["rows"].append(row)
    spans = parts["cot"][0]["spans"]
    branches = np.array(spans[next(iter(spans))]["branches"])
    out["coverage"] = [float(branches[:, :j].any(axis=1).mean()) for j in range(1, branches.shape[1] + 1)]
    # its curve: the chosen answer, then whether one of the first k branches is right
    chosen = next(row for row in out["rows"] if row["way"] == f"{out['choice']['mode']}, {out['choice']['span']}")
    first = parts["base"]
    n = first[0]["samples"]
    ks = [k for k in range(1, len(out["coverage"]) + 1) if k <= n]
    curve = [chosen["pass@1"], *out["coverage"][1 : len(ks)]]
    k = crossover(ks, [_curve(first, k).mean() for k in ks], curve)
    out["crossover"] = _finite(k)
    out["gap"] = efficiency_gap(base[max(base)].mean(), chosen["pass@1"])
    out["chosen"] = chosen
    out["new"] = [sum(1 for b, r in zip(branches, run["right"]) if b.any() and not r) for run in first]
    return out


def _recovery(parts: Parts, less) -> list[dict[str, Any]]:
    """For each way to say which tokens are steered: the share of them, and how much of the gap to RL comes back."""
    base, target = (_curve(parts[way], 1) for way in ("base", "rl"))
    rows = []
    for place in range(len(parts["vector"][0]["shares"])):
        runs = [run["shares"][place] for run in parts["vector"]]
        right = np.stack([np.array(run["test"]["right"]) / run["test"]["samples"] for run in runs])
        each = [gap_recovery(*(float(x.mean()) for x in xs)) for xs in zip(right, base, target)]
        rows.append(
            {
                "source": runs[0]["source"],
                "where": runs[0]["where"],
                "steered": float(np.mean([run["test"]["steered"] for run in runs])),
                "pass@1": float(right.mean()),
                "less base": less(right, base),
                "recovery": gap_recovery(float(right.mean()), float(base.mean()), float(target.mean())),
                "recovery of seeds": each,
                "choices": [[run["layer"], run["strength"]] for run in runs],
            }
        )
    return sorted(rows, key=lambda row: (row["source"], row["steered"]))


def _k(k: float | None, most: int) -> str:
    return f"> {most}" if k is None else f"{k:.1f}"


def page(out: dict[str, Any]) -> str:
    """elicit.md."""
    n, span = out["samples"], tables.span
    lines = [
        f"{out['problems']} held-out problems, {n} samples each, {out['seeds']} seeds; {out['interval']:.0%} intervals "
        "over seeds and problems.",
        "",
    ]
    less, most = "less the base", f"pass@{n}"
    head = ["way", "pass@1", less, most, less, "k*", "gap", f"solved, not by the base's {n}"]
    rows = []
    for way, row in out["ways"].items():
        cells = [NAMES[way], f"{row['pass']['1']:.3f}"]
        new = "" if row["new"] is None else " ".join(str(len(ids)) for ids in row["new"])
        for k in ("1", str(n)):
            cells += [] if k == "1" else [f"{row['pass'][k]:.3f}"]
            cells.append(span(row["less base"][k]) if row["less base"] else "")
        cells += ["" if row["crossover"] is None else _k(row["crossover"]["mean"], n), f"{row['gap']:.3f}", new]
        rows.append(cells)
    if "cot" in out:
        c = out["cot"]
        k = len(c["coverage"])
        cells = [
            f"{NAMES['cot']} ({c['chosen']['way']})",
            f"{c['chosen']['pass@1']:.3f}",
            span(c["chosen"]["less base"]),
        ]
        cross = _k(c["crossover"], k)
        cells += [
            f"{c['coverage'][-1]:.3f} (of {k} branches)",
            "",
            cross,
            f"{c['gap']:.3f}",
            " ".join(map(str, c["new"])),
        ]
        rows.append(cells)
    lines.append(tables.table(head, rows))
    if "cot" in out:
        rows = []
        for row in out["cot"]["rows"]:
            cells = [row["way"], f"{row['pass@1']:.3f}", span(row["less base"]), f"{row['recovery']:+.2f}"]
            vote = [f"{row['vote']:.3f}", span(row["less vote"])] if "vote" in row else ["", ""]
            rows.append([*cells, *vote])
        vote = ("a vote at as many tokens", "less the vote")
        head = ["CoT-decoding", "pass@1", "less one sample", "gap recovery", *vote]
        lines += ["", tables.table(head, rows)]
    rows = []
    for row in out["recovery"]:
        each = ", ".join(f"{x:+.2f}" for x in row["recovery of seeds"])
        cells = [
            f"{row['source']}, {row['where']}",
            f"{row['steered']:.3f}",
            f"{row['pass@1']:.3f}",
            span(row["less base"]),
        ]
        rows.append([*cells, f"{row['recovery']:+.2f} ({each})"])
    head = ["vector, where", "share of tokens", "pass@1", less, "gap recovery (seeds)"]
    lines += ["", tables.table(head, rows)]
    lines += ["", "Autoencoders, a seed after the other, a layer after the other (explained, dead, active):"]
    for layers in out["autoencoders"]:
        lines.append("; ".join(f"{q['explained']:.3f}, {q['dead']:.3f}, {q['active']:.1f}" for q in layers))
    lines += ["", "Best feature by each way to look for them, on validation problems:"]
    for best in out["features"]:
        lines += [", ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in t.items()) for t in best]
    return "\n".join(lines) + "\n"
