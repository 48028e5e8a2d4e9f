"""Critiques end to end with untrained models: a dataset, lessons, reinforcement learning with them, their scores."""

import json

import jax
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.errors import InputError
from entropy_rl.methods.critique import dataset, oracle
from entropy_rl.methods.critique.sentences import Critique, parse
from entropy_rl.tasks import countdown
from entropy_rl.training.rollouts import Rollout
from entropy_rl.training.step import Learner
from experiments import critique_scores, make_critiques, train_rl, train_sft
from experiments.lib import launch
from experiments.rl import parts


def config(name, **changes):
    c = launch.load_config(f"configs/{name}.py:smoke")
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """(folder of a dataset, a policy taught with it)."""
    folder = tmp_path_factory.mktemp("critiques")
    make_critiques.run(config("critique/make"), folder / "said")
    train_sft.run(config("sft/lessons", lessons__path=str(folder / "said")), folder / "start")
    return folder


def test_the_dataset_is_true(said):
    rows = dataset.read(said / "said")
    counts = json.loads((said / "said" / "counts.json").read_text())
    assert counts["kept"] == len(rows) and {r.stage for r in rows} == {"rg1", "rg3"}
    for row in rows:
        truth = oracle.critique(row.question, row.attempt)
        found = parse(row.critique)
        assert (found.right, found.step, found.reason) == (truth.right, truth.step, truth.reason)
        assert oracle.critique(row.question, row.refinement).right


def test_the_soft_filter(said, tmp_path):
    """An untrained policy mends nothing, so at least one of two is kept nowhere and none of two everywhere."""
    again = {"init": str(said / "start"), "filter__tries": 2}
    counts = make_critiques.run(config("critique/make", **again, filter__least=0), tmp_path / "all")
    rows = dataset.read(tmp_path / "all")
    assert counts["kept"] == len(rows) > 0 and all(row.tries == 2 and row.wins == 0 for row in rows)
    with pytest.raises(InputError, match="no critiques to write"):
        make_critiques.run(config("critique/make", **again, filter__least=1), tmp_path / "none")


