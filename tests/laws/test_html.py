import os
import re
from pathlib import Path

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.laws import html
from entropy_rl.laws.analyse import analyse
from tests.laws import browser

H = np.geomspace(0.5, 0.03, 40)
R = 2 - 1.2 * np.exp(H) + 0.01 * np.random.default_rng(0).standard_normal(40)
STEP = np.arange(40.0)


def law():
    about = {"name": "a <b>", "entropy": "actor/entropy", "estimator": "full distribution", "score": "val/accuracy"}
    about |= {"unit": "fraction", "n": 40, "step": {"min": 0, "max": 39}, "warnings": ["TRAINING REWARD"]}
    more = {"sources": ["x"], "skipped": [], "scaling": None, "forecast": {}, "ahead": None, "runs": [about]}
    more["alarms"] = [{"name": "plateau", "run": "a <b>", "step": 39, "evidence": "it stands", "knobs": "a longer run"}]
    more["errata"] = [{"trainer": "verl", "versions": "old", "defect": "wrong order", "size": "", "source": ""}]
    return analyse(STEP, H, R, draws=200) | more


def run():
    return {"name": "a <b>", "step": STEP, "H": H, "R": R, "entropy_step": STEP, "entropy_H": H}


def test_one_page_without_network():
    pytest.importorskip("bokeh")
    page = html.page(law(), [run()], score="val/accuracy")
    assert len(page) < 1.5e6
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=", re.sub(r"(?s)<script.*?</script>", "", page))
    assert not re.search(r"<script[^>]+src=", page.partition("</style>")[2][:300])
    text = re.sub(r"(?s)<script.*?</script>|<style.*?</style>", "", page)
    for said in ("TRAINING REWARD", "ALARM plateau in a &lt;b&gt;", "full distribution", "wrong order", "By exp, "):
        assert said in text
    assert "a <b>" not in text and text.count("class=\'chart\'") == 3
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page
    assert "@what @y{0.0000}" in page  # what hovering shows


def test_without_bokeh(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "bokeh.embed", None)
    with pytest.raises(InputError, match="pip install bokeh"):
        html.page(law(), [run()], score="s")


@pytest.fixture
def page(tmp_path):
    made = browser.Page(tmp_path / "profile")
    yield made
    made.close()


# Texts of what hovers, which are in shadow trees.
TOOLTIPS = """(() => {
  const found = [];
  const walk = (root) => root.querySelectorAll('*').forEach((one) => {
    if (!one.shadowRoot) return;
    const text = [...one.shadowRoot.querySelectorAll('.bk-tooltip-content')].map((part) => part.innerText).join(' ');
    if (text) found.push(text.split(/\\s+/).join(' '));
    walk(one.shadowRoot);
  });
  walk(document);
  return found;
})()"""
# Where a point of a chart is drawn, in pixels of the window: by its numbers.
PLACE = """(() => {
  const view = Bokeh.index.roots[CHART];
  const at = view.el.getBoundingClientRect();
  return [at.x + view.frame.x_scale.compute(X), at.y + view.frame.y_scale.compute(Y)];
})()"""


@pytest.mark.slow
@pytest.mark.skipif(browser.FOUND is None, reason="needs a Chromium: apt-get install chromium")
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (390, False)])
def test_in_a_browser(page, tmp_path, width, dark):
    """No error, nothing fetched, charts as wide as the window, hover has the numbers. SHOTS=DIR keeps pictures."""
    pytest.importorskip("bokeh")
    path = tmp_path / "law.html"
    path.write_text(html.page(law(), [run()], score="val/accuracy"))
    page.open(path, width, dark=dark)
    page.until("Bokeh.documents.length > 0 && Bokeh.documents[0].is_idle")
    assert page.said == [] and [url for url in page.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert page.run("document.documentElement.scrollWidth") <= width
    charts = page.run("[...document.querySelectorAll('.chart')].map((one) => one.getBoundingClientRect().width)")
    assert len(charts) == 3 and all(0.8 * min(width, 1120) < w <= width for w in charts)
    paper = page.run("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(22, 22, 22)" if dark else "rgb(255, 255, 255)")
    page.run("document.querySelectorAll('.chart')[1].scrollIntoView({block: 'center'})")
    place = PLACE.replace("CHART", "1").replace("X", str(H[20])).replace("Y", str(R[20]))
    x, y = page.run(place)
    page.move(x - 3, y - 3)
    page.move(x, y)
    (text,) = page.until(f"(() => {{ const found = {TOOLTIPS}; return found.length && found; }})()")  # one, on its own
    assert f"run: a <b> step: 20 entropy: {H[20]:.4f} score: {R[20]:.4f} by exp: 0.6" in text
    assert "by linear: 0.6" in text
    if shots := os.environ.get("SHOTS"):
        page.screenshot(Path(shots) / f"law-{width}{'-dark' if dark else ''}.png")
    assert page.said == []
