"""configs/rl/hf.py, tiny_model and convert_hf: from a folder to a folder."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from ml_collections import ConfigDict

from entropy_rl import metrics
from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.errors import InputError
from entropy_rl.models import hf, lora, peft
from entropy_rl.training import checkpoints, learner
from entropy_rl.training.checkpoints import Checkpoints, restore_params
from entropy_rl.training.state import adapters as adapters_of
from experiments import convert_hf, quickstart, tiny_model, train_rl, train_sft
from experiments.lib import build, launch, policies
from experiments.rl import parts
from tests.models import test_peft


def get(arg="", **changes):
    config = launch.load_config(f"configs/rl/hf.py:smoke{arg}")
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory):
    """The workdir of a smoke run of all parts, with adapters."""
    workdir = tmp_path_factory.mktemp("mine")
    changes = {"path": str(folder), "lora.rank": 2, "sft.optimizer.learning_rate": 0.1}
    quickstart.run(get(**changes), str(workdir))
    return workdir


def texts(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_tiny_folder(folder):
    """All that a real one has. Mutation: the tokenizer of other texts."""
    model, params = hf.load(folder)
    tokenizer = FolderTokenizer(folder)
    assert model.config.vocab_size == tokenizer.vocab_size <= 300 and len(tokenizer.eos_ids) == 2
    assert tokenizer.decode(tokenizer.encode("3 5 9 -> 24 :")) == "3 5 9 -> 24 :"
    assert tokenizer.chat([{"role": "user", "content": "hi"}]).endswith("<|im_start|>assistant\n")
    assert np.isfinite(model.apply(params, np.zeros((1, 3), np.int32))[0]).all()
    modes = {p.stat().st_mode for p in folder.iterdir()}
    assert len(modes) == 1, "whoever may read the config may read the weights"


def test_a_tokenizer_knows_the_words_of_critiques(tmp_path):
    """Of a task with an oracle and of one without: a token a word and mark. Mutation: prompts and answers alone."""
    for task in ("countdown_words", "countdown"):
        lengths = []
        for critiques in (False, True):
            config = launch.load_config(f"configs/tiny_model.py:smoke,task={task}")
            config.critiques, config.vocabulary = critiques, 1024
            tokenizer = FolderTokenizer(tiny_model.run(config, str(tmp_path / f"{task}{critiques}")))
            said = "Correctness of the final answer: Wrong\n\nSolve the question again, one step a line"
            lengths.append(len(tokenizer.encode(said)))
        assert lengths[1] < 20 < 30 < lengths[0], lengths


def test_every_part_leaves_what_it_should(done, folder):
    """Mutation: RL begins with the folder's weights and not with those of the imitation."""
    assert [row["step"] for row in metrics.read(done / "rl").metrics] == list(range(10))
    assert json.loads((done / "law" / "law.json").read_text())["logs"] == str(done / "rl")
    config = json.loads((done / "rl" / "config.json").read_text())["config"]
    assert config["init"] == str(done / "sft") and config["model"]["path"] == str(folder)
    there = {p.name for p in (done / "export").iterdir()}
    assert there == {p.name for p in folder.iterdir()}
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (done / "export" / name).read_bytes() == (folder / name).read_bytes()


def adapters(folder, rank=2):
    """Shapes of the adapters of a run on the folder."""
    like = hf.abstract_params(hf.load(folder)[0])
    targets = launch.load_config("configs/rl/hf.py").lora.targets
    shapes = jax.eval_shape(lambda p: lora.add(p, jax.random.key(0), rank=rank, targets=targets)["lora"], like)
    where = jax.tree.leaves(like)[0].sharding
    return {"lora": jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), shapes)}


def test_the_export_is_the_policy_with_its_adapters_merged(done, folder):
    """W + 8 A B, as alpha 16 and rank 2 say. Mutation: the base alone; adapters of the first checkpoint."""
    _, first = hf.load(folder)
    params = {**first, **restore_params(done / "rl", adapters(folder))}
    _, out = hf.load(done / "export")
    jax.tree.map(np.testing.assert_array_equal, out, jax.jit(lambda p: lora.merge(p, 8.0))(params))
    moved = jax.tree.map(lambda x, y: float(np.abs(x - y).max()), out["params"], first["params"])
    assert moved["layer_0"]["attention"]["q"]["kernel"] > 1e-3 and moved["embed"]["embedding"] == 0


