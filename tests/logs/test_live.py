"""The law of a run while it is trained; hooks on what stands for the trainers, who themselves are in test_hooks.py."""

import sys
import types

import numpy as np
import pytest

from entropy_rl.logs import columns, live, trl_hook, verl_hook

N = 40
H = np.geomspace(0.9, 0.05, N)
R = 0.9 - 0.3 * np.exp(H) + 0.004 * np.random.default_rng(0).standard_normal(N)
KEYS = {f"law/{name}{end}" for name in ("ceiling", "left", "forecast") for end in ("", "_low", "_high")}


def made(**options):
    return live.Live(**{"share": 1e9, "draws": 100, "horizon": 60} | options)


def fed(watch, steps, evaluations=2):
    """What is new at each step; of every second one an evaluation."""
    found = {}
    for i in steps:
        found[i] = watch.add(i, {"entropy": np.float32(H[i]), "loss": 0.1, "name": "a", "hist": np.ones(3)})
        if i % evaluations == 0:
            found[i] |= watch.add(i, {"eval_accuracy": R[i], "eval_loss": 1.0})
    return found


def test_a_fit_an_evaluation_and_its_numbers(caplog):
    """Mutation: a fit at every row."""
    watch = made(stop_left=0.5, min_points=18)
    found = fed(watch, range(N))
    assert [i for i in range(N) if found[i]] == [34, 36, 38]  # from the 18th evaluation on
    last = found[N - 2]
    assert set(last) == KEYS | {"law/left_linear", "law/alarms", "law/alarm/spent"}
    assert last["law/ceiling"] == pytest.approx(0.6, abs=0.03) and last["law/alarm/spent"] == last["law/alarms"] == 1
    assert last["law/ceiling_low"] < last["law/ceiling"] < last["law/ceiling_high"]
    assert last["law/forecast_low"] < 0.6 < last["law/forecast_high"]
    assert watch.law["score"] == "eval_accuracy" and watch.law["entropy"] == "entropy"
    said = [record.message for record in caplog.records]
    assert sum("point(s)" in text for text in said) == 1 and sum("ALARM spent" in text for text in said) == 1


def test_without_evaluations_every_few_rows():
    watch, fits = made(every=15, horizon=None), []
    for i in range(N):
        if watch.add(i, {"entropy": H[i], "reward": R[i], "law/ceiling": 9.0, "law/alarm/length": 1.0}):
            fits.append(i)
    assert fits == [14, 29] and watch.law["ahead"] is None
    assert not any(name.startswith("law/") for name in watch._table.columns)


def test_fits_keep_their_share_of_the_time(monkeypatch):
    """A fit of two CPU-seconds at a share of 1 %: the next one after 200 s. Mutation: `_rest` never set."""
    cpu, now = iter(range(0, 1000, 2)), [0.0]
    monkeypatch.setattr(live.time, "process_time", lambda: next(cpu))
    watch = made(every=1, share=0.01, clock=lambda: now[0], min_points=20, horizon=None)
    fits = []
    for i in range(N):
        now[0] = 25.0 * i
        if watch.add(i, {"entropy": H[i], "reward": R[i]}):
            fits.append(i)
    assert fits == [19, 27, 35]


def test_an_alarm_that_has_ended_is_zero():
    watch, flags = made(every=20, horizon=None), {}
    clipped = np.r_[np.full(20, 0.5), np.zeros(20)]
    for i in range(N):
        found = watch.add(i, {"entropy": H[i], "reward": R[i], "clip_fraction": clipped[i]})
        flags[i] = (found.get("law/alarm/clipping"), found.get("law/alarms"))
    assert flags[19] == (1, 1) and flags[39] == (0, 0)


def test_a_run_that_goes_on(tmp_path):
    """From rows or from a log; nothing is fitted for them. Mutation: `resume` without `_keep`."""
    whole = made(every=N, horizon=None)
    rows = [(i, {"entropy": H[i], "reward": R[i]}) for i in range(N)]
    for step, row in rows:
        expected = whole.add(step, row)
    again = made(every=N, horizon=None)
    again.resume([*rows[:-1], (None, {"train_runtime": 3.0})])
    assert not again.law and again.add(*rows[-1]) == expected
    path = tmp_path / "before.csv"
    lines = [f"{i},{h!r},{r!r}\n" for i, (h, r) in enumerate(zip(H.tolist(), R.tolist()))]
    path.write_text("".join(["step,entropy,reward\n", *lines[:-1]]))
    assert made(every=1, horizon=None, history=str(path)).add(*rows[-1]) == expected


