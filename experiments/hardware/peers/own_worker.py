"""This project's step, a step for each line: `python -m experiments.hardware.peers.own_worker SPEC.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import pace

pace.begin()

from experiments.lib.process import setup_process


def main(spec: dict) -> None:
    """Steps until there are no more lines."""
    setup_process()
    import jax
    import numpy as np
    from ml_collections import ConfigDict

    from entropy_rl.models import hf
    from entropy_rl.sampling.engine import score
    from experiments.hardware import bench_work

    model, params = hf.load(spec["folder"])
    size = sum(x.size for x in jax.tree.leaves(params))
    c = ConfigDict({k: spec[k] for k in ("samples", "new", "learning_rate", "parts")})
    c.prompts, c.prompt, c.vocab = len(spec["prompts"]), len(spec["prompts"][0]), model.config.vocab_size
    work = bench_work.grpo_step(c, 0, policy_of=lambda *_: (model, params, size), prompts=spec["prompts"])
    peak = bench_work.peak()
    # of the prompts' tokens after their first: whether the others have this model
    scores, _ = score(model, params, np.array(spec["prompts"]))
    logp = float(np.asarray(scores)[:, 1:].mean())
    about = {"ready": {"jax": jax.__version__}, "parameters": int(size), "gflop": work.flops / 1e9}
    pace.answer(about | {"logp": logp})
    for line in sys.stdin:
        clock = pace.Clock()
        if line.strip() == "peak":
            jax.block_until_ready(peak.call())
        else:
            jax.block_until_ready(work.call())
        clock.stop()


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