def test_generators_and_annotators(said, tmp_path, monkeypatch):
    """Two policies attempt one problem, the solver and a model criticise; what the model gets wrong is left out."""
    asked = []

    def sampler(config, task, model, mesh, language):
        def ask(params, tried, key):
            asked.append([t.text for t in tried])
            # right about every other attempt, silent about every third
            return [None if i % 3 == 0 else Critique(t.right == (i % 2 == 0)) for i, t in enumerate(tried)], []

        return ask

    monkeypatch.setattr(make_critiques.conversation, "critique_sampler", sampler)
    one = {"first": 3, "problems": 1, "samples": 8, "planted": 0, "filter__tries": 0}
    writers = {"annotators": ("oracle", str(said / "start"))}
    counts = make_critiques.run(config("critique/make", **one, **writers), tmp_path / "alone")
    few = len(asked[0])
    more = {"generators": (str(said / "start"),), "most": 20}
    counts = make_critiques.run(config("critique/make", **one, **writers, **more), tmp_path / "two")
    rows = dataset.read(tmp_path / "two")
    assert counts["rg1/attempts"] == 16 and few <= 8 < len(asked[1]) and asked[1][:few] == asked[0]
    assert {row.id for row in rows} == {"countdown/train/3"} and len(rows) == counts["kept"] == 20
    unusable = sum(i % 3 == 0 or i % 2 == 1 for i in range(len(asked[1])))
    assert counts[f"{said / 'start'}/unusable"] == unusable and "oracle/unusable" not in counts
    assert {row.annotator for row in rows} == {"oracle", str(said / "start")}
    for row in rows:
        assert parse(row.critique).right == oracle.critique(row.question, row.attempt).right


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotators": ()}, "annotators is empty"),
        ({"annotators": ("/nowhere",)}, "config.annotators=/nowhere holds no checkpoints"),
        ({"generators": ("/nowhere",)}, "config.generators=/nowhere holds no checkpoints"),
        ({"most": -1}, "most"),
    ],
)
def test_bad_makers(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        make_critiques.run(config("critique/make", **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "source", ["self", "oracle", *(pytest.param(name, marks=pytest.mark.slow) for name in ("learned", "fresh"))]
)
def test_critique_grpo_runs(said, tmp_path, source):
    model = {"critique__model": str(said / "start")} if source == "learned" else {}
    c = config("rl/critique_grpo", init=str(said / "start"), critique__source=source, steps=1, **model)
    train_rl.run(c, tmp_path)
    (row,) = metrics.read(tmp_path).metrics
    assert row["critique/attempts"] == 4 and row["refine/tokens"] > 0 and row["refine/rows"] > 0
    assert ("policy/entropy_refined" in row) == (source != "fresh")
    assert (row["critique/tokens"] > 0) == (source in ("learned", "self"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["critique_joint", "critique_turns"])
def test_contexts_are_learnt(said, tmp_path, monkeypatch, name):
    """Rewards by length: rows under a context join updates, whatever the micro-batches. Mutations: the baseline by
    rows of the rollout; micro-batches that part a group."""
    monkeypatch.setattr(countdown.Countdown, "verify", lambda self, problem, text: float(len(text) % 2))
    rows = []
    for parts_of in (1, 2):
        more = {"critique__count": 2, "microbatches": parts_of, "updates": 2, "steps": 1}
        train_rl.run(config(f"rl/{name}", init=str(said / "start"), **more), tmp_path / str(parts_of))
        rows += metrics.read(tmp_path / str(parts_of)).metrics
    one, two = rows
    assert one["refine/joint_rows"] > 0 and "policy/entropy_joint" in one and one["update/grad_norm"] > 0
    for key in ("update/loss", "update/grad_norm", "policy/logp_gap", "policy/entropy_joint"):
        np.testing.assert_allclose(one[key], two[key], rtol=1e-3, atol=1e-6, err_msg=key)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"critique__refined": 2}, "critique.refined=2: must be below rollout.samples=2"),
        ({"critique__source": "oracel"}, "did you mean 'oracle'"),
        ({"critique__level": "all"}, "critique.level='all'"),
        ({"critique__learn": "jiont"}, "critique.learn='jiont'"),
        ({"critique__credit": "all"}, "critique.credit='all': must be one of each, last"),
        ({"critique__credit": "last"}, "attempts that are learnt in their context: give learn=joint"),
        ({"critique__turns": 4}, "critique.turns=4: must be a whole number from 1 to 3"),
        ({"critique__count": 0}, "critique.count=0: must be a whole number above 0"),
        ({"critique__refined": 0}, "critique.refined=0: must be a whole number of 1 or more"),
        ({"critique__guard__copying": 2.0}, "critique.guard.copying=2.0: must be a share from 0 to 1"),
        ({"critique__learn": "joint", "critique__source": "fresh"}, "has no context to learn under"),
        ({"critique__turns": 2, "critique__prompt_length": 40}, "shorter than a question and critique.turns=2"),
        ({"critique__learn": "joint", "microbatches": 4, "updates": 2}, "a micro-batch has 0.5 of 2 groups with their"),
        ({"critique__learn": "joint", "advantage": {"name": "pass_at_k", "args": {}}}, "needs k retries of a problem"),
        ({"critique__source": "learned"}, "give the workdir of a critique model"),
        (
            {"critique__source": "learned", "critique__model": "/nowhere"},
            "config.critique.model=/nowhere holds no check",
        ),
        ({"task__args__talk": False}, "task.args.talk=True"),
        ({"loss": {"name": "ppo", "args": {}}}, "'ppo' has no place for refinements"),
    ],
)
def test_bad_configs_stop_before_training(changes, message):
    whole = ("loss", "advantage")
    c = config("rl/critique_grpo", **{k: v for k, v in changes.items() if k not in whole})
    for key in whole & changes.keys():
        c[key] = changes[key]
    with pytest.raises(InputError, match=message):
        parts.make(c)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "no critiques given: add --config.lessons.path"),
        ({"lessons__path": "/nowhere"}, "holds 0 critique datasets"),
        ({"lessons__path": "said", "lessons__problem": "p"}, "has no critique of that problem"),
        ({"lessons__path": "said", "task__args__talk": False}, "task.args.talk=True"),
    ],
)
def test_bad_lessons(said, changes, message):
    if changes.get("lessons__path") == "said":
        changes = changes | {"lessons__path": str(said / "said")}
    with pytest.raises(InputError, match=message):
        train_sft.parts(config("sft/lessons", **changes))


def test_one_problem(said):
    rows = dataset.read(said / "said")
    one = {"lessons__path": str(said / "said"), "lessons__problem": rows[0].id}
    c = config("sft/critique_model", **one, lessons__solve=0.0)
    made = train_sft.parts(c)[0]
    tokens, _ = made.demonstrations(0, 0, 8)
    question = countdown.TALKER.encode(rows[0].question)
    assert (tokens[:, : len(question)] == question).all()


