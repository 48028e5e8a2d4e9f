"""Self-distillation end to end on tiny models: with adapters on a folder, the teachers, and what is refused."""

import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.errors import InputError
from entropy_rl.models import lora
from experiments import train_rl
from experiments.lib import checks, launch
from experiments.rl import parts
from tests.experiments.rl.test_critique_words import SMALL, place  # noqa: F401  a fixture


def config(**changes):
    c = launch.load_config("configs/rl/sdpo.py:smoke")
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


def on_folder(place, **changes):  # noqa: F811
    c = launch.load_config("configs/rl/hf.py:smoke,sdpo,part=rl,task=jsonl")
    given = {"model.path": str(place / "tiny" / "model"), "task.args.path": str(place)}
    c.update_from_flattened_dict(SMALL | given | {k.replace("__", "."): v for k, v in changes.items()})
    return c


def test_adapters_learn_from_their_own_mean(place, tmp_path):  # noqa: F811
    """Two steps of a folder's model: in the first the teacher is the policy. Mutations: a mean of the base too, which
    is not trained; a teacher that sees no critique."""
    c = on_folder(place, lora__rank=2, steps=2, eval__every=1, samples=4)
    p = parts.make(c)
    assert set(parts.abstract(p).teacher) == {lora.LORA} and p.learning["teacher"].rate == 0.05
    train_rl.run(c, str(tmp_path / "run"))
    rows = metrics.read(tmp_path / "run").metrics
    for row in rows:
        assert row["distillation/rows"] == row["distillation/critiques"] == 4 and row["distillation/skipped"] == 0
        assert row["distillation/divergence"] > 0 and row["update/grad_norm"] > 0
        assert np.isfinite(row["distillation/gap"]) and row["distillation/tokens"] > row["rollout/tokens"]
    found = [r for r in metrics.read(tmp_path / "run").samples if r.get("kind") == "distillation"]
    assert all(r["teacher"].startswith("What is") and "Feedback on an earlier attempt" in r["teacher"] for r in found)
    assert found and all(r["teacher"].count(r["critique"]) == 1 for r in found)


@pytest.mark.parametrize("rate, mean", [(0.0, True), (1.0, False)])
def test_the_state_has_a_mean_where_one_is_kept(rate, mean):
    assert (parts.abstract(parts.make(config(distillation__rate=rate))).teacher is not None) == mean


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"critique__source": "off", "distillation__siblings": False}, "critique.source='off' and without right"),
        ({"critique__source": "none", "rollout__samples": 1}, "critique.source='none' and without right siblings"),
        ({"distillation__alpha": 1.5}, "config.distillation.alpha=1.5: must be a share from 0 to 1"),
        ({"distillation__top": 0}, "config.distillation.top=0: must be a whole number of 1 or more"),
        ({"distillation__rate": -0.1}, "config.distillation.rate=-0.1: must be a share from 0 to 1"),
        ({"distillation__clip": -1.0}, "config.distillation.clip=-1.0: must be a number of 0 or more"),
        ({"distillation__coef": -1.0}, "config.distillation.coef=-1.0: must be a number of 0 or more"),
        ({"critique__refined": 1}, "config.critique.refined=1 with distillation.coef=1.0: .* give critique.refined=0"),
        ({"critique__source": "off", "task__args__talk": False}, "needs a task with the words of critiques"),
        ({"critique__guard__copying": 0.5}, "nothing is retried: give .* 0 for all of critique.guard"),
        ({"critique__count": 2}, "nothing is retried: give .* count=1"),
        ({"critique__source": "oracel"}, "did you mean 'oracle'"),
    ],
)
def test_bad_input_is_one_line(changes, message):
    with pytest.raises(InputError, match=message) as e:
        parts.make(config(**changes))
    assert "\n" not in str(e.value)


def test_what_does_not_fit_is_said_with_by_how_much(monkeypatch, tmp_path):
    """Mutation: a check after the workdir is there, or none; one of the rows that no micro-batch has."""
    monkeypatch.setattr(checks, "device_memory", lambda mesh: 1000.0)
    with pytest.raises(InputError, match="top=53 in an update of 8 responses .* there are 1e-06 GB, .* too few: lower"):
        parts.make(config())
    with pytest.raises(InputError, match="in an update of 2 responses"):
        parts.make(config(microbatches=4))
    off = {"distillation__coef": 0.0, "critique__source": "off", "critique__refined": 1}
    assert parts.make(config(**off)).learning["teacher"] is None
    with pytest.raises(InputError, match="what is trained, with its optimiser, on each .* 1e-06 GB, .* too few"):
        train_rl.run(config(**off), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(checks, "host_memory", lambda: 1000.0)
    with pytest.raises(InputError, match="top=53 with numbers and .* 8 x [0-9]+ places takes .* too few: lower it"):
        parts.make(config())


def test_two_ways_at_once_are_refused():
    with pytest.raises(InputError, match="critique, critique_clip_cov, sdpo are ways"):
        launch.load_config("configs/rl/hf.py:critique,sdpo,path=x")
