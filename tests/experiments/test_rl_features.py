"""What train_rl can have beyond GRPO, in process: each does what it says, and each resumes bit for bit."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from entropy_rl import metrics
from entropy_rl.errors import InputError
from entropy_rl.tasks import countdown
from entropy_rl.training import collect
from entropy_rl.training import step as rl_step
from entropy_rl.training.checkpoints import Checkpoints
from entropy_rl.training.state import loaded, saved
from experiments import train_rl
from experiments.lib import launch
from experiments.rl import diversity, parts

FEATURES = {
    "reference_in_loss": {"kl.coef.args.value": 0.5, "kl.reset_every": 3},
    "reference_in_reward": {"kl.coef.args.value": 0.5, "kl.place": "reward", "kl.estimator": "k1"},
    "importance": {"importance_cap": 2.0},
    "lag": {
        "rollout.lag": 2,
        "importance": {"name": "sequence_mask", "args": {"cap": 3.0}},
        "kl.coef.args.value": 0.1,
    },
    "narrow": {
        "rollout.dtype": "bfloat16",
        "rollout.param_dtype": "bfloat16",
        "importance": {"name": "negative_mask", "args": {"delta": 0.0}},
    },
    "band": {"entropy_band.high": {"name": "schedule", "args": {"start": 9.0, "end": 0.1, "steps": 2}}},
    "smoothing": {"smoothing.right": 0.1, "smoothing.wrong": 0.1},
    "nucleus": {"nucleus.coef": 1.0, "nucleus.top_p": 0.9, "microbatches": 2},
    "filtered": {"loss": {"name": "lp_reg", "args": {"frac": 0.5}}, "weight": {"name": "ucpo", "args": {}}},
    "controller": {"entropy_coef": {"name": "adaptive", "args": {"target": 9.0, "delta": 0.01, "high": 0.1}}},
    "dynamic_sampling": {"filter_rounds": 5, "overlong_cache": 4},
    "shaped_advantages": {"entropy_advantage.alpha": 0.4},
    "current_weights": {"weight": {"name": "top_entropy", "args": {"frac": 0.2}}, "weight_policy": "current"},
    "selection": {"loss": {"name": "clip_cov", "args": {"frac": 0.1, "lower": 0.0, "upper": 9.0}}, "microbatches": 2},
    "diversity": {"diversity.predicate": {"name": "solution_graph", "args": {}}, "diversity.correct_only": True},
    "critic": {"critic.warmup": 2},
    "critique": {
        "critique.source": "self",
        "critique.until": 3,
        "loss": {"name": "shaped_clip_cov", "args": {"frac": 0.1, "lower": 0.0, "upper": 9.0}},
        "task.args.talk": True,
    },
    "distillation": {
        "distillation.coef": 1.0,
        "distillation.rate": 0.3,
        "critique.refined": 0,
        "critique.source": "oracle",
        "critique.until": 3,
        "task.args.talk": True,
    },
    "contexts": {
        **{"critique.source": "self", "critique.learn": "joint", "critique.turns": 2, "critique.credit": "last"},
        **{"critique.count": 2, "critique.refined": 0, "critique.until": 4, "task.args.talk": True},
        "loss": {"name": "shaped", "args": {}},
    },
}
# Features that keep nothing from step to step but a place in the order of problems. The fast
# suite resumes those that keep much, the slow one all.
STATELESS = ("importance", "dynamic_sampling", "shaped_advantages", "current_weights", "selection", "diversity")
FEATURES["together"] = {key: value for name in STATELESS for key, value in FEATURES[name].items()}
MUCH = ("reference_in_loss", "lag", "distillation")
RESUMED = [pytest.param(name, marks=() if name in MUCH else pytest.mark.slow) for name in FEATURES]


@pytest.fixture(autouse=True)
def easy(monkeypatch):
    """A reward that an untrained policy gets now and then."""
    monkeypatch.setattr(countdown.Countdown, "verify", lambda self, problem, response: float(len(response) % 3 == 0))


def get(name, **more):
    config = launch.load_config(f"configs/rl/{'ppo' if name == 'critic' else 'grpo'}.py:smoke")
    config.update_from_flattened_dict(
        {"rollout.samples": 4, "optimizer.learning_rate": 0.02, "updates": 2, "checkpoint.every": 2, "eval.every": 4}
    )
    for key, value in (FEATURES[name] | more).items():
        *path, last = key.split(".")
        part = config
        for word in path:
            part = part[word]
        part[last] = value
    return config


def final(folder, config):
    with Checkpoints(folder / "checkpoints") as checkpoints:
        step, tree, meta = checkpoints.restore_latest(saved(parts.abstract(parts.make(config))))
    return step, loaded(tree), meta


KILLED = "as it was before the fourth step"


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Each feature's run of five steps: config, folder, rows and learner; made once, when first asked for. Beside the
    folder is what a kill before the fourth step would have left."""
    done = {}

    def make(name):
        if name not in done:
            config, folder, learners = get(name, steps=5), tmp_path_factory.mktemp(name) / "run", set()

            def collected(self, params, step, call=collect.Collector.__call__):
                if step == 3:
                    shutil.copytree(folder, folder.with_name(KILLED))
                return call(self, params, step)

            def learnt(self, *args, call=rl_step.Learner.__call__, **kwargs):
                learners.add(self)
                return call(self, *args, **kwargs)

            def kept(self, *args, save=Checkpoints.save):
                save(self, *args)
                self.wait()

            with pytest.MonkeyPatch.context() as m:
                m.setattr(collect.Collector, "__call__", collected)
                m.setattr(Checkpoints, "save", kept)
                m.setattr(rl_step.Learner, "__call__", learnt)
                train_rl.run(config, str(folder))
            done[name] = config, folder, metrics.read(folder).metrics, *learners
        return done[name]

    return make


