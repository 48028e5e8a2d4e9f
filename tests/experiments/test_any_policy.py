"""Scripts that look at a policy take that of a Hugging Face folder and of a LoRA run on it."""

import json
import shutil

import jax
import numpy as np
import pytest

from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.models import families, hf, lora
from entropy_rl.training import checkpoints
from entropy_rl.training.checkpoints import Checkpoints
from experiments import tokens
from experiments.lib import build, launch, policies
from experiments.lib.policies import first_policy
from tests.experiments import systems
from tests.experiments.lib.test_policies import save


@pytest.fixture(scope="module")
def folder(folder):
    return str(folder)


@pytest.fixture(scope="module")
def adapted(folder, tmp_path_factory):
    """Workdir of a LoRA run on the folder, whose policy is nearly certain."""
    c = launch.load_config("configs/rl/hf.py:smoke,part=rl")
    c.model.path = folder
    c.lora.update(rank=2, alpha=2.0)
    _, params = hf.load(folder)
    params = lora.add(params, jax.random.key(1), rank=2, targets=c.lora.targets)
    params["lora"] = jax.tree.map(lambda x: x + 1.0, params["lora"])
    return save(tmp_path_factory.mktemp("lora"), {7: {"params": params}}, c)


def get(path, folder, **changes):
    c = launch.load_config(f"configs/{path}.py:smoke")
    changes |= {"model.path": folder, "prompt.style": "plain", "prompt.prompt_length": 24, "prompt.response_length": 8}
    c.update_from_flattened_dict(changes)
    return c


def test_the_microscope_on_a_folder_and_on_a_run_with_adapters(folder, adapted, tmp_path):
    """Mutation: decisions of a task that tells none; random weights; adapters left out."""
    base = tokens.run(get("tokens", folder), tmp_path / "base")
    assert base["kinds"] == {} and not any(row["decision"] for row in base["words"]) and base["tokens"] > 8
    run = tokens.run(get("tokens", folder, init=adapted), tmp_path / "run")
    same = tokens.run(get("tokens", folder, init=folder), tmp_path / "same")
    assert same["record"] == base["record"] != run["record"]


given = systems.given