def test_adapters_alone_as_peft_writes_them(done, folder, tmp_path):
    """Put on the folder again they are the export. Mutation: alpha where alpha / r is due."""
    c = launch.load_config("configs/convert_hf.py")
    c.source, c.adapter = str(done / "rl"), True
    out = convert_hf.run(c, str(tmp_path / "out"))
    assert {p.name for p in out.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    model, params = hf.load(folder)
    got, (_, want) = lora.merge(peft.load(out, model).onto(params)), hf.load(done / "export")
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), got, want)
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == str(folder)


def test_checkpoints_hold_the_adapters_alone(done, folder, tmp_path):
    """And their moments; a run goes on from them to the same numbers, and not on other weights. Mutations: the base in
    them; the base of the folder where the start was another; no checksum."""
    names, meta = checkpoints.about(done / "rl")
    assert not any(".params." in f".{name}" and ".lora." not in name for name in names), sorted(names)
    files = [p for p in (done / "rl" / "checkpoints").rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 2 * sum(p.stat().st_size for p in folder.glob("*.safetensors"))
    workdir = tmp_path / "rl"
    shutil.copytree(done / "rl", workdir)
    config = ConfigDict(json.loads((workdir / "config.json").read_text())["config"])
    config.steps += 1
    train_rl.run(config, str(workdir))
    assert checkpoints.about(workdir)[1]["base"] == meta["base"]
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:-4] + np.float32(0.5).tobytes())
        config.steps += 1
        with pytest.raises(InputError, match="were trained on other weights than .* holds now: put those back"):
            train_rl.run(config, str(workdir))
    finally:
        path.write_bytes(whole)


def test_a_checkpoint_of_before_that_holds_the_base(folder, tmp_path):
    """A run goes on from it as from its own. Mutation: it is refused as one of another model."""
    c = launch.load_config("configs/rl/hf.py:smoke,part=sft")
    c.update_from_flattened_dict({"model.path": str(folder), "lora.rank": 2, "steps": 2})
    train_sft.run(c, str(tmp_path / "new"))
    names, meta = checkpoints.about(tmp_path / "new")
    _, model, mesh, tx, _, _ = train_sft.parts(c)
    abstract = learner.abstract_state(model, tx, mesh, build.adaptation(c, model).adapt)
    with Checkpoints(tmp_path / "new" / "checkpoints") as there:
        step, state, _ = there.restore_latest(adapters_of(abstract))
    whole = state.replace(params={**hf.load(folder)[1], **state.params})
    (tmp_path / "old").mkdir()
    shutil.copy(tmp_path / "new" / "config.json", tmp_path / "old")
    shutil.copy(tmp_path / "new" / "metrics.jsonl", tmp_path / "old")
    with Checkpoints(tmp_path / "old" / "checkpoints") as there:
        there.save(step, whole, {})
    c.steps = 3
    for name in ("new", "old"):
        train_sft.run(c, str(tmp_path / name))
        assert checkpoints.about(tmp_path / name) == (names, meta)
    new, old = (restore_params(tmp_path / name, adapters(folder)) for name in ("new", "old"))
    jax.tree.map(np.testing.assert_array_equal, new, old)


def test_a_run_with_another_alpha_goes_on_with_the_same_policy(done, folder, tmp_path):
    """B is scaled to it. Mutations: the adapters as they are; a base that is looked for without end."""
    changes = {"model.path": str(folder), "init": str(done / "sft"), "lora.rank": 2, "lora.alpha": 4.0}
    config = get(",part=rl", **changes)
    p = parts.make(config)
    state, (_, params) = policies.first_policy(config, p.model, p.tx, p.mesh), hf.load(folder)
    _, want = policies.load_policy(config, done / "sft", p.mesh, p.task.tokenizer.vocab_size)
    got = lora.merge(state.params, 2.0)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), got, want)
    jax.tree.map(np.testing.assert_array_equal, state.params["params"], params["params"])
    shutil.copytree(done / "sft" / "checkpoints", tmp_path / "sft" / "checkpoints")
    config.init = str(tmp_path / "sft")
    with pytest.raises(InputError, match="holds adapters and not what they are on, which its config.json tells"):
        policies.first_policy(config, p.model, p.tx, p.mesh)