@pytest.mark.parametrize("name", RESUMED)
def test_resumes_bitwise(straight, tmp_path, name):
    """Killed before the fourth of five steps and started again: the same rows and the same state.

    Mutations: the reference, the critic, the teacher or a controller left out of the checkpoint; a reference that is
    the policy's own arrays, which the update donates.
    """
    config, folder, want, _ = straight(name)
    killed = shutil.copytree(folder.with_name(KILLED), tmp_path / "run")
    assert len(metrics.read(killed).metrics) < 3 and final(killed, config)[0] == 2
    train_rl.run(config, str(killed))
    untimed = lambda rows: [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]  # noqa: E731
    assert len(want) == 5 and any(row.get("update/grad_norm", 0) > 0 for row in want)
    assert untimed(metrics.read(killed).metrics) == untimed(want)
    a, b = final(folder, config), final(killed, config)
    assert a[0] == b[0] == 5 and a[2] == b[2]
    jax.tree.map(np.testing.assert_array_equal, a[1], b[1])


def test_the_reference_is_the_policy_of_the_start_until_it_is_reset(straight):
    """Mutation: a reference that moves with the policy; no reset."""
    rows = straight("reference_in_loss")[2]
    distance = [row["policy/ref_kl_rollout"] for row in rows]
    assert abs(distance[0]) < 1e-8 and distance[1] > 1e-6 and distance[2] > 1e-6
    assert abs(distance[3]) < 1e-8, "reset after the third step"
    assert all(row["update/kl_coef"] == 0.5 and row["policy/ref_kl"] >= 0 for row in rows)


def test_a_kl_in_the_reward_changes_the_advantages(straight):
    """In the first step the policy is the reference, and only then do both runs agree."""
    rows = straight("reference_in_reward")[2]
    assert "policy/ref_kl" not in rows[0], "the loss has no KL"
    plain = get("reference_in_reward", steps=5, **{"kl.coef.args.value": 0.0})
    assert not parts.make(plain).reference
    assert rows[1]["policy/ref_kl_rollout"] > 0


def test_the_gap_between_sampler_and_learner_is_logged(straight):
    """The same policy on the same tokens: a gap of rounding, a ratio of 1."""
    for row in straight("together")[2]:
        assert 0 < row["policy/sampler_gap"] < row["policy/sampler_gap_max"] < 1e-4
        assert abs(row["policy/importance"] - 1) < 1e-5


