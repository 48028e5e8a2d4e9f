"""Tasks with verifiable rewards: one module per task, found by name with `entropy_rl.tasks.base.get`."""
