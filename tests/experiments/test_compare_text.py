"""The table of RLP: differences by hand, and what is missing is named."""

import json

import pytest

from entropy_rl import files
from entropy_rl.errors import InputError
from experiments import compare
from experiments.lib import launch
from experiments.studies import compare_text


def config(**changes):
    c = launch.load_config("configs/compare.py:text")
    c.draws = 200
    c.update(changes)
    return c


def made(folder, ce_with, steps=(0, 2)):
    """A finished run whose two documents have these cross-entropies with a thought, and 2 without."""
    folder.mkdir(parents=True)
    seed = int(folder.suffix[1:] or 0)
    (folder / "config.json").write_text(json.dumps({"config": {"seed": seed, "thoughts": 4}}))
    files.rewrite(folder / "metrics.jsonl", [{"step": 1, "text/tokens": 1e6}])
    values = {name: 0.5 for name in compare_text.COURSE}
    rows = [
        {"step": s, "task": "worked", "metric": k, "value": v + s, "n": 2} for s in steps for k, v in values.items()
    ]
    files.rewrite(folder / "evals.jsonl", rows)
    ends = [{"level": 3, "ce_without": 2.0, "ce_with": x, "says": 1.0} for x in ce_with]
    files.rewrite(folder / "problems.jsonl", [{"step": 2, "id": f"worked/test/{i}"} | e for i, e in enumerate(ends)])


def test_differences_and_courses_by_hand(tmp_path, capsys):
    """CE with a thought 1 and 2 against the base's 2 and 4 in one seed, 0 and 2 in the other: -1.5 and -2."""
    made(tmp_path / "runs" / "base", (2.0, 4.0))
    made(tmp_path / "runs" / "rlp_text.0", (1.0, 2.0))
    made(tmp_path / "runs" / "rlp_text.1", (0.0, 2.0), steps=(0, 1, 2))
    (tmp_path / "runs" / "cpt_text.0").mkdir()
    table = compare.run(config(runs=str(tmp_path / "runs")), tmp_path / "out")
    arm = table["arms"]["rlp"]
    assert arm["seeds"] == 2 and list(arm["course"]) == [0, 2] and arm["course"][2]["says"] == 2.5
    with_thought, gain = arm["ends"]["ce_with"], arm["ends"]["reduction"]
    assert with_thought["mean"] == 1.25 and with_thought["difference"] == -1.75
    assert with_thought["low"] < -1.75 < with_thought["high"]
    assert gain["difference"] == 1.75 and gain["mean"] == 0.75 and arm["ends"]["ce_without"]["high"] == 0
    assert table["notes"] == ["cpt_text.0: not finished"]
    text = (tmp_path / "out" / "rlp.md").read_text()
    assert "| rlp | 2 | 1.00 M | +0.000 [+0.000, +0.000] | -1.750 [" in text and text in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "rlp.json").read_text())["arms"]["rlp"]["seeds"] == 2


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(InputError, match="no runs given"):
        compare.run(config(), tmp_path / "out")
    (tmp_path / "cpt_text.0").mkdir()
    with pytest.raises(InputError, match=r"run of baseline 'base': there are none \(base: not finished\)"):
        compare.run(config(runs=str(tmp_path)), tmp_path / "out")
    made(tmp_path / "base", (2.0, 4.0))
    with pytest.raises(InputError, match="no finished run in a folder <arm>_text.<seed>"):
        compare.run(config(runs=str(tmp_path)), tmp_path / "out")
    made(tmp_path / "rlp_text.0", (1.0, 2.0, 3.0))
    with pytest.raises(InputError, match="no runs in .*: it needs folders with names such as rlp_text.0 and base"):
        compare.run(config(runs=str(tmp_path / "base")), tmp_path / "out")
    with pytest.raises(InputError, match="rlp was evaluated on other documents than base"):
        compare.run(config(runs=str(tmp_path)), tmp_path / "out")