def test_a_lag_samples_with_a_policy_of_steps_ago(straight, monkeypatch, tmp_path):
    """Of 2: the first three rollouts are of the start's policy, the fourth is of the one after the first step.

    Mutations: the newest of the past; past taken after the updates; the learner's own policy sampled with.
    """
    rows = straight("lag")[2]
    assert max(row["policy/sampler_gap"] for row in rows[:1]) < 1e-4 < rows[1]["policy/sampler_gap"]
    assert rows[1]["policy/sampler_gap"] < rows[2]["policy/sampler_gap"]
    used, states = [], []
    call, learn = collect.Collector.__call__, rl_step.Learner.__call__
    keep = lambda params: jax.device_get(params["params"]["embed"]["embedding"])  # noqa: E731
    monkeypatch.setattr(collect.Collector, "__call__", lambda self, p, s: (used.append(keep(p)), call(self, p, s))[1])

    def learned(self, state, *args, **kwargs):
        states.append(keep(state.policy.params))
        return learn(self, state, *args, **kwargs)

    monkeypatch.setattr(rl_step.Learner, "__call__", learned)
    train_rl.run(get("lag", steps=4), str(tmp_path))
    for step in range(4):
        np.testing.assert_array_equal(used[step], states[max(step - 2, 0)])
    assert np.any(states[1] != states[0])


def test_a_sampler_of_fewer_bits_has_a_gap_and_leaves_the_learner_alone(straight):
    """8 bits: a gap of some thousandths of a nat, against rounding of float32. Weights alone: likewise, and other.

    Mutation: a rounding that the compiler leaves out.
    """
    gap = straight("narrow")[2][0]["policy/sampler_gap"]
    assert 1e-4 < gap < 0.1
    config = get("narrow", **{"rollout.dtype": None})
    p = parts.make(config)
    state = parts.first(config, p)
    seen = jax.device_get(p.seen(state.policy.params))
    for a, b in zip(jax.tree.leaves(seen), jax.tree.leaves(jax.device_get(state.policy.params))):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_array_equal(a, b.astype(jnp.bfloat16).astype(np.float32))
    assert p.sampling["model"].config.dtype == np.float32 and p.model.config.dtype == np.float32
    assert 0 < straight("narrow")[2][0]["policy/importance_masked"] < 1, "a drift above 0 is enough"


def test_a_band_rejects_rows_of_one_sign(straight):
    """The upper bound falls from 9 to .1 nats: nothing is rejected, then all that is negative. Mutation: the signs."""
    rows = straight("band")[2]
    assert [round(row["update/entropy_high"], 3) for row in rows] == [9.0, 4.55, 0.1, 0.1, 0.1]
    assert [row["update/rejected"] > 0 for row in rows] == [False, False, True, True, True]


def test_the_nucleus_entropy_is_anchored_at_the_first_step(straight):
    """A fifth of the tokens, and one number for all steps. Mutation: an anchor of every step."""
    rows = straight("nucleus")[2]
    assert len({row["update/nucleus_anchor"] for row in rows}) == 1 and rows[0]["update/nucleus_anchor"] > 0
    assert all(0.1 < row["policy/nucleus_fraction"] <= 0.2 for row in rows)


def test_rewards_are_smoothed(straight):
    """Logged rewards are the verifier's, advantages are not. Mutation: the smoothed rewards unused."""
    rows = straight("smoothing")[2]
    assert all(0 <= row["rollout/reward"] <= 1 for row in rows)
    plain = {"smoothing.right": 0.0, "smoothing.wrong": 0.0}
    assert parts.make(get("smoothing", **plain)).learning["smoothing"] == (0.0, 0.0)