def test_scores(said, tmp_path):
    c = config("critique/scores", init=str(said / "start"), critique__model=str(said / "start"))
    out = critique_scores.run(c, tmp_path)
    assert out["attempts"] == 12 and out["critique"]["majority"][0] == 1.0
    assert {"fresh sample", "no critique", "oracle, hint", "learned, hint"} <= out["repaired"].keys()
    assert "| verdict accuracy |" in (tmp_path / "scores.md").read_text()


def test_verdicts_alone_are_scored(said, tmp_path):
    """Mutation: retries all the same."""
    c = config("critique/scores", init=str(said / "start"), repair=False)
    with pytest.raises(InputError, match="leaves nothing to score"):
        critique_scores.run(c, tmp_path / "none")
    c.critique.model = str(said / "start")
    out = critique_scores.run(c, tmp_path / "run")
    assert "repaired" not in out
    c.update(init=None, generator=str(said / "start"))  # its attempts, whoever would retry them. Mutation: ignored
    np.testing.assert_equal(critique_scores.run(c, tmp_path / "generator"), out)


def test_scores_without_a_solver_are_refused_in_one_line(tmp_path):
    c = launch.load_config("configs/critique/scores.py:smoke")
    c.task.args.talk = False
    with pytest.raises(InputError, match="needs the truth of critiques from a solver, and task 'countdown' has none"):
        critique_scores.run(c, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_agreement_by_hand():
    wrong = Critique(False, 2, "operand")
    truth = [wrong, wrong, wrong, Critique(True), Critique(True)]
    said = [wrong, Critique(False, 2, "format"), Critique(True), Critique(False, 1), None]
    found = {k: [float(np.sum(x)) for x in v] for k, v in critique_scores.agreement(said, truth).items()}
    assert found["verdict accuracy"] == [2, 5] and found["majority"] == [3, 5] and found["malformed"] == [1, 5]
    assert found["verdict accuracy, less majority"] == [-1, 5]
    assert found["balanced accuracy"] == [4, 12]  # 2 of 3 wrong ones, 0 of 2 right ones
    assert found["F1 (wrong)"] == [4, 4 + 1 + 1]
    assert found["first wrong step"] == [2, 3] and found["reason"] == [1, 2]


def test_intervals_are_over_problems():
    how = {"rng": np.random.default_rng(0), "draws": 2000, "level": 0.9}
    hits, ones = np.repeat(np.arange(100) % 2, 50), np.ones(5000)
    value, low, high = critique_scores.interval((hits, ones), problem=np.repeat(np.arange(100), 50), **how)
    assert value == 0.5 and abs(high - low - 2 * 1.645 * 0.05) < 0.02
    _, low, high = critique_scores.interval((hits, ones), problem=np.arange(5000), **how)
    assert high - low < 0.03
    none = np.zeros(0, int)  # a policy that fails nowhere: nothing is tried again
    assert np.isnan(critique_scores.interval((none, none), problem=none, **how)).all()


def test_the_entropy_record_is_of_own_samples():
    """Mutation: a record over all rows."""
    c = config("rl/critique_grpo")
    p = parts.make(c)
    rows, length = 8, p.task.prompt_length + p.task.response_length
    mask = np.zeros((rows, length), bool)
    mask[:, p.task.prompt_length : p.task.prompt_length + 4] = True
    refined = np.arange(rows) % 2 == 1
    entropy = np.where(mask, np.where(refined[:, None], 2.0, 0.5), 0.0).astype(np.float32)
    rollout = Rollout(
        tokens=np.full(mask.shape, 5, np.int32),
        mask=mask,
        sampler_logp=np.where(mask, -1.0, 0.0).astype(np.float32),
        entropy=entropy,
        reward=np.arange(rows, dtype=np.float32) % 2,
        group=np.repeat(np.arange(4, dtype=np.int32), 2),
        truncated=np.zeros(rows, bool),
        refined=refined,
    )
    _, updates, row, _ = Learner(**p.learning, key=jax.random.key(0))(parts.first(c, p), rollout, 0)
    assert row["policy/entropy"] == row["policy/entropy_sequence"] == 0.5 and row["policy/entropy_refined"] == 2.0
    assert float(updates[0]["policy/refined_fraction"]) == 0.5
