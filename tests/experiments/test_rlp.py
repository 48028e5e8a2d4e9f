"""RLP and plain pretraining end to end with a tiny model: the average, killed and gone on, and what is refused."""

import jax
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.errors import InputError
from entropy_rl.training.checkpoints import Checkpoints
from entropy_rl.training.state import saved
from experiments import rlp
from experiments.lib import launch


def config(arg="smoke", **changes):
    c = launch.load_config(f"configs/rlp.py:{arg}")
    if arg == "cpt":
        c.steps, c.model.name, c.documents, c.checkpoint.every = 2, "test", 8, 1
        c.eval.update(every=1, problems=4, samples=2)
    c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


def last(c, workdir):
    """The state that a run of `c` has left."""
    trainer = {"rlp": rlp.Rlp, "cpt": rlp.Pretraining}[c.objective](c)
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        return checkpoints.restore_latest(saved(trainer.abstract))[1]


def test_the_average_begins_at_the_first_step_and_follows_each_update():
    """phi = tau^2 theta_0 + tau (1 - tau) theta_1 + (1 - tau) theta_2 after two updates. Mutation: phi made after."""
    c = config(updates=1, tau=0.9, optimizer__learning_rate=0.01)
    trainer = rlp.Rlp(c)
    state = trainer.first()
    assert state.reference is None
    seen = [jax.device_get(state.policy.params)]
    for step in range(2):
        state, _ = trainer.step(state, step)
        seen.append(jax.device_get(state.policy.params))
    expected = jax.tree.map(lambda a, b, c: 0.81 * a + 0.09 * b + 0.1 * c, *seen)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), jax.device_get(state.reference), expected)
    assert any((np.abs(a - b) > 1e-3).any() for a, b in zip(*map(jax.tree.leaves, (seen[0], seen[2]))))


@pytest.mark.parametrize("arg", ["smoke", "cpt"])
@pytest.mark.slow
def test_a_killed_run_goes_on(arg, tmp_path, monkeypatch):
    """The same rows, evaluations and arrays, the average among them."""
    c = config(arg, optimizer__learning_rate=0.01)
    rlp.run(c, tmp_path / "whole")
    kind = rlp.Rlp if arg == "smoke" else rlp.Pretraining
    step = kind.step

    def killed(self, state, number):
        if number == 1:
            raise KeyboardInterrupt
        return step(self, state, number)

    monkeypatch.setattr(kind, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        rlp.run(c, tmp_path / "cut")
    monkeypatch.setattr(kind, "step", step)
    rlp.run(c, tmp_path / "cut")
    whole, cut = (metrics.read(tmp_path / name) for name in ("whole", "cut"))
    plain = lambda rows: [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]  # noqa: E731
    assert plain(whole.metrics) == plain(cut.metrics) and len(whole.metrics) == 2
    quiet = lambda rows: [row for row in rows if not row["metric"].startswith("time/")]  # noqa: E731
    assert quiet(whole.evals) == quiet(cut.evals) and whole.problems == cut.problems and whole.samples == cut.samples
    states_ = [jax.device_get(last(c, tmp_path / name)) for name in ("whole", "cut")]
    jax.tree.map(np.testing.assert_array_equal, *states_)
    assert [row["id"] for row in whole.problems] == [f"worked/test/{i}" for i in range(4)]
    row = {e["metric"]: e["value"] for e in whole.evals if e["step"] == 2}
    for name in ("ce_with", "ce_without"):
        assert row[name] == pytest.approx(np.mean([r[name] for r in whole.problems]), abs=1e-5)
    assert row["reduction"] == pytest.approx(row["ce_without"] - row["ce_with"], abs=1e-5)


@pytest.mark.slow
def test_pretraining_learns_the_text(tmp_path):
    c = config("cpt", steps=40, documents=32, updates=1, optimizer__learning_rate=0.02, eval__every=40)
    rlp.run(c, tmp_path)
    _, nll = metrics.series(metrics.read(tmp_path).metrics, "sft/nll")
    assert nll[-1] < 0.7 * nll[0]
    tokens = metrics.series(metrics.read(tmp_path).metrics, "text/tokens")[1]
    assert 40 * 32 * 14 < tokens[-1] < 40 * 32 * 20  # 17 a document


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "rpl"}, "config.objective='rpl' .did you mean 'rlp'"),
        ({"rollout__samples": 1}, "rollout.samples=1: must be 2 or more"),
        ({"tau": 1.5}, "config.tau=1.5"),
        ({"updates": 3}, "config.updates=3 does not divide documents=4"),
        ({"text__worked": 2.0}, "worked=2.0"),
        ({"loss__args__clip_low": -1.0}, "clip_low"),
    ],
)
def test_what_is_refused(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        rlp.run(config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