def test_the_controller_is_obeyed_without_another_program(straight):
    """Skywork's rule by hand: 0 at first, then 0.01 more a step. The coefficient is traced: one compiled update.

    Mutations: a coefficient that is a Python constant; shardings of the first state in another form than the update's.
    """
    _, _, rows, learner = straight("controller")
    np.testing.assert_allclose([row["update/entropy_coef"] for row in rows], [0.0, 0.01, 0.02, 0.03, 0.04], atol=1e-9)
    assert learner._update._cache_size() == 1


def test_dynamic_sampling_fills_the_batch_with_groups_that_differ(straight):
    rows = straight("together")[2]
    assert all(row["rollout/groups_sampled"] >= 4 and row["rollout/groups_sampled"] % 4 == 0 for row in rows)
    assert any(row["rollout/zero_variance"] > 0 for row in rows), "of all groups sampled"
    assert all(row["update/grad_norm"] > 0 for row in rows)


def test_dynamic_sampling_that_finds_nothing_says_so_and_loses_nothing(tmp_path, monkeypatch):
    """From the third step on nothing is right. Mutation: no save before the error."""
    config = get("dynamic_sampling", steps=5, **{"checkpoint.every": 50})
    call, steps = collect.informative, []

    def informative(sample, **kw):
        steps.append(1)
        if len(steps) > 2:
            monkeypatch.setattr(countdown.Countdown, "verify", lambda *a: 0.0)
        return call(sample, **kw)

    monkeypatch.setattr(collect, "informative", informative)
    with pytest.raises(InputError, match="20 prompts in 5 rounds gave 0 of the 4 groups .*: raise filter_rounds") as e:
        train_rl.run(config, str(tmp_path))
    assert "\n" not in str(e.value)
    assert len(metrics.read(tmp_path).metrics) == 2 and final(tmp_path, config)[0] == 2


def test_a_critic_learns_alone_at_first(straight):
    """Two steps of the critic alone: the policy is the one of the start. Mutation: warm-up not obeyed.

    The logged rate is that of the policy's own updates, and a cosine ends with them. Mutation: all steps counted.
    """
    own, folder, rows, _ = straight("critic")
    config = get("critic", **{"optimizer.warmup": 0, "optimizer.decay_to": 0.5, "steps": 5, "critic.warmup": 2})
    schedule = parts.make(config).learning["schedule"]
    np.testing.assert_allclose([schedule(1), schedule(3 * 2)], [0.02, 0.01], rtol=1e-6)
    assert schedule(3 * 2 - 1) > 0.0101
    np.testing.assert_allclose([row["update/learning_rate"] for row in rows], [0, 0, 0.02, 0.02, 0.02], rtol=1e-6)
    assert all("update/grad_norm" not in row for row in rows[:2]) and rows[2]["update/grad_norm"] > 0
    assert all(np.isfinite(row["critic/explained_variance"]) and row["critic/grad_norm"] > 0 for row in rows)
    step, state, _ = final(folder.with_name(KILLED), own)
    assert step == 2 and int(state.policy.step) == 0 and int(state.critic.step) == 4


