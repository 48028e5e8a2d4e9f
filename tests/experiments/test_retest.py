"""The page and its json; folders with too little in them, or with junk."""

import json
import re

import numpy as np
import pytest

from entropy_rl.errors import InputError
from entropy_rl.logs import archive
from experiments import retest
from experiments.claims import literature
from experiments.claims.paper import READ
from experiments.claims.table import CLAIMS
from experiments.lib import launch
from tests.experiments.planted import config, curves, plant


def report(runs, out):
    settings = launch.load_config("configs/retest.py:smoke")
    settings.runs = str(runs)
    content = retest.run(settings, str(out))
    assert json.loads((out / "retest.json").read_text()) == json.loads(json.dumps(content))
    return content, (out / "retest.md").read_text()


def check_undecided(content):
    assert [claim["id"] for claim in content["claims"]] == [claim.id for claim in CLAIMS]
    for claim in content["claims"][:-1]:
        assert claim["verdict"] == "undecided" and claim["missing"], claim["id"]


def test_an_empty_folder(tmp_path, capsys):
    (tmp_path / "none").mkdir()
    content, text = report(tmp_path / "none", tmp_path / "out")
    check_undecided(content)
    assert "None was found" in text and text.count("*Missing:*") == 14 and "undecided" in capsys.readouterr().out


def test_junk(tmp_path):
    """Files that are no json, configs of others, results of the right name with anything in them."""
    junk = tmp_path / "junk"
    for name, text in (
        ("a/config.json", "{"),
        ("nobody/metrics.jsonl", '{"step": 0}\n'),
        ("b/config.json", "[1]"),
        ("c/config.json", '{"config": {"seed": "x"}}'),
        ("d/config.json", '{"config": 3}'),
        ("e/dual.json", '{"training": {"grpo less the start": 3}, "test": {}, "baseline": "grpo"}'),
        ("e/elicit.json", '{"ways": {"rl": {"less base": 3}}, "samples": 4}'),
        ("e/test_time.json", '{"ways": {"parallel": {"1": {"less majority": ["a", 1, 2]}}}, "command": 3}'),
        ("e/calibration.json", '{"ece/answer": 3}'),
        ("e/other.json", "\x00\x01"),
        ("f/metrics.jsonl", "not json\n"),
        ("g/.hidden/config.json", "{"),
    ):
        (junk / name).parent.mkdir(parents=True, exist_ok=True)
        (junk / name).write_text(text)
    plant(junk / "h", {"anything": [1, {"x": None}], "loss": {"name": 3}, "rollout": 2, "steps": "many"})
    plant(junk / "i", config(task=None, weight="x", critique=3, kl=2))
    content, text = report(junk, tmp_path / "out")
    assert f"{junk / 'nobody'}: left out, as there is no config.json" in text
    check_undecided(content)
    assert sum("config.json is not that of a run" in note for note in content["notes"]) == 3
    assert "the seed 'x'" in text and "other.json: left out" in text and ".hidden" not in text


def test_an_archive_is_as_good_as_its_folders(tmp_path):
    """The same page and json, under the name of the folder that was given. Mutation: no renaming in `retest.run`."""
    live, packed = curves(tmp_path / "live" / "study", lambda H: 1 - np.exp(H - 2)), tmp_path / "packed" / "study"
    archive.pack(live, packed)
    here, there = (report(folder.parent, tmp_path / f"out_{folder.parent.name}") for folder in (live, packed))
    assert "packed/study" in there[1]
    assert here[1].replace("live", "packed") == there[1]
    assert json.dumps(here[0]).replace("live", "packed") == json.dumps(there[0])


def test_one_run(tmp_path):
    curves(tmp_path / "one", lambda H: 0.9 - 0.15 * np.exp(H), seeds=1)
    content, text = report(tmp_path / "one", tmp_path / "out")
    check_undecided(content)
    assert "1 runs" in text and "abc1234" in text and "1 × cpu" in text


def test_torn_and_broken_rows(tmp_path):
    """The whole rows are used, the others named. Mutation: no finite check in data._evaluation."""
    folder = curves(tmp_path / "torn", lambda H: 0.9 - 0.15 * np.exp(H))
    for seed, text in ((0, '{"step": 7, "ta'), (1, '{"step": 8, "task": "toy", "metric": "pass@1", "value": NaN}\n')):
        with open(folder / f"seed{seed}" / "evals.jsonl", "a") as f:
            f.write(text)
    with open(folder / "seed2" / "metrics.jsonl", "a") as f:
        f.write('{"step": 300, "policy/entropy_sequence": NaN}\n{"policy/entropy_sequence": 1}\n[3]\n')
    (folder / "seed2" / "solved.jsonl").write_text('{"step": 0, "task": "toy", "n": 8, "right": [9]}\n')
    content, text = report(folder, tmp_path / "out")
    assert next(claim for claim in content["claims"] if claim["id"] == "law")["verdict"] == "holds"
    told = " ".join(content["notes"])
    assert "seed0/evals.jsonl: line 61 is broken" in told and "metrics.jsonl: line 303 is broken" in told
    assert "1 value(s) or row(s) left out, the first an evaluation" in told and "3 value(s)" in told
    assert all(path in text for path in ("figures/retest_law.png", "figures/retest_verdicts.png"))
    again = (tmp_path / "out" / "retest.md").read_bytes()
    report(folder, tmp_path / "out")
    assert (tmp_path / "out" / "retest.md").read_bytes() == again


