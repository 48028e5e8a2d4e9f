import json

import jax
import numpy as np
import pytest

from configs import bench as config
from experiments import bench
from experiments.hardware import bench_work, chips


@pytest.mark.slow
def test_every_row_against_the_peak(tmp_path, capsys):
    c = config.get_config("smoke")
    result = bench.run(c, tmp_path)
    assert json.loads((tmp_path / "bench.json").read_text()) == result
    said = capsys.readouterr().out
    assert len(result["rows"]) == 1 + 5 + 2 + 5 + 2
    for name, row in result["rows"].items():
        assert name in said and row["cpu_s"] > 0 and row["bound"] > 0
    assert result["rows"][bench.PEAK]["bound"] == pytest.approx(1)


def test_arithmetic_of_a_step_by_hand():
    """2 FLOPs a parameter and token sampled or prefilled, 6 for each token learnt from; prompts once a group."""
    c = config.get_config("smoke").steps.test
    c.update(prompts=3, samples=2, prompt=5, new=7)
    size = bench_work.policy(c, 0)[2]
    step, update = bench_work.grpo_step(c, 0), bench_work.update(c, 0)
    assert step.tokens == 3 * 2 * 7
    assert step.flops == size * (2 + 6) * (3 * 2 * 7 + 3 * 5)
    assert update.flops + bench_work.decode(c, 0).flops == step.flops


def test_the_plain_scan_samples_from_the_same_policy():
    """Or it would be no measure: with the same numbers drawn, the same tokens as the engine. Mutation: a column off."""
    c = config.get_config("smoke").steps.test
    token, logp, _ = bench_work.scan(c, 0).call()
    model, params, _ = bench_work.policy(c, 0)
    prompts = bench_work.random_prompts(c.prompts, c.prompt, c.vocab, 0)
    groups = bench_work.generate(
        model, params, prompts, jax.random.key(0), samples=2, max_new=c.new, eos=-1, chunk=3, streams=1
    )
    flat = [x for g in groups for x in g]
    np.testing.assert_array_equal(token.T, np.stack([x.tokens for x in flat]))
    np.testing.assert_allclose(logp.T, np.stack([x.logp for x in flat]), atol=1e-5)


def test_lengths_are_geometric():
    p = np.exp(np.asarray(bench_work.ends(0.25)(jax.numpy.zeros((1, 9)))))[0]
    assert p[1] == pytest.approx(0.25) and p.sum() == pytest.approx(1) and p[0] == pytest.approx(0.75 / 8)


def test_chips_by_the_names_that_jax_gives():
    kinds = {"NVIDIA H100 80GB HBM3": "h100", "TPU v5 lite": "v5e", "TPU v5": "v5p", "TPU v6 lite": "v6e"}
    assert all(chips.of(kind) == chips.CHIPS[name] for kind, name in kinds.items()) and chips.of("cpu") is None


def test_phases_of_a_first_call_count_time_once():
    """A trace within a trace is in both clocks. Mutation: the sum of the spans gives 4.5 s."""
    phases = bench.Phases()
    phases._spans = {"trace": [(1.0, 2.0), (0.5, 3.0), (4.0, 5.0)], "compile": []}
    assert phases.seconds() == {"trace": 3.5, "compile": 0.0}
    with bench.Phases() as heard:
        jax.jit(lambda x: x * 3.0 + 0.125)(np.ones(3, np.float32))
    assert all(seconds > 0 for seconds in heard.seconds().values())
    assert set(heard.seconds()) == {"trace", "lower", "compile"}