def test_diversity_shapes_what_is_learnt_and_nothing_else(monkeypatch):
    """The same rollouts whether it is off, only measured or rewarded; groups keep the verifier's rewards.

    Mutations: shaped rewards put into the groups; a draw from the key for the predicate.
    """
    key, rollouts = jax.random.key(0), {}
    p = parts.make(get("importance", filter_rounds=9))
    params = parts.first(get("importance"), p).policy.params
    graph = {"diversity.predicate": {"name": "solution_graph", "args": {}}}
    measured, rewarded = graph | {"diversity.combine.name": "none"}, graph | {"diversity.correct_only": True}
    for name, changes in (("off", {}), ("none", measured), ("rewarded", rewarded)):
        config = get("importance", filter_rounds=9, **changes)
        shapes = diversity.shaping(config, p.task)
        assert (shapes is None) == (name == "off")
        rollouts[name], groups, row = collect.Collector(**p.sampling | {"diversity": shapes}, key=key)(params, 0)
        assert {r for g in groups for r in g.rewards} == {0.0, 1.0}
        assert ("rollout/diversity" in row) == ("rollout/classes" in row) == (name != "off")
    jax.tree.map(np.testing.assert_array_equal, rollouts["off"], rollouts["none"])
    off, on = rollouts["off"].reward, rollouts["rewarded"].reward
    assert (on <= off).all() and (on < off).any() and (on[off == 1] >= np.float32(0.1)).all()
    jax.tree.map(np.testing.assert_array_equal, rollouts["off"].replace(reward=on), rollouts["rewarded"])


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("diversity", {"diversity.predicate.name": "graph"}, "unknown predicate of diversity 'graph'.*: one of"),
        ("diversity", {"diversity.predicate.name": "judge"}, "hyper-parameter 'judge': a config cannot hold it"),
        ("diversity", {"diversity.predicate.args": {"n": 3}}, "'solution_graph' has no hyper-parameter 'n'"),
        ("diversity", {"diversity.combine.name": "add"}, r"unknown combination of diversity 'add'.*: one of additive"),
        ("diversity", {"diversity.floor": 2.0}, r"config\.diversity\.floor=2\.0: must be a number from 0 to 1"),
        ("diversity", {"rollout.samples": 1}, r"config\.rollout\.samples=1: diversity needs groups of 2 or more"),
        ("importance", {"kl.place": "rewards"}, r"config\.kl\.place='rewards' \(did you mean 'reward'\?\): must"),
        ("importance", {"kl.estimator": "k4"}, r"config\.kl\.estimator='k4'"),
        ("importance", {"weight_policy": "new"}, r"config\.weight_policy='new'.*: must be one of data, current"),
        ("importance", {"importance_cap": -1.0}, r"config\.importance_cap=-1\.0: must be a number of 0 or more"),
        ("importance", {"replay": "samplers"}, r"config\.replay='samplers' \(did you mean 'sampler'"),
        ("importance", {"replay": "learner"}, r"config\.replay='learner' is of choices of experts"),
        ("importance", {"load_coef": 0.1}, r"config\.load_coef=0\.1 is of the load of experts"),
        ("importance", {"rollout.widths": 0}, r"config\.rollout\.widths=0: must be a whole number of 1 or more"),
        ("importance", {"overlong_cache": 99}, r"config\.overlong_cache=99: must be below the longest response"),
        ("importance", {"entropy_advantage.kappa": 1.0}, r"config\.entropy_advantage\.kappa=1\.0: must be a number"),
        ("importance", {"entropy_coef": {"name": "tagret", "args": {}}}, r"unknown controller 'tagret' \(did you mean"),
        ("controller", {"entropy_coef.args.delat": 1.0}, r"config\.entropy_coef: controller .* has no .* 'delat'"),
        ("importance", {"advantage": {"name": "gae", "args": {}}}, "advantage 'gae' needs a critic"),
        ("critic", {"advantage": {"name": "grpo", "args": {}}}, "config has a critic, which advantage 'grpo' does"),
        ("critic", {"critic.optimizer.learning_rate": 0.0}, r"config\.critic\.optimizer\.learning_rate=0\.0: must be"),
        ("selection", {"loss": {"name": "kl_cov", "args": {}}, "updates": 1}, "with one update a rollout"),
        ("selection", {"loss": {"name": "clip_cov", "args": {"frac": 2.0}}}, "policy loss 'clip_cov': frac"),
        ("selection", {"loss": {"name": "clip_cov", "args": {"scope": "batch"}}}, "policy loss 'clip_cov': scope"),
        ("current_weights", {"weight": {"name": "drop_truncated", "args": {}}}, "weight_policy='current' goes with"),
        ("current_weights", {"weight.args.base": "drop_truncated"}, "weight_policy='current' .* not with drop_trunc"),
        ("current_weights", {"weight.args.base": {"name": "sign_scale", "args": {"base": {"name": "drop_truncated"}}}},
         "weight_policy='current' goes with"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_a_bad_value_is_one_line_before_anything_is_made(tmp_path, name, changes, message):
    with pytest.raises(InputError, match=message) as e:
        train_rl.run(get(name, **changes), str(tmp_path / "run"))
    assert "\n" not in str(e.value)
    assert not (tmp_path / "run").exists()
