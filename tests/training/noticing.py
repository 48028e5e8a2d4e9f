"""A run that counts its steps, in one of several processes: what test_loop.py sends signals to."""

import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from entropy_rl.parallel import processes
from entropy_rl.training.loop import loop
from experiments.lib import launch


def main(argv):
    folder, port, index = os.environ["NOTICING"].split(":")
    processes.initialize(f"localhost:{port}", 2, int(index))
    mesh = jax.make_mesh((2,), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    start = {"count": processes.put_global(np.zeros(2, np.float32), sharding)}

    def learn(writer, step, state, data):
        time.sleep(0.05)
        print(step, flush=True)
        return {"count": state["count"] + 1}, {"count": jnp.float32(step)}

    loop(
        Path(folder),
        learn,
        steps=60,
        abstract=jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), start),
        first=lambda: start,
        evaluate=lambda *args: None,
        keep=1,
        checkpoint_every=1000,
    )


if __name__ == "__main__":
    launch.guarded(main)