@pytest.mark.slow
@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_every_system_runs_from_a_folder(name, given, tmp_path):
    """Mutation: no model.path; the decisions of a task that tells none; closed sentences for a text task."""
    systems.run(name, given, tmp_path / "out")
    assert any((tmp_path / "out").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", systems.TRAINERS)
def test_every_trainer_trains_adapters(name, given, tmp_path, monkeypatch):
    """Checkpoints have adapters and no base, and a run that was killed before its last one goes on to the same.

    Mutation: no base in checkpoints' meta or below their adapters; optimiser or adapters that begin anew.
    """
    save, saved = Checkpoints.save, []

    def copied(self, step, *args):
        if saved:
            self.wait()
            shutil.rmtree(tmp_path / "cut", ignore_errors=True)
            shutil.copytree(tmp_path / "out", tmp_path / "cut")
        saved.append(step)
        save(self, step, *args)

    monkeypatch.setattr(Checkpoints, "save", copied)
    systems.run(name, given, tmp_path / "out", **{"lora.rank": 2})
    monkeypatch.setattr(Checkpoints, "save", save)
    names = set(checkpoints.about(tmp_path / "out")[0])
    assert any(n.startswith("params.lora.") for n in names) and not any(n.startswith("params.params.") for n in names)
    systems.run(name, given, tmp_path / "cut", **{"lora.rank": 2})
    out, cut = (policies.load_policy(*_of(given, tmp_path / name))[1] for name in ("out", "cut"))
    jax.tree.map(np.testing.assert_array_equal, out, cut)


def _of(given, workdir):
    c = launch.load_config(f"configs/tokens.py:path={given['folder']},task={systems.TASK}")
    return c, str(workdir), build.mesh(c), build.tokenizer(given["folder"]).vocab_size


def test_training_starts_from_any_policy(folder, adapted):
    """Of a folder, of a run with adapters where this one has none or others. Mutation: only a run like this one."""
    c = launch.load_config("configs/rl/hf.py:smoke,part=rl")
    c.model.path = folder
    model, mesh = build.model(c, 2), build.mesh(c)
    tx, _ = build.optimizer(c, c.steps)
    _, want = hf.load(folder)
    for init, rank, targets, merged in (
        (folder, 0, "gate", False),
        (adapted, 0, "gate", True),
        (adapted, 4, "gate", True),
        (folder, 2, "gate", False),
    ):
        c.init = init
        c.lora.update(rank=rank, targets=targets)
        params = first_policy(c, model, tx, mesh).params
        assert ("lora" in params) == bool(rank)
        kernel = lambda p: p["params"]["layer_0"]["attention"]["q"]["kernel"]  # noqa: E731
        assert bool((kernel(params) != kernel(want)).any()) == merged


def test_rollouts_of_another_trainer(folder, tmp_path, capsys, monkeypatch):
    """A dump as verl writes it, with the sampler's log-probabilities: scores by hand, a row that is too long left out.

    Mutations: the prompt's tokens scored too; groups of rows and not of prompts; no end after a response.
    """
    tokenizer = FolderTokenizer(folder)
    model, params = hf.load(folder)
    rows = [("1 + 2 =\n", "3", 1.0), ("1 + 2 =\n", "21 ?", 0.0), ("3 5 9 ->\n", "9", 0.0), ("3 5 9 ->\n", "5 9", 1.0)]
    logps, log_softmax = [], jax.jit(lambda row: jax.nn.log_softmax(model.apply(params, row)[0][0]))
    for prompt, response, _ in rows:
        ids = [*tokenizer.encode(prompt), *tokenizer.encode(response), tokenizer.eos_id]
        padded = np.zeros((1, 32), np.int32)  # one program; what comes after is not seen
        padded[0, : len(ids)] = ids
        logits = np.asarray(log_softmax(padded))
        start = len(tokenizer.encode(prompt))
        logps.append([float(logits[t - 1, ids[t]]) for t in range(start, len(ids))])
    dump = [
        {"input": p, "output": r, "score": s, "step": 4, "rollout_log_probs": [x - 0.25 for x in logp]}
        for (p, r, s), logp in zip(rows, logps)
    ]
    dump.append(dump[0] | {"output": "9 " * 5000})
    (tmp_path / "4.jsonl").write_text("".join(json.dumps(row) + "\n" for row in dump))
    monkeypatch.setattr(families, "context_length", lambda path: 100)
    out = tokens.run(get("tokens", folder, rollouts=str(tmp_path / "4.jsonl"), batch=3), tmp_path / "out")
    about, gap = out["rollouts"], out["rollouts"]["gap"]
    assert (about["rows"], about["groups"], about["left_out"]) == (4, 2, 1)
    assert out["tokens"] == gap["tokens"] == sum(map(len, logps)) and gap["rows"] == 4
    assert gap["mean"] == pytest.approx(0.25, abs=1e-4) == gap["largest"] and gap["beyond"] == 1
    assert out["reward"] == 0.5 and out["zero_variance"] == 0
    advantage = np.repeat(np.array([1, -1, -1, 1]) * 0.5**0.5, [len(x) for x in logps])
    flat = np.concatenate(logps)
    cov = np.mean((flat - flat.mean()) * (advantage - advantage.mean()))
    assert out["covariance"]["table"]["1"] == pytest.approx(cov, rel=2e-3)
    fork = out["forks"][0]
    assert fork["entropy"] == max(row["entropy"] for row in out["forks"]) and len(out["forks"]) == min(
        20, out["tokens"]
    )
    text = "".join(rows[fork["row"]][:2])
    assert text.startswith(fork["before"]) and fork["after"] in text
    assert sum(out["entropy"]["counts"]) == out["tokens"] and (tmp_path / "out" / "tokens.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "4 rows in 2 groups, 1 left out as too long" in said and "predicted change of entropy" in said
    assert "policy less sampler 0.2500 nats a token" in said
