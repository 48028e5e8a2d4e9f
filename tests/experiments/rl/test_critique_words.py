"""Critiques in natural language in the loop, on a tiny Hugging Face folder: who criticises, what is kept, bad input."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from entropy_rl import metrics
from entropy_rl.data import records
from entropy_rl.errors import InputError
from entropy_rl.methods.critique import api, chat, dataset, refine
from entropy_rl.models import hf
from entropy_rl.training import collect
from entropy_rl.training.checkpoints import restore_params
from experiments import critique_scores, make_critiques, quickstart, tiny_model, train_rl, train_sft
from experiments.lib import launch
from experiments.rl import parts
from tests.critic_server import WRONG, criticises, llama, serve

# `make test-server` builds the one and fetches the other
ROOT = pathlib.Path(__file__).resolve().parents[3]
LLAMA = ROOT / ".venv-llama/bin/python", ROOT / "runs/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

SMALL = {
    "steps": 1,
    "prompt.prompt_length": 40,
    "prompt.response_length": 8,
    "prompt.style": "plain",
    "rollout.prompts": 2,
    "critique.max_tokens": 8,
    "critique.prompt_length": 1000,
    "eval.problems": 1,
    "eval.every": 1,
    "change.every": 0,
    "checkpoint.every": 1,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of questions and one of a model that knows their words."""
    root = tmp_path_factory.mktemp("words")
    for split in ("train", "validation", "test"):
        rows = [{"question": f"What is {i} + {i % 3}?", "answer": str(i + i % 3)} for i in range(6)]
        (root / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = launch.load_config("configs/tiny_model.py:smoke,task=jsonl")
    config.task.args.path = str(root)
    tiny_model.run(config, str(root / "tiny"))
    return root


def get(place, **changes):
    config = launch.load_config("configs/rl/hf.py:smoke,critique,part=rl,task=jsonl")
    changes = {k.replace("__", "."): v for k, v in changes.items()}
    given = {"model.path": str(place / "tiny" / "model"), "task.args.path": str(place)}
    config.update_from_flattened_dict(SMALL | given | changes)
    return config


def dialogues(workdir):
    return [row for row in metrics.read(workdir).samples if row.get("kind") == "critique"]


def trains(place, tmp_path, **changes):
    """The row of one step and its dialogues."""
    train_rl.run(get(place, **changes), str(tmp_path))
    (row,) = metrics.read(tmp_path).metrics
    found = dialogues(tmp_path)
    assert row["critique/attempts"] == 2 and row["refine/rows"] == 2 and row["critique/too_long"] == 0
    assert len(found) == 2 and {r["reward"] for r in found} <= {0.0, 1.0} and np.isfinite(row["update/grad_norm"])
    assert all(r["prompt"].startswith("What is") and isinstance(r["refinement"], str) for r in found)
    return row, found


def test_a_policy_with_adapters_criticises_itself(place, tmp_path):
    """Mutations: the base criticises, whose parameters are no tree of adapters; the reply is not kept."""
    row, found = trains(place, tmp_path, critique__source="self", critique__reference=True, lora__rank=2)
    assert row["critique/malformed"] == row["critique/reference"] == 1 and row["critique/tokens"] > 0
    assert "policy/entropy_refined" in row
    assert all(r["critique"] == chat.indicative(False) and r["reply"] for r in found)


@pytest.mark.slow
def test_attempts_in_one_context_in_words(place, tmp_path, monkeypatch):
    """With adapters, two critiques an attempt and a second round; rewards by length. Mutation: later rounds that
    forget the first; rows as narrow as the question's."""
    odd = lambda task, problems, texts, completions: [float(len(text) % 2) for text in texts]  # noqa: E731
    for module in (collect, refine):
        monkeypatch.setattr(module, "verify_completions", odd)
    more = {"critique__learn": "joint", "critique__turns": 2, "critique__count": 2, "critique__attempts": 2}
    config = get(place, critique__source="self", critique__refined=0, rollout__prompts=4, lora__rank=2, **more)
    train_rl.run(config, str(tmp_path))
    (row,) = metrics.read(tmp_path).metrics
    assert row["refine/joint_rows"] > 0 and row["update/grad_norm"] > 0 and "policy/entropy_joint" in row
    assert row["critique/attempts"] > 2 and row["refine/rows"] == 0 and row["policy/logp_gap"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", ["oracle", "arithmetic", "random", "indicative", "indicative_answer", "inverted", "none", "fresh"]
)
def test_every_source_takes_a_step(place, tmp_path, monkeypatch, source):
    def says(self, problem, text, rng):
        return chat.ChatCritique(False, (chat.Step(problem.id, False, "so"),))

    monkeypatch.setattr(records.Records, "oracle", says, raising=False)
    row, found = trains(place, tmp_path, critique__source=source)
    told = {r["critique"] for r in found}
    assert ("policy/entropy_refined" in row) == (source != "fresh") and row["critique/tokens"] == 0
    assert (told == {None}) == (source == "fresh") and (told == {""}) == (source == "none")
    assert any("Explanation: so" in (t or "") for t in told) == (source in ("oracle", "random"))


@pytest.mark.slow
def test_critics_of_their_own(place, tmp_path):
    """A copy of the start, a run, and a folder of another size and tokenizer. Mutation: the policy's tokenizer."""
    config = launch.load_config("configs/tiny_model.py:smoke,task=countdown")
    config.model.d_model, config.vocabulary = 48, 280
    other = tiny_model.run(config, str(tmp_path / "other"))
    row, found = trains(place, tmp_path / "frozen", critique__source="frozen")
    again, same = trains(place, tmp_path / "self", critique__source="self")
    assert [r["reply"] for r in found] == [r["reply"] for r in same], "before any update they are one"
    run = {"critique__source": "learned", "critique__model": str(tmp_path / "self")}
    row, found = trains(place, tmp_path / "run", **run)
    assert row["critique/tokens"] > 0
    row, found = trains(place, tmp_path / "folder", **run | {"critique__model": str(other)})
    assert row["critique/tokens"] > 0 and [r["reply"] for r in found] != [r["reply"] for r in same]


def served(url, **more):
    server = {"url": url, "model": "m", "key_from": "CRITIC_KEY", "retries": 1, "backoff": 0.01, "timeout": 60.0}
    return {"critique__source": "api", **{f"critique__api__{k}": v for k, v in (server | more).items()}}


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("CRITIC_KEY", "sk-secret")


@pytest.mark.slow
def test_a_server_criticises(place, tmp_path, key):
    """Its words reach the refiner and no file has the key; down, the run ends where it can go on, or goes on."""
    with serve() as (url, seen):
        row, found = trains(place, tmp_path / "up", **served(url))
        assert row["critique/usable"] == 1 and row["critique/failed"] == 0 and len(seen) == 2
        assert all("Explanation: no " in r["critique"] and WRONG[:15] in r["reply"] for r in found)
    files = [p for p in (tmp_path / "up").rglob("*") if p.is_file()]
    assert any(p.name == api.FILE for p in files) and not any(b"sk-secret" in p.read_bytes() for p in files)
    down = lambda number, asked: (503, "") if number > 1 else criticises(number, asked)  # noqa: E731
    stop = {"steps": 3, "checkpoint__every": 10, "optimizer__learning_rate": 1e-3}
    with serve(down) as (url, _):
        with pytest.raises(InputError, match=r"gives no reply \(status 503\)"):
            train_rl.run(get(place, **served(url), **stop), str(tmp_path / "down"))
        run = metrics.read(tmp_path / "down").metrics
        assert [r["step"] for r in run] == [0], "the step that was done is saved"
        with serve() as (up, _):
            train_rl.run(get(place, **served(up), **stop), str(tmp_path / "down"))
        assert [r["step"] for r in metrics.read(tmp_path / "down").metrics] == [0, 1, 2]
        train_rl.run(get(place, **served(url, on_failure="verdict"), **stop), str(tmp_path / "on"))
    rows = metrics.read(tmp_path / "on").metrics
    assert [r["critique/failed"] for r in rows] == [2, 2, 2] and rows[2]["refine/rows"] == 2


@pytest.mark.slow
@pytest.mark.skipif(not all(p.exists() for p in LLAMA), reason="no server of llama.cpp is here: make test-server")
def test_a_real_server_criticises(place, tmp_path, key):
    """llama.cpp's, of a pretrained model: its words are kept, and once it is gone the same run asks for none of them
    again. Mutation: replies are not stored."""
    with llama(*LLAMA) as url:
        how = served(url, model="smollm2", retries=0) | {"critique__max_tokens": 24}
        row, found = trains(place, tmp_path / "first", **how)
    replies = [json.loads(line) for line in (tmp_path / "first" / api.FILE).read_text().splitlines()]
    assert row["critique/failed"] == 0 and row["critique/tokens"] > 1
    assert sorted(r["reply"] for r in found) == sorted(r["text"] for r in replies) and all(r["reply"] for r in found)
    (tmp_path / "again").mkdir()
    shutil.copy(tmp_path / "first" / api.FILE, tmp_path / "again" / api.FILE)
    assert trains(place, tmp_path / "again", **how)[1] == found


CHILD = "import sys; from experiments import train_rl; from experiments.lib import launch; launch.main(train_rl.run)"


@pytest.mark.slow
def test_killed_in_a_round_of_critiques_it_gives_the_same_rows(place, tmp_path, key):
    """kill -9 once one of a step's two critiques is stored: started again it asks for the other alone, and ends with
    the rows, texts and parameters of a run that nobody killed. Mutation: nothing is stored."""
    changes = {"steps": 3, "checkpoint__every": 2, "optimizer__learning_rate": 1e-3, "critique__api__concurrency": 1}
    hold = {"on": True}

    def behave(number, asked):
        while hold["on"] and number == 3:  # the second of step 1
            time.sleep(0.05)
        return criticises(number, asked)

    with serve(behave) as (url, seen):
        config = get(place, **changes, **served(url))
        command = [sys.executable, "-c", CHILD, "--config=configs/rl/hf.py:smoke,critique,part=rl,task=jsonl"]
        given = {k: v for k, v in SMALL.items()} | {
            "model.path": str(place / "tiny/model"),
            "task.args.path": str(place),
        }
        given |= {k.replace("__", "."): v for k, v in (changes | served(url)).items()}
        command += [f"--config.{k}={v}" for k, v in given.items()] + [f"--workdir={tmp_path / 'killed'}"]
        child = subprocess.Popen(command, env=os.environ | {"JAX_PLATFORMS": "cpu"})
        while len(seen) < 4:
            assert child.poll() is None, "it ended before its second step"
            time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        child.wait()
        hold["on"] = False
        train_rl.run(config, str(tmp_path / "killed"))
        asked = [json.dumps(s["messages"]) for s in seen]
        assert len(asked) == len(set(asked)) + 1, "only what had no reply is asked again"
        train_rl.run(config, str(tmp_path / "whole"))
    rows = [
        [{k: v for k, v in r.items() if not k.startswith("time/")} for r in metrics.read(tmp_path / w).metrics]
        for w in ("killed", "whole")
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 3
    assert metrics.read(tmp_path / "killed").samples == metrics.read(tmp_path / "whole").samples
    model, _ = hf.load(place / "tiny" / "model")
    ends = [restore_params(tmp_path / w, hf.abstract_params(model)) for w in ("killed", "whole")]
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_the_whole_of_quickstart_takes_it(place):
    """Mutation: critique for part=rl alone."""
    config = launch.load_config("configs/rl/hf.py:smoke,critique,task=jsonl")
    given = {f"rl.{k}": v for k, v in SMALL.items() if k.startswith("critique.")} | {
        "path": str(place / "tiny" / "model")
    }
    config.update_from_flattened_dict(given | {"task.args.path": str(place), "prompt.style": "chat"})
    assert (config.rl.loss.name, config.rl.critique.source) == ("shaped", "arithmetic")
    quickstart.check(config)
    config.rl.critique.style = "caht"
    with pytest.raises(InputError, match="in config.rl: config.critique.style='caht'"):
        quickstart.check(config)


@pytest.mark.parametrize("variant, form", [("", "boxed"), ("tiny,", "tag")])
def test_countdown_in_words_is_asked_for_in_one_form(variant, form):
    """Mutation: the task asks for <answer>, and the prompt style for a box in the same prompt."""
    c = launch.load_config(f"configs/rl/hf.py:{variant}path=x,part=rl,task=countdown_words")
    assert (c.task.args.form, c.prompt.style == "boxed") == (form, form == "boxed")


def short(folder, context):
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | {"max_position_embeddings": context}))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"critique__refined": 2}, "critique.refined=2: must be below rollout.samples=2"),
        ({"critique__source": "oracle"}, "task 'jsonl' has no oracle: give arithmetic"),
        ({"critique__source": "arithmetics"}, "did you mean 'arithmetic'"),
        ({"critique__style": "caht"}, "critique.style='caht'"),
        ({"critique__max_tokens": -1}, "critique.max_tokens=-1"),
        ({"critique__prompt_length": 40_000}, "critique.prompt_length=40000 and 8 tokens of a response are more than"),
        (
            {"critique__prompt_length": 60},
            "conversation of the policy about an attempt of one line takes [0-9]+ tokens",
        ),
        (
            {"critique__prompt_length": 200, "critique__source": "self"},
            "conversation of the critic about an attempt of one line takes",
        ),
        (
            {f"critique__api__{k}": v for k, v in (("url", "http://localhost:1"), ("model", "m"), ("key_from", ""))}
            | {"critique__prompt_length": 200, "critique__source": "api"},
            "conversation of the critic about an attempt of one line takes",
        ),
        ({"critique__source": "learned"}, "give the workdir of a critique model"),
        (
            {"critique__source": "learned", "critique__model": "/nowhere"},
            "config.critique.model=/nowhere holds no check",
        ),
        ({"critique__source": "api"}, "critique.api.url='' is no URL"),
        ({"loss": {"name": "ppo", "args": {}}}, "'ppo' has no place for refinements"),
        ({"short": 23, "prompt__prompt_length": 15}, "has 23 tokens, and the policy needs 24 for an attempt"),
        ({"short": 39, "prompt__prompt_length": 15, "critique__turns": 2}, "the policy needs 40 for 2 attempts, their"),
        ({"critique__turns": 2, "critique__prompt_length": 55}, "raise it, or lower turns"),
        ({"critic": 15}, "has 15 tokens, and the critic needs 16"),
        ({"critic": 0}, "the model's vocabulary has"),
        ({"critic": None}, "tokenizer.json is missing: give the folder of a model"),
    ],
)
def test_bad_input_is_one_line_before_training(place, tmp_path, changes, message):
    changes = dict(changes)
    copy = tmp_path / "copy"
    if {"short", "critic"} & changes.keys():
        shutil.copytree(place / "tiny" / "model", copy)
    config = get(place, **{k: v for k, v in changes.items() if k not in ("loss", "short", "critic")})
    if "loss" in changes:
        config.loss = changes["loss"]
    if "short" in changes:
        short(copy, changes["short"])
        config.model.path = str(copy)
    if "critic" in changes:
        config.critique.update(source="learned", model=str(copy))
        about = json.loads((copy / "config.json").read_text())
        if changes["critic"] is None:
            (copy / "tokenizer.json").unlink()
        about |= {"max_position_embeddings": changes["critic"]} if changes["critic"] else {"vocab_size": 5}
        (copy / "config.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=message) as e:
        parts.make(config)
    assert "\n" not in str(e.value)


@pytest.mark.slow
def test_a_dataset_lessons_and_scores_in_words(place, tmp_path):
    """make_critiques, train_sft on what it made, critique_scores of that: of arithmetic's critiques."""
    path = {"model.path": str(place / "tiny" / "model"), "prompt.prompt_length": 40, "prompt.response_length": 24}
    path |= {"prompt.style": "plain"}
    config = launch.load_config("configs/critique/make.py:smoke,task=chain_sum,min_terms=2,max_terms=2")
    config.update_from_flattened_dict(path | {"annotators": ("arithmetic", "self"), "problems": 4, "planted": 4})
    config.prompt.prompt_length = 120
    with pytest.raises(InputError, match="has no oracle: give annotators=.'arithmetic',."):
        make_critiques.Maker(ConfigDict({**config, "annotators": ("oracle",)}))
    counts = make_critiques.run(config, tmp_path / "said")
    rows = dataset.read(tmp_path / "said")
    assert counts["kept"] == len(rows) == 8 and counts["rg1/wrong"] == 8 and counts["self/unusable"] == 8
    assert all(chat.parse(row.critique).right is False and row.annotator == "arithmetic" for row in rows)
    config = launch.load_config("configs/rl/hf.py:smoke,lessons,part=sft,task=chain_sum,min_terms=2,max_terms=2")
    config.update_from_flattened_dict(path | {"lessons.path": str(tmp_path / "said"), "prompt.prompt_length": 120})
    config.update_from_flattened_dict({"lessons.solve": 0.0, "lessons.refine": 0.0})
    train_sft.run(config, tmp_path / "model")
    config = launch.load_config("configs/critique/scores.py:smoke,task=chain_sum,min_terms=2,max_terms=2")
    more = {"critique.model": str(tmp_path / "model"), "critique.max_tokens": 8, "prompt.prompt_length": 120}
    config.update_from_flattened_dict(path | more)
    out = critique_scores.run(config, tmp_path / "scores")
    assert out["critique"]["malformed"][0] == out["critique"]["majority"][0] == 1 and "reason" not in out["critique"]
    assert {"arithmetic, step", "learned, hint", "no critique"} <= out["repaired"].keys()


@pytest.mark.parametrize("form", ["lines", "tag"])
def test_a_taught_refinement_keeps_to_its_critique(form, tmp_path):
    """Where worked solutions are steps alone; else they are taught. Mutations: always or never the worked one."""
    config = launch.load_config("configs/tiny_model.py:smoke,task=countdown_words")
    folder = tiny_model.run(config, str(tmp_path / "tiny"))
    config = launch.load_config("configs/critique/make.py:smoke,task=countdown_words")
    config.update_from_flattened_dict(
        {"model.path": str(folder), "annotators": ("oracle",), "task.args.form": form, "task.args.levels": (3,)}
        | {"prompt.prompt_length": 120, "prompt.response_length": 24, "filter.tries": 0}
    )
    make_critiques.run(config, tmp_path / "said")
    rows = dataset.read(tmp_path / "said")
    assert len(rows) >= 8
    for row in rows:
        said, lines = chat.parse(row.critique), row.refinement.splitlines()
        assert (lines == chat.solution(said)) == (form == "lines")
        assert "<answer>" in row.refinement or form == "lines"
        if form == "lines" and said.steps:
            hint = chat.limit(said, "hint").steps[-1].explanation
            assert any(line in hint for line in lines)
