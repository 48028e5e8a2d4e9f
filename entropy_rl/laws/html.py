"""law.html: one page with curves to hover over and all that law.md says, by Bokeh, whose script is in it: no network.

About 1.4 MB, nearly all of it the script; light or dark as the reader's system is; as wide as the window, on a phone
too.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entropy_rl.errors import InputError
from entropy_rl.laws import report
from entropy_rl.laws.curves import CURVES

MOST = 2000  # points of a run that are drawn
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")
TOOLS = "pan,wheel_zoom,box_zoom,reset,save"
STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #ffffff; --line: #cccccc; --bad: #b00020; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #161616; --line: #444444; --bad: #ff8a80; }
  .chart { filter: invert(0.91) hue-rotate(180deg); }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 70rem;
  margin: 0 auto; padding: 0 1rem 3rem; }
pre, table { display: block; overflow-x: auto; font-size: 0.85rem; }
td, th { padding: 0.15rem 0.6rem; border-bottom: 1px solid var(--line); text-align: left; }
.alarm, .warning { border-left: 4px solid var(--bad); padding-left: 0.8rem; overflow-wrap: anywhere; }
"""


def page(law: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], *, score: str) -> str:
    """The page.

    Args:
      law: what is in law.json.
      runs: of each run that is drawn its name, and arrays step, H, R of the points and entropy_step, entropy_H.
      score: label of the score, with its unit.

    Raises:
      InputError: Bokeh is not installed.
    """
    try:
        from bokeh.embed import components
        from bokeh.resources import Resources
    except ImportError:
        raise InputError("law.html needs Bokeh: pip install bokeh, or leave --config.html out") from None
    curves = list(dict.fromkeys(["exp", "linear", *filter(None, law["best"].values())]))[:3]
    figures = {
        "steps": _over_steps(runs, score),
        "law": _against_entropy(law, runs, curves, score),
        "left": _residuals(law, runs, curves),
    }
    script, places = components(figures)
    library = Resources(mode="inline", components=["bokeh"], minified=True).render_js()
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Reward against entropy</title><style>{STYLE}</style>{library}</head><body>",
        "<h1>Reward against entropy</h1>",
        *(_box("warning", f"{one['name']}: {text}") for one in law["runs"] for text in one["warnings"]),
        *(_box("alarm", line) for line in report.alarms(law).splitlines()),
        f"<p><strong>{_text(law['verdict'][0].upper() + law['verdict'][1:])}.</strong></p>",
        f"<p>{_text(report.law_line(law))}</p>",
        _columns(law),
        *(f"<h2>{title}</h2><div class='chart'>{places[key]}</div>" for key, title in TITLES.items()),
        "<h2>Curves</h2>",
        f"<pre>{_text(report.table(law))}</pre>",
        *(f"<pre>{_text(text)}</pre>" for text in (report.runs(law), report.groups(law)) if text),
        _rest(law),
        script,
        "</body></html>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


TITLES = {"steps": "Over the run", "law": "Score against entropy", "left": "What the curves leave over"}


def _text(text: str) -> str:
    return html.escape(str(text), quote=False)


def _box(kind: str, text: str) -> str:
    return f'<p class="{kind}">{_text(text)}</p>'


def _columns(law: Mapping[str, Any]) -> str:
    """The table of what was read."""
    heads = ["run", "entropy", "estimator", "score", "unit", "points", "steps"]
    rows = [
        [one["name"], one["entropy"], one["estimator"], one["score"], one["unit"], one["n"],
         f"{one['step']['min']:g} to {one['step']['max']:g}"]
        for one in law["runs"]
    ]  # fmt: skip
    cells = ["".join(f"<th>{head}</th>" for head in heads)]
    cells += ["".join(f"<td>{_text(cell)}</td>" for cell in row) for row in rows]
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def _rest(law: Mapping[str, Any]) -> str:
    """What is left, forecasts and errata, as law.md has them."""
    kept = [title for title in ("What is left", "Forecast", "What is known of this entropy")]
    sections = re.split(r"^## ", report.page(law), flags=re.M)[1:]
    parts = []
    for section in sections:
        title, _, body = section.partition("\n")
        if title in kept:
            lines = [line.removeprefix("- ") for line in body.splitlines() if line.strip()]
            parts.append(f"<h2>{_text(title)}</h2>" + "".join(f"<p>{_text(line)}</p>" for line in lines))
    return "\n".join(parts)


def _figure(x: str, y: str, tips: list[tuple[str, str]]) -> Any:
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    made = figure(height=380, sizing_mode="stretch_width", x_axis_label=x, y_axis_label=y, tools=TOOLS)
    # of points only, which `_points` adds: the curves run through them, and would hide what hovers under their own
    made.add_tools(HoverTool(tooltips=tips, renderers=[]))
    made.toolbar.logo = None
    made.toolbar.active_scroll = None
    return made


