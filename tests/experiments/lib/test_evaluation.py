"""experiments/lib/evaluation.py: the evaluation after the last update, in runs of train_rl."""

import shutil

import jax
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.data import packing
from entropy_rl.errors import InputError
from entropy_rl.sampling import engine
from entropy_rl.tasks import countdown
from entropy_rl.training import checkpoints, collect
from entropy_rl.training.checkpoints import Checkpoints
from experiments import train_rl, train_sft
from experiments.lib import evaluation, launch
from experiments.rl import parts

LONGER = {"steps": 4, "checkpoint.every": 3}


def verify(self, problem, response):
    """A reward that an untrained policy gets now and then."""
    return float(len(response) % 3 == 0)


@pytest.fixture(autouse=True)
def easy(monkeypatch):
    monkeypatch.setattr(countdown.Countdown, "verify", verify)


def get(**changes):
    config = launch.load_config("configs/rl/grpo.py:smoke")
    changes = {"optimizer.learning_rate": 0.02, "task.args.levels": (3, 4), **changes}
    config.update_from_flattened_dict({"eval.last.problems": 6, "eval.last.samples": 4, **changes})
    return config


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """What a run leaves that nothing disturbed; each made once, when first asked for."""
    done = {}

    def made(**changes):
        name = repr(changes)
        if name not in done:
            done[name] = run(tmp_path_factory.mktemp("straight"), **changes)
        return done[name]

    return made


def run(folder, **changes):
    train_rl.run(get(**changes), str(folder))
    return metrics.read(folder)


def test_batches_that_are_dear_share_their_slots(monkeypatch):
    """Six calls become two, and the responses stay; three where four prompts have room. Mutations: a key of the call
    for all; slots of all batches; as many prompts whatever their keys and values take."""
    p, calls, generate = parts.make(get()), [], collect.generate
    policy = parts.first(get(), p).policy.params
    monkeypatch.setattr(collect, "generate", lambda *args, **how: calls.append(how) or generate(*args, **how))
    task = countdown.make(split="test", size=11)
    how = {"samples": 2, "batch": 2, "max_new": task.response_length, "prompt_length": task.prompt_length}

    def sampled():
        groups = evaluation.attempt_all(p.model, policy, task, jax.random.key(3), **how)
        return [c.tokens.tolist() for g in groups for c in g.completions]

    want = sampled()
    assert len(calls) == 6
    monkeypatch.setattr(packing, "PAYS", 1)
    assert sampled() == want
    assert [(c.get("slots"), c.get("part")) for c in calls[6:]] == [(4, 2), (4, 2)]
    m = p.model.config
    each = 2 * m.layers * m.kv_heads * m.head_dim * task.prompt_length * 4
    monkeypatch.setattr(engine, "CACHE", 4 * each)
    assert sampled() == want and len(calls[8:]) == 3


def stripped(out):
    evals = [row for row in out.evals if not row["metric"].startswith("time/")]
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in out.metrics], evals, out.problems


def test_a_row_a_problem(straight):
    """Mutation: right / n of the evaluation during training, or the train split."""
    out = straight()
    assert [row["id"] for row in out.problems] == [f"countdown/test/{i}" for i in range(6)]
    assert [row["level"] for row in out.problems] == [3, 4] * 3
    for row in out.problems:
        assert row.keys() == {"step", "task", "id", "level", "n", "right", "distinct", "classes"}
        assert (row["step"], row["task"], row["n"]) == (2, "countdown", 4)
        assert 0 <= row["classes"] <= row["distinct"] <= row["right"] <= 4
    assert 0 < sum(row["right"] for row in out.problems) < 24


def test_off_it_changes_nothing_else_and_is_made_later_when_asked_for(straight, tmp_path):
    """And then once. Mutation: noise of training or of the other evaluations that depends on it."""
    on, off = straight(), run(tmp_path / "off", **{"eval.last.problems": 0})
    assert off.problems == [] and len(on.problems) == 6
    assert [repr(x) for x in stripped(off)[:2]] == [repr(x) for x in stripped(on)[:2]]
    later = run(tmp_path / "off")
    assert repr(stripped(later)) == repr(stripped(on))
    assert run(tmp_path / "off").evals == later.evals  # with their times