def test_started_again_it_changes_nothing(done, folder):
    before = texts(done)
    quickstart.run(get(**{"path": str(folder), "lora.rank": 2, "sft.optimizer.learning_rate": 0.1}), str(done))
    assert texts(done) == before


def test_a_prompt_that_is_too_long_does_not_end_a_run(folder, tmp_path, capsys):
    """In training and in evaluation, whose size is filled up. Mutation: it is met in the middle of training."""
    for split, long in (("train", (3, 5)), ("validation", ()), ("test", (4,))):
        rows = [{"question": f"What is {i} + 1?" + " word" * 99 * (i in long), "answer": str(i + 1)} for i in range(7)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {"task.args.path": str(tmp_path), "steps": 2, "model.path": str(folder), "eval.problems": 6}
    config = launch.load_config("configs/rl/hf.py:smoke,part=rl,task=jsonl")
    config.update_from_flattened_dict(changes)
    train_rl.run(config, str(tmp_path / "run"))
    run, said = metrics.read(tmp_path / "run"), capsys.readouterr().out
    assert [row["data/too_long"] for row in run.metrics] == [2.0, 2.0]
    assert "jsonl, split train: 2 of 7 problems left out, as their prompts have more than prompt.prompt_length=" in said
    assert "jsonl, split test: 1 of 7 problems left out" in said and {row["n"] for row in run.evals} == {6}
    config.prompt.too_long = "error"
    with pytest.raises(InputError, match="tokens and prompt.prompt_length is 64: raise it, or leave such problems out"):
        train_rl.run(config, str(tmp_path / "refused"))


@pytest.mark.slow
def test_without_imitation_rl_begins_with_the_folders_weights(folder, tmp_path, monkeypatch):
    """Mutation: random weights where there is no init."""
    seen = {}
    monkeypatch.setattr(train_rl, "run", lambda config, workdir: seen.update(config=config))
    monkeypatch.setattr(train_sft, "run", None)
    monkeypatch.setattr(quickstart.fit_laws, "fit", lambda config, workdir: None)
    monkeypatch.setattr(convert_hf, "once", lambda *args: None)
    monkeypatch.setattr(quickstart, "table", lambda rl, law: "")
    quickstart.run(get(**{"path": str(folder), "sft.steps": 0}), str(tmp_path / "run"))
    assert seen["config"].init is None
    monkeypatch.undo()
    config = get(",part=rl", **{"model.path": str(folder), "steps": 1, "rollout.prompts": 1, "rollout.samples": 1})
    config.optimizer.learning_rate = 1e-30
    train_rl.run(config, str(tmp_path / "rl"))
    model, first = hf.load(folder)
    jax.tree.map(np.testing.assert_array_equal, restore_params(tmp_path / "rl", hf.abstract_params(model)), first)


@pytest.mark.parametrize("dtype", [None, pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_a_run_in_bfloat16_is_saved_in_it_bit_for_bit(folder, tmp_path, dtype):
    """Trained with float32 masters; asked for another type, it is rounded. Mutation: float32 files."""
    run = tmp_path / "sft"
    kind = "float32" if dtype else "bfloat16"
    config = get(",part=sft", **{"model.path": str(folder), "model.args.param_dtype": kind, "steps": 2})
    train_sft.run(config, str(run))
    c = launch.load_config("configs/convert_hf.py")
    c.source, c.dtype = str(run), dtype
    out = convert_hf.run(c, str(tmp_path / "out"))
    model, params = hf.load(out)
    assert model.config.param_dtype == jnp.bfloat16
    source, _ = hf.load(folder, param_dtype=kind)
    want = restore_params(run, hf.abstract_params(source))
    for x, y in zip(jax.tree.leaves(params), jax.tree.leaves(want), strict=True):
        assert x.dtype == jnp.bfloat16
        np.testing.assert_array_equal(x, y.astype(jnp.bfloat16))


def test_a_policy_that_came_from_no_folder(tmp_path):
    """Of a preset: a folder without a tokenizer. Mutation: the wrong vocabulary."""
    config = launch.load_config("configs/sft/countdown.py:smoke")
    train_sft.run(config, str(tmp_path / "sft"))
    c = launch.load_config("configs/convert_hf.py")
    c.source = str(tmp_path / "sft")
    out = convert_hf.run(c, str(tmp_path / "out"))
    assert {p.name for p in out.iterdir()} == {"config.json", "model.safetensors"}
    model, params = hf.load(out)
    want = restore_params(tmp_path / "sft", hf.abstract_params(model))
    jax.tree.map(np.testing.assert_array_equal, params, want)


@pytest.fixture
def adapter(folder, tmp_path):
    """An adapter of the folder's q and down, of rank 2, as peft writes it, and the merged kernels by its formula."""
    weights = safetensors.numpy.load_file(folder / "model.safetensors")
    modules = [k.removesuffix(".weight") for k in sorted(weights) if k.endswith(("q_proj.weight", "down_proj.weight"))]
    halves = test_peft.halves(modules, weights=weights)
    path = test_peft.write(tmp_path / "adapter", halves, base_model_name_or_path="Org/Base", lora_alpha=3)
    return path, {k: weights[f"{k}.weight"] + 1.5 * (b @ a) for k, (a, b) in halves.items()}


def test_an_adapter_is_put_on_its_base(folder, adapter, capsys):
    """As a policy, merged; to be trained, in full or with adapters like its own, or with others.

    Mutations: the base alone; B not scaled to the run's alpha; new adapters in place of the folder's.
    """
    path, want = adapter

    def compare(params, scale=1.0):
        merged = lora.merge(params, scale)
        for module, x in want.items():
            np.testing.assert_allclose(test_peft.theirs(merged, module), x, rtol=1e-5, atol=1e-5)

    config = get(",part=rl", **{"model.path": str(folder), "init": str(path)})
    p = parts.make(config)
    _, params = policies.load_policy(config, path, p.mesh, p.task.tokenizer.vocab_size)
    compare(params)
    compare(policies.first_policy(config, p.model, p.tx, p.mesh).params)
    assert f"{path}, an adapter of Org/Base, is put on {folder}" in capsys.readouterr().out
    _, first = hf.load(folder)
    for changes, goes_on in (
        ({"rank": 2, "targets": "attention/q|down", "alpha": 16.0}, True),
        ({"rank": 2, "targets": "attention/q", "alpha": 16.0}, False),
        ({"rank": 1, "targets": "attention/q|down", "alpha": 16.0}, False),
    ):
        config.lora.update(changes)
        state = policies.first_policy(config, p.model, p.tx, p.mesh)
        compare(state.params, 16.0 / changes["rank"])
        leaves = lora.flat(state.params["lora"])
        assert goes_on == all(np.abs(x).max() > 0 for k, x in leaves.items() if k.endswith("/b"))
        same = jax.tree.map(lambda x, y: np.array_equal(x, y), state.params["params"], first["params"])
        assert all(jax.tree.leaves(same)) == goes_on


def test_an_adapter_without_its_base_is_named(adapter, tmp_path):
    path, _ = adapter
    message = "is an adapter of Org/Base: give the folder of that model as model.path, and --config.init="
    with pytest.raises(InputError, match=message) as e:
        train_rl.run(get(",part=rl", **{"model.path": str(path)}), str(tmp_path / "run"))
    assert "\n" not in str(e.value) and not (tmp_path / "run").exists()
    config = launch.load_config("configs/rl/grpo.py:smoke")
    config.init = str(path)
    with pytest.raises(InputError, match="is an adapter of Org/Base: add that model's folder, --config.model.path="):
        train_rl.run(config, str(tmp_path / "run"))
    with pytest.raises(InputError, match="is an adapter's folder and has no checkpoint 3: give a workdir"):
        policies.load_policy(config, path, None, 9, step=3)
