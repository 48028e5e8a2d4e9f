import json

import pytest

from configs import bench as config
from experiments import bench


@pytest.mark.slow
def test_bench_measures_every_row_against_the_peak(tmp_path, capsys):
    c = config.get_config("smoke")
    c.step.update(prompts=2, samples=2, new=4)
    result = bench.run(c, tmp_path)
    assert json.loads((tmp_path / "bench.json").read_text()) == result
    table = capsys.readouterr().out
    for name, row in result["rows"].items():
        assert name in table and row["cpu_s"] > 0 and row["share_of_peak"] > 0
    assert result["rows"]["matrix product 1024"]["share_of_peak"] == pytest.approx(1)


def test_arithmetic_of_a_step_by_hand():
    """2 FLOPs a parameter and token sampled or prefilled, 6 for each token learnt from; prompts once a group."""
    c = config.get_config().step
    c.update(model="test", vocab=24, prompts=3, samples=2, prompt=5, new=7)
    _, flops, tokens = bench.grpo_step(c, 0, record=True)
    size = bench.policy(c, 0)[2]
    assert tokens == 3 * 2 * 7
    assert flops == size * (2 + 6) * (3 * 2 * 7 + 3 * 5)
