"""Self-training end to end with a tiny model: both arms, killed and gone on, and what is refused."""

import json

import jax
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.errors import InputError
from entropy_rl.methods.critique.self_train import Item
from entropy_rl.training.checkpoints import Checkpoints
from experiments import compare, self_train
from experiments.lib import launch


def config(**changes):
    c = launch.load_config("configs/self_train.py:smoke")
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


@pytest.fixture
def lucky(monkeypatch):
    """An untrained policy solves nothing; here an attempt of an even number of tokens counts as right."""
    task = self_train.build.task(config(), split="train")
    monkeypatch.setattr(type(task), "verify", lambda self, problem, text: float(len(text.split()) % 2 == 0))


def test_rounds_and_their_data(lucky, tmp_path):
    """Vanilla keeps right attempts; with critiques failed ones are retried as well, at two retries each."""
    self_train.run(config(rounds=2, critique__source="off"), tmp_path / "off")
    loop = {"critique__source": "random", "refine__samples": 2, "refine__slack": 99, "refine__revisions": True}
    self_train.run(config(rounds=2, **loop), tmp_path / "loop")
    vanilla, critique = (metrics.read(tmp_path / name) for name in ("off", "loop"))
    assert [row["step"] for row in vanilla.metrics] == [1, 2] == [row["step"] for row in critique.metrics]
    assert sorted({row["step"] for row in vanilla.evals}) == [0, 1, 2]
    for run, name in ((vanilla, "off"), (critique, "loop")):
        for row in run.metrics:
            lines = (tmp_path / name / f"round{row['step']}.jsonl").read_text().splitlines()
            kinds = [json.loads(line)["kind"] for line in lines]
            assert row["data/right"] == kinds.count("right") == round(row["rollout/reward"] * 16) > 0
            assert row["data/refined"] == kinds.count("refined") == kinds.count("revision")
            assert sum(row[f"data/share/level{n}"] for n in (3, 4, 5, 6)) == pytest.approx(1)
    # the first round's attempts come from the same policy
    assert vanilla.metrics[0]["rollout/reward"] == critique.metrics[0]["rollout/reward"]
    assert "refine/tokens" not in vanilla.metrics[0] and vanilla.metrics[0]["data/refined"] == 0
    assert critique.metrics[0]["data/refined"] > 0 and critique.metrics[0]["refine/tokens"] > 0
    assert {row["step"] for row in critique.problems} == {2} and len(critique.problems) == 4


def test_every_round_starts_from_the_base(lucky, tmp_path, monkeypatch):
    """With a rate of almost nothing the last policy is the base; if rounds went on from one another it could be too,
    so the parameters that `_teach` starts from are compared."""
    seen, teach = [], self_train.learner.with_params

    def spy(state, params):
        seen.append(jax.device_get(params))
        return teach(state, params)

    monkeypatch.setattr(self_train.learner, "with_params", spy)
    self_train.run(config(rounds=2), tmp_path)
    assert len(seen) == 3
    for params in seen[1:]:
        jax.tree.map(np.testing.assert_array_equal, params, seen[0])


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same(lucky, tmp_path, monkeypatch):
    self_train.run(config(rounds=2), tmp_path / "whole")
    save = Checkpoints.save

    def killed(self, step, state, meta):
        if step == 2:
            raise KeyboardInterrupt
        save(self, step, state, meta)

    monkeypatch.setattr(Checkpoints, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        self_train.run(config(rounds=2), tmp_path / "cut")
    monkeypatch.setattr(Checkpoints, "save", save)
    self_train.run(config(rounds=2), tmp_path / "cut")
    assert (tmp_path / "cut/round2.jsonl").read_bytes() == (tmp_path / "whole/round2.jsonl").read_bytes()
    for name in ("problems.jsonl", "solved.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    first, second = (metrics.read(tmp_path / name).metrics for name in ("whole", "cut"))
    for a, b in zip(first, second, strict=True):
        assert {k: v for k, v in a.items() if "time/" not in k} == {k: v for k, v in b.items() if "time/" not in k}


def test_no_round_evaluates_the_base(lucky, tmp_path):
    self_train.run(config(rounds=0, critique__source="off"), tmp_path / "base,seed=0")
    run = metrics.read(tmp_path / "base,seed=0")
    assert {row["step"] for row in run.evals} == {0} and len(run.problems) == 4 and not run.metrics


def test_texts_that_have_more_tokens_than_were_sampled_are_left_out():
    """A row holds the end token, too. Mutations: `<=`; none is left out, which ended the run at every try."""
    training = self_train.SelfTraining(config(critique__source="off", original=0))
    task, prompt = training._task, "3 5 7 -> 15 :"
    room = task.prompt_length + task.response_length - len(task.tokenizer.encode(prompt))
    items = [Item("a", 3, prompt, " ".join(["3"] * words), "right") for words in (room, room - 1)]
    tokens, mask, left_out = training._data(items)
    assert (left_out, len(tokens), mask.sum()) == (1, 1, room) and tokens[0, -1] == task.tokenizer.eos_id


@pytest.mark.slow
def test_arms_can_be_compared(lucky, tmp_path):
    for arm, source in (("vanilla", "off"), ("random", "random")):
        self_train.run(config(critique__source=source), tmp_path / f"{arm},seed=0")
    c = launch.load_config("configs/compare.py")
    c.update(runs=str(tmp_path), baseline="vanilla", draws=100)
    table = compare.run(c, tmp_path / "table")["controls"]
    assert table.keys() == {"vanilla", "random"} and table["vanilla"]["pass@1"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": -1}, "rounds"),
        ({"refine__slack": -1}, "refine.slack"),
        ({"critique__source": "oracel"}, "critique.source"),
        ({"critique__source": "learned"}, "give the workdir of a critique model"),
        ({"init": "/nowhere"}, "config.init=/nowhere holds no checkpoints"),
        ({"task__args__talk": False, "critique__source": "oracle"}, "words of critiques"),
        ({"microbatches": 3}, "config.microbatches=3: a micro-batch has 1.333 of 4 rows"),
        ({"lessons__path": "/nowhere"}, "holds 0 critique datasets"),
    ],
)
def test_bad_input(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        self_train.run(config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