def test_an_error_ends_the_watch_and_not_the_run(monkeypatch, caplog):
    monkeypatch.setattr(live, "law_of", lambda *args, **kwargs: 1 / 0)
    watch = made(every=1)
    assert all(not watch.add(i, {"entropy": H[i], "reward": R[i]}) for i in range(N))
    assert sum("no longer watched: ZeroDivisionError" in record.message for record in caplog.records) == 1
    assert made(history="nowhere.csv").add(0, {"entropy": 1.0}) == {}


def test_no_law_has_no_ceiling():
    watch = made(every=N)
    for i in range(N):
        found = watch.add(i, {"entropy": H[::-1][i], "reward": R[::-1][i]})
    assert found and not {key for key in found if not key.startswith("law/alarm")}


def test_our_own_numbers_are_no_columns_of_a_log():
    names = dict.fromkeys([*KEYS, "law/alarm/length", "train/law/alarm/zero_variance", "law/alarm/clip_fraction"], 20)
    assert columns.signals(names) == {} == dict.fromkeys(columns.entropies(names) + columns.scores(names))


class Handler:
    """What transformers' Trainer does with callbacks when it logs."""

    def __init__(self, callbacks):
        self.callback_handler = types.SimpleNamespace(callbacks=callbacks)
        self.state = types.SimpleNamespace(is_world_process_zero=True, max_steps=60, log_history=[], global_step=0)

    def add_callback(self, callback):
        self.callback_handler.callbacks.append(callback)

    def log(self, step, row):
        self.state.global_step = step
        self.state.log_history.append({**row, "step": step})
        for one in self.callback_handler.callbacks:
            one.on_log(None, self.state, None, logs=row)


class Shown:
    def __init__(self):
        self.rows = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.rows.append(dict(logs))


@pytest.fixture
def transformers(monkeypatch):
    module = types.ModuleType("transformers")
    module.TrainerCallback = object
    monkeypatch.setitem(sys.modules, "transformers", module)


def test_trl_has_them_in_all_it_reports_to(transformers):
    """Mutation: the callback behind the others."""
    trainer, shown = Handler([]), Shown()
    trainer.add_callback(shown)
    law = trl_hook.watch(trainer, share=1e9, draws=100, every=20)
    law.on_train_begin(None, trainer.state, None)
    for i in range(20):
        trainer.log(i, {"entropy": H[i], "reward": R[i]})
    assert KEYS <= set(shown.rows[-1]) and KEYS <= set(trainer.state.log_history[-1]) and not KEYS & set(shown.rows[0])
    assert law.live.law["ahead"]["at"] == 60 and law.live.law["format"] == "trainer_state"
    other = trl_hook.callback(share=1e9, draws=100, every=1)
    other.on_train_begin(None, trainer.state, None)  # from a checkpoint
    trainer.callback_handler.callbacks[:] = [other, shown]
    trainer.log(20, {"entropy": H[20], "reward": R[20]})
    assert other.live.law["n"] == 21 and KEYS <= set(shown.rows[-1])
    trainer.state.is_world_process_zero = False
    silent = trl_hook.callback()
    silent.on_train_begin(None, trainer.state, None)
    trainer.callback_handler.callbacks[:] = [silent, shown]
    trainer.log(21, {"entropy": H[21], "reward": R[21]})
    assert shown.rows[-1] == {"entropy": H[21], "reward": R[21]}


class Tracking:
    """As verl's, whose own is in the slow suite."""

    def __init__(self):
        self.rows = []

    def log(self, data, step, backend=None):
        self.rows.append((step, dict(data), backend))


@pytest.mark.parametrize("of", ["class", "object"])
def test_verl_has_them_in_all_its_backends(monkeypatch, of):
    """Each Tracking has a watch of its own; asked twice, it is still one. Mutation: one Live for the class."""
    kind = type("Tracking", (Tracking,), {"log": Tracking.log})
    module = types.ModuleType("verl.utils.tracking")
    module.Tracking = kind
    monkeypatch.setitem(sys.modules, "verl.utils.tracking", module)
    one, other = kind(), kind()
    for options in ({"horizon": 99}, {"horizon": 60, "share": 1e9, "draws": 100, "every": 40}):
        verl_hook.watch(None if of == "class" else one, **options)
    for i in range(N):
        row = {"actor/entropy": H[i], "critic/score/mean": R[i]}
        one.log(row, i) if i % 2 else one.log(data=row, step=i, backend=["console"])
        assert row.keys() == {"actor/entropy", "critic/score/mean"}
    other.log({"actor/entropy": 1.0}, 0)
    assert len(one.rows) == N and KEYS <= set(one.rows[-1][1]) and one.rows[-2][2] == ["console"]
    assert one.rows[0][1] == {"actor/entropy": H[0], "critic/score/mean": R[0]}
    assert getattr(one, verl_hook.NAME).law["ahead"]["at"] == 60
    assert hasattr(other, verl_hook.NAME) == (of == "class")