def test_mistakes(tmp_path):
    settings = launch.load_config("configs/retest.py:smoke")
    for value, message in (
        ("nowhere", "no folder nowhere"),
        (f"{tmp_path},{tmp_path / 'x'}", "count twice"),
        (",", "give a folder"),
    ):
        (tmp_path / "x").mkdir(exist_ok=True)
        settings.runs = value
        with pytest.raises(InputError, match=message):
            retest.run(settings, str(tmp_path / "out"))
    settings.runs = str(tmp_path / "x")
    for key, value in (("level", 1.0), ("draws", 10), ("least", 1), ("margin", -1.0)):
        with settings.unlocked():
            old, settings[key] = settings[key], value
        with pytest.raises(InputError, match=key):
            retest.run(settings, str(tmp_path / "out"))
        settings[key] = old
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="another --workdir"):
        retest.run(settings, str(tmp_path / "file"))


def test_the_table_is_whole():
    """Every claim says what it is tested by and what others found, each by an arXiv id."""
    assert len(CLAIMS) == 14 and len({claim.id for claim in CLAIMS}) == 14
    for claim in CLAIMS:
        assert claim.definition and claim.needs and claim.decides and literature.PAPERS[claim.id], claim.id
        assert "{" not in claim.definition, claim.id


def test_later_work_is_whole():
    """Each row says what it does to the claim, what was read, what stands beside it. Mutation: a word of one's own."""
    assert literature.PAPERS.keys() == {claim.id for claim in CLAIMS}
    for id, papers in literature.PAPERS.items():
        assert len({(paper.id, paper.found) for paper in papers}) == len(papers), id
        for paper in papers:
            assert re.fullmatch(r"\d{4}\.\d{5}", paper.id) and paper.found and (paper.tests or paper.beside), paper
            assert paper.bears in ("contradicts", "limits", "replaces", "supports") and paper.read in READ, (
                paper
            )
            for name in re.findall(r"(?:configs|docs|notebooks)/[\w/]+\.(?:py|md|ipynb)", paper.beside):
                assert (launch.ROOT / name).is_file(), paper


def test_the_curated_page_has_a_number_beside_every_paper_that_asks_for_one():
    """Of notebooks/retest.json: the words that choose tests choose some. Mutation: a title that was renamed."""
    claims = json.loads((launch.ROOT / "notebooks" / "data" / "retest" / "retest.json").read_text())["claims"]
    for claim in claims:
        titles = [test["what"] for test in claim["tests"]]
        for paper in literature.PAPERS[claim["id"]]:
            assert all(any(words in title for title in titles) for words in paper.tests), (claim["id"], paper.id)


def test_a_claim_is_split_by_world(tmp_path):
    """Closed sentences on the law, a folder's model off it, and one run of it that has too few evaluations for a test.

    Mutations: the worlds of all runs in the place of the study's; a lone run that counts to the folder of all studies.
    """
    runs = tmp_path / "runs"
    curves(runs / "on", lambda H: 0.9 - 0.15 * np.exp(H), seeds=4)
    off = curves(runs / "off", lambda H: 0.4 - 0.1 * np.log(H))
    words = {"task": {"name": "toy", "args": {}}, "model": {"path": "runs/small/model", "args": {}}}
    for path in off.glob("*/config.json"):
        about = json.loads(path.read_text())
        path.write_text(json.dumps(about | {"config": about["config"] | words}))
    H = np.linspace(1.0, 0.1, 100)
    real = config(task={"name": "words", "args": {}}, model={"path": "runs/real/model", "args": {}})
    few = plant(runs / "real" / "rl", real, H, (0.9 - 0.15 * np.exp(H))[::10])
    (few / "evals.jsonl").write_text((few / "evals.jsonl").read_text().replace('"toy"', '"words"'))
    content, text = report(runs, tmp_path / "out")
    claim = content["claims"][0]
    assert claim["by_world"] == {"toy": "holds", "toy, small": "fails", "words, real": "undecided"}
    assert claim["verdict"] == "holds partly"
    screen = next(line for line in text.splitlines() if line.startswith("| [R = "))
    assert screen.startswith("| [R = −a·exp(H) + b holds, and better than its rivals](#law) | **holds partly** |")
    assert "| holds, 3/0/0 | fails, 0/3/0 | undecided, 1 run |" in screen
    assert "fewer than 16 evaluations" in text and "| real | words, real | 1 | 10 |" in text