def test_its_noise_is_its_own(tmp_path, monkeypatch):
    """Of the same size as the evaluation at that step it gives other attempts."""
    seen, attempt_all = [], evaluation.attempt_all

    def spy(*args, **kwargs):
        seen.append(attempt_all(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(evaluation, "attempt_all", spy)
    monkeypatch.setattr("entropy_rl.evaluate.attempt_all", spy)
    run(tmp_path, **{"eval.last.problems": 4, "eval.last.samples": 2})
    texts = [[g.texts for g in groups] for groups in seen[-2:]]
    assert np.shape(texts[0]) == np.shape(texts[1]) and texts[0] != texts[1]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """What a run left that nothing disturbed, and folders with what kills near its end would have left."""
    root, write, save = tmp_path_factory.mktemp("killed"), metrics.Writer.problems, Checkpoints.save
    folder = root / "straight"

    def keep(where):
        shutil.copytree(folder, root / where)

    def problems(self, *args):
        keep("before the rows")
        write(self, *args)
        keep("in the rows")
        path = root / "in the rows" / "problems.jsonl"
        path.write_bytes(path.read_bytes()[:-150])

    def saved(self, step, *args):
        if step == 4:
            keep("before the save")
        save(self, step, *args)
        self.wait()

    with pytest.MonkeyPatch.context() as m:
        m.setattr(countdown.Countdown, "verify", verify)
        m.setattr(metrics.Writer, "problems", problems)
        m.setattr(Checkpoints, "save", saved)
        return run(folder, **LONGER), root


@pytest.mark.parametrize("where", ["in the rows", "before the rows", "before the save"])
def test_a_kill_at_the_end_leaves_one_set_of_rows(killed, where):
    """Mutations: problems.jsonl not cut on resuming; the last evaluation after the save, which nobody would repeat."""
    want, folder = stripped(killed[0]), killed[1] / where
    assert checkpoints.steps(folder) == [3]
    out = run(folder, **LONGER)
    assert [repr(x) for x in stripped(out)] == [repr(x) for x in want]
    assert len(out.problems) == 6
    before = (folder / "problems.jsonl").stat().st_mtime_ns
    run(folder, **LONGER)
    assert (folder / "problems.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"eval.last.problems": -1}, r"config\.eval\.last\.problems=-1: must be a number of 0 or more"),
        ({"eval.last.problems": 10**6}, "countdown/test has .* problems .*: lower size"),
        ({"eval.last.samples": 0}, r"config\.eval\.last\.samples=0"),
    ],
)
def test_bad_values_leave_no_workdir(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_slots_that_devices_cannot_share(monkeypatch):
    """Every batch counts, the last and smaller one too: 64 + 2 problems of 3 attempts are 192 and 6 slots."""
    checked = []
    monkeypatch.setattr(evaluation.checks, "rows", lambda mesh, what, count: checked.append((what, count)))
    config = get(**{"eval.last.problems": 66, "eval.last.samples": 3})
    parts.make(config)
    last = [count for what, count in checked if "eval.last.problems * samples" in what]
    assert sorted(last) == [6, 192]


def test_imitation_has_none(tmp_path):
    config = launch.load_config("configs/sft/countdown.py:smoke")
    train_sft.run(config, str(tmp_path))
    assert "last" not in config.eval and metrics.read(tmp_path).problems == []


def test_what_evaluations_draw_from():
    """Mutation: `eval.temperature` not read, or a cut in training."""
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05]], "f4"))
    plain = evaluation.behaviour(get(**{"rollout.temperature": 0.5}))
    np.testing.assert_allclose(plain(logits), logits * 2, rtol=1e-6)
    cut = evaluation.behaviour(get(**{"eval.temperature": 2.0, "eval.top_k": 2}))(logits)
    np.testing.assert_allclose(cut[0, :2], logits[0, :2] / 2, rtol=1e-6)
    assert (np.asarray(cut)[0, 2:] < -1e29).all()


def test_a_greedy_cut_gives_equal_samples(tmp_path):
    out = run(tmp_path, **{"eval.top_p": 1e-6})
    assert all(row["right"] in (0, row["n"]) for row in out.problems)
    with pytest.raises(InputError, match=r"config.eval.top_p=1.5: must be a number above 0 and at most 1"):
        run(tmp_path / "bad", **{"eval.top_p": 1.5})
