"""experiments/quickstart.py: the three parts, the table, and what happens the second time."""

import json
import re

import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.errors import InputError
from experiments import quickstart, train_rl, train_sft
from experiments.lib import launch


def get(**changes):
    config = launch.load_config("configs/quickstart.py:smoke")
    config.update_from_flattened_dict(changes)
    return config


def texts(folder):
    """What the files hold; not the lock, not the time."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The workdir of a smoke run."""
    folder = tmp_path_factory.mktemp("quickstart")
    quickstart.run(get(), str(folder))
    return folder


def test_what_it_writes(done):
    law = json.loads((done / "law" / "law.json").read_text())
    assert law["logs"] == str(done / "rl") and {"exp", "linear"} <= set(law["curves"]) and law["verdict"]
    assert (done / "law" / "law.png").read_bytes().startswith(b"\x89PNG")
    assert [row["step"] for row in metrics.read(done / "rl").metrics] == list(range(10))
    assert len(metrics.read(done / "sft").metrics) == 1
    assert json.loads((done / "rl" / "config.json").read_text())["config"]["init"] == str(done / "sft")


def test_started_again_it_changes_nothing_and_prints_the_table(done, capsys):
    """Given another way, the folder is the same one. Mutation: paths in a config that depend on how it was given."""
    before = texts(done)
    quickstart.run(get(), str(done / "rl" / ".."))
    assert texts(done) == before
    out = capsys.readouterr().out
    for line in (r"1/3 imitation", r"2/3 RL", r"3/3 the law", r"\s+first\s+last",
                 r"policy entropy, .*(\s+\d\.\d{3}){2}",
                 r"pass@1 \(held out\)(\s+\d\.\d{3}){2}", r"pass@2 \(held out\)(\s+\d\.\d{3}){2}",
                 r"distinct among right solutions \(held out\)(\s+(\d\.\d{3}|nan)){2}",
                 r"R = -a exp\(H\) \+ b    a = .*   b = .* \(90% intervals\)", r"  ceiling b - a .* R2 = ",
                 r"R = -a H \+ b         ceiling .*", r"figure  .*law\.png", r"logs    .*metrics\.jsonl"):  # fmt: skip
        assert re.search(f"^{line}", out, re.MULTILINE), line


def test_the_table_by_hand(tmp_path):
    """First and last of what the run logged. Mutation: the training reward instead of the held-out one."""
    with metrics.Writer(tmp_path) as writer:
        for step, h in enumerate((1.5, 1.0, 0.25)):
            writer.scalars(step, {"policy/entropy_sequence": h, "policy/entropy": 9.0, "rollout/reward": 0.9})
            values = {"pass@1": 0.1 + step / 10, "pass@8": 0.5, "pass@8/level3": 0.7, "distinct": np.nan}
            writer.evals(step, "countdown", values, n=4)
    span = {k: [0.1, 0.2] for k in ("a", "b", "ceiling")} | {"level": 0.9}
    curve = {"a": 0.12, "b": 0.75, "r2": 0.98, "heldout_rmse": 0.01, "ceiling": 0.55}
    law = {"curves": {"exp": curve, "linear": curve}, "interval": span, "ceiling": 0.63, "verdict": "a tie"}
    lines = quickstart.table(tmp_path, law).splitlines()
    assert [line.split()[-2:] for line in lines[:5]] == [
        ["first", "last"], ["1.500", "0.250"], ["0.100", "0.300"], ["0.500", "0.500"], ["nan", "nan"],
    ]  # fmt: skip
    assert lines[3].startswith("pass@8 (held out)") and lines[-1] == "a tie"
    assert "a = 0.120 [0.100, 0.200]   b = 0.750" in lines[6] and "ceiling b - a      0.630" in lines[7]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"sft.batch": 0}, r"^in config\.sft: config\.batch=0"),
        ({"rl.updates": 3}, r"^in config\.rl: config\.updates=3 does not divide"),
        ({"rl.loss.name": "pppo"}, "unknown policy loss 'pppo'"),
        ({"rl.model.name": "embedded"}, r"config\.sft\.model is not config\.rl\.model: make them equal"),
        ({"rl.eval.ks": (2,)}, r"config\.rl\.eval\.ks=\(2,\): the law is fitted to pass@1, so give 1 too"),
        ({"rl.steps": 6}, r"config\.rl\.steps=6 and rl\.eval\.every=1 give 7 points .* needs law\.min_points=8"),
        ({"rl.eval.every": 2}, "give 6 points"),
        ({"seed": -1}, "seed=-1"),
        ({"levels": (2,)}, r"countdown levels=\(2,\)"),
    ],
)
def test_a_bad_value_in_any_part_stops_it_before_the_first(tmp_path, monkeypatch, changes, message):
    """Mutation: values of the second part looked at when the first one is trained."""
    monkeypatch.setattr(train_sft, "run", None)
    with pytest.raises(InputError, match=message) as e:
        quickstart.run(get(**changes), str(tmp_path / "run"))
    assert "\n" not in str(e.value)
    assert not (tmp_path / "run").exists()


def test_what_the_parts_get(tmp_path, monkeypatch):
    """Seed and levels reach all of them; the caller's config stays as it is."""
    seen = {}
    monkeypatch.setattr(train_sft, "run", lambda config, workdir: seen.update(sft=config))
    monkeypatch.setattr(train_rl, "run", lambda config, workdir: seen.update(rl=config))
    monkeypatch.setattr(quickstart.fit_laws, "fit", lambda config, workdir: seen.update(law=config))
    monkeypatch.setattr(quickstart, "table", lambda rl, law: "")
    config = get(seed=5, levels=(3, 4))
    before = config.to_json()
    quickstart.run(config, str(tmp_path))
    assert config.to_json() == before and config.rl.get("init") is None
    assert {part: c.seed for part, c in seen.items()} == {"sft": 5, "rl": 5, "law": 5}
    assert seen["sft"].task.args.levels == seen["rl"].task.args.levels == (3, 4)
    assert (seen["rl"].init, seen["law"].logs) == (str(tmp_path / "sft"), str(tmp_path / "rl"))


def test_the_law_may_be_fitted_again_with_other_settings(done, capsys):
    """Nothing is trained for it. Mutation: `law` compared with the stored config."""
    quickstart.run(get(**{"law.level": 0.5}), str(done))
    assert "(50% intervals)" in capsys.readouterr().out
    with pytest.raises(InputError, match="belongs to another config: rl.entropy_coef"):
        quickstart.run(get(**{"rl.entropy_coef.args.value": 0.5}), str(done))