def _points(made: Any, *args: Any, **how: Any) -> Any:
    """A scatter whose points show their numbers."""
    drawn = made.scatter(*args, **how)
    made.hover.renderers = [*made.hover.renderers, drawn]
    return drawn


def _thin(*columns: NDArray) -> list[NDArray]:
    """At most MOST places of each, evenly spread, the last among them."""
    n = len(columns[0])
    places = np.unique(np.linspace(0, n - 1, min(n, MOST)).astype(int))
    return [np.asarray(column, float)[places] for column in columns]


def _over_steps(runs: Sequence[Mapping[str, Any]], score: str) -> Any:
    from bokeh.models import DataRange1d, LinearAxis

    made = _figure("step", "entropy (nats per token)", [("run", "@run"), ("step", "@x"), ("", "@what @y{0.0000}")])
    made.extra_y_ranges = {"score": DataRange1d()}
    made.add_layout(LinearAxis(y_range_name="score", axis_label=score), "right")
    lines = {"default": [], "score": []}
    for run in runs:
        for name, x, y in (("default", "entropy_step", "entropy_H"), ("score", "step", "R")):
            what = "entropy" if name == "default" else "score"
            x_, y_ = _thin(run[x], run[y])
            source = {"x": x_, "y": y_, "run": [run["name"]] * len(x_), "what": [what] * len(x_)}
            colour = COLOURS[1] if name == "default" else COLOURS[0]
            lines[name].append(made.line("x", "y", source=source, color=colour, alpha=0.6, y_range_name=name))
            lines[name].append(_points(made, "x", "y", source=source, color=colour, size=5, y_range_name=name,
                                       legend_label=what))  # fmt: skip
    made.y_range.renderers = lines["default"]
    made.extra_y_ranges["score"].renderers = lines["score"]
    made.legend.click_policy = "hide"
    return made


def _predicted(law: Mapping[str, Any], name: str, H: NDArray) -> NDArray:
    curve = law["curves"][name]
    with np.errstate(divide="ignore", invalid="ignore"):
        return CURVES[name].predict(H, curve["a"], curve["b"], *curve["shape"].values())


def _against_entropy(law: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], curves: list[str], score: str) -> Any:
    tips = [("run", "@run"), ("step", "@step"), ("entropy", "@x{0.0000}"), ("score", "@y{0.0000}")]
    by_entropy = [name for name in curves if CURVES[name].x == "H"]
    tips += [(f"by {name}", f"@{name}{{0.0000}}") for name in by_entropy]
    made = _figure("policy entropy H (nats per token)", score, tips)
    for run in runs:
        step, H, R = _thin(run["step"], run["H"], run["R"])
        source = {"x": H, "y": R, "step": step, "run": [run["name"]] * len(H)}
        source |= {name: _predicted(law, name, H) for name in by_entropy}
        _points(made, "x", "y", source=source, color="#555555", alpha=0.7, size=5)
    most = max(float(np.max(run["H"])) for run in runs)
    for name, colour in zip(curves, COLOURS):
        grid = np.linspace(0, 1.03 * most, 200)
        y = _predicted(law, name, grid)
        grid, y = grid[np.isfinite(y)], y[np.isfinite(y)]
        label = f"{name}, R2 {law['curves'][name]['r2']:.3f}"
        made.line(grid, y, color=colour, line_width=2, legend_label=label)
        if "band" in law["curves"][name]:
            band = law["curves"][name]["band"]
            made.varea(x=band["x"], y1=band["low"], y2=band["high"], color=colour, alpha=0.15)
    low, high = law["interval"]["ceiling"]
    made.segment(x0=[0], y0=[low], x1=[0], y1=[high], color=COLOURS[0], line_width=4)
    at = {"x": [0], "y": [law["ceiling"]], "step": ["ceiling"], "run": [f"ceiling [{low:.4g}, {high:.4g}]"]}
    at |= {name: _predicted(law, name, np.zeros(1)) for name in by_entropy}
    _points(made, "x", "y", source=at, color=COLOURS[0], size=11, marker="diamond", legend_label="ceiling of exp")
    made.legend.click_policy = "hide"
    return made


def _residuals(law: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], curves: list[str]) -> Any:
    made = _figure("step", "score less curve", [("run", "@run"), ("step", "@x"), ("left", "@y{0.0000}")])
    for name, colour in zip(curves, COLOURS):
        if CURVES[name].x != "H":
            continue
        for run in runs:
            step, H, R = _thin(run["step"], run["H"], run["R"])
            left = R - _predicted(law, name, H)
            source = {"x": step, "y": left, "run": [f"{run['name']}, {name}"] * len(step)}
            _points(made, "x", "y", source=source, color=colour, alpha=0.7, size=5, legend_label=name)
    made.legend.click_policy = "hide"
    return made
