import re

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.laws import html
from entropy_rl.laws.analyse import analyse

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
