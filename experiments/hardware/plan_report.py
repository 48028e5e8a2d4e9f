"""What a plan says, as lines of text."""

from __future__ import annotations

from typing import Any

from entropy_rl import tables


def table(result: dict[str, Any]) -> str:
    """The plan of experiments/plan.py."""
    work, mesh = result["work"], result["mesh"]
    lines = [
        f"{result['model']}, {result['parameters'] / 1e9:.2f} B parameters, on {result['hardware']} ({result['chips']} "
        f"chips, {_gb(result['capacity'])} each), mesh data {mesh['data']} fsdp {mesh['fsdp']} tensor {mesh['tensor']}",
        f"a step: {work['prompts']} prompts x {work['samples']} responses, {work['prompt']} + {work['response']} "
        f"tokens, {work['microbatches']} micro-batches, {work['slots']} slots, remat {work['remat']}, attention "
        f"{work['attention']}",
        "on each chip: "
        + ", ".join(f"{name} {_gb(n)}" for name, n in {**result["state"], "cache": result["cache"]}.items()),
    ]
    head = ["", "peak", "temporary", "TFLOP", "compute s", "memory s", "wires s", "  collectives"]
    rows = []
    for name, p in result["programs"].items():
        s = p.get("seconds")  # of what runs in a step
        temporaries = "?" if p["temporaries"] is None else _gb(p["temporaries"])
        seconds = [f"{s['compute']:.3g}", f"{s['memory']:.3g}"] if s else ["", ""]
        seconds.append("" if not s else "?" if p["compile_s"] is None else f"{s['interconnect']:.3g}")
        flops = f"{p['flops'] / 1e12:.3g}" if s else ""
        rows.append([name, _gb(p["peak"]), temporaries, flops, *seconds, f"  {_collectives(p)}"])
    lines.append(tables.table(head, rows, "lrrrrrrl", [16, 9, 11, 9, 11, 10, 9, 0]))
    s = result["step_seconds"]
    bound = max(s, key=s.get)
    lines.append(
        f"a step takes {max(s.values()):.3g} s or more, bound by {bound}: {result['ticks']} decode steps and one "
        f"update (compute {s['compute']:.3g} s, memory {s['memory']:.3g} s, interconnect {s['interconnect']:.3g} s)"
    )
    lines += result["advice"] + result["said"]
    if "largest" in result:
        most = result["largest"]
        lines.append(
            f"an update fits with micro-batches of up to {most['rows_of_a_micro_batch']} rows, or responses of up to "
            f"{most['response']} tokens, of what was tried"
        )
    return "\n".join(lines)


def advice(result: dict[str, Any], cut: int) -> list[str]:
    """For each program whether it fits; if not by how much, and which knob helps against what takes the most.

    Args:
      result: of experiments/plan.py.
      cut: over how many devices rows are cut.
    """
    lines = []
    for name, p in result["programs"].items():
        over = p["peak"] - result["capacity"]
        if over <= 0:
            lines.append(f"{name}: fits, {_gb(-over)} to spare")
        else:
            lines.append(f"{name}: does not fit, {_gb(over)} too much: {_knob(name, p, result, cut)}")
    decode, state, fsdp = result["programs"]["decode step"], result["state"], result["mesh"]["fsdp"]
    seconds = decode.get("seconds", {"interconnect": 0.0, "memory": 0.0})
    copy = state.get("copy to sample with", state["parameters"]) * fsdp
    waits = fsdp > 1 and not result["work"]["gather_weights"] and seconds["interconnect"] > seconds["memory"]
    if waits and decode["peak"] + copy <= result["capacity"]:
        lines.append(
            f"decode steps are bound by the wires: with work.gather_weights=True (rollout.gather_weights of a run) the "
            f"sampler's weights take {_gb(copy)} more and are sent once a step of the run"
        )
    return lines


def _knob(name: str, p: dict[str, Any], result: dict[str, Any], cut: int) -> str:
    work, mesh = result["work"], result["mesh"]
    state = sum(result["state"].values())
    if state > 0.9 * result["capacity"]:
        more = "raise mesh.fsdp or mesh.tensor" if mesh["data"] > 1 else "take more chips, or raise mesh.tensor"
        return f"parameters and optimiser take {_gb(state)}: {more}, or give state_dtype=bfloat16"
    if name not in ("update", "score", "checkpoint"):
        if result["cache"] > 0.2 * result["capacity"]:
            return f"the cache takes {_gb(result['cache'])}: lower work.slots, or raise mesh.tensor"
        return "raise mesh.tensor, or lower work.slots"
    of_one = work["rows"] // work["microbatches"] // cut
    if of_one > 1:
        return f"{of_one} rows a device at a time: raise work.microbatches"
    if work["remat"] != "block":
        return "one row a device at a time already: give remat=block"
    if work["attention"] == "naive":
        return "one row a device at a time already: give attention=chunked"
    return "one row a device at a time already: raise mesh.tensor, or lower work.response"


def _collectives(p: dict[str, Any]) -> str:
    if p["compile_s"] is None:
        return "not compiled"
    found = ", ".join(f"{count:,} {kind} {_gb(total)}" for kind, (count, total) in sorted(p["collectives"].items()))
    return (found or "none") + ("" if p["loops_known"] else " (a loop counted once)")


def _gb(n: float) -> str:
    return f"{n / 1e9:.2f} GB" if n >= 1e8 else f"{n / 1e6:.2f} MB"
