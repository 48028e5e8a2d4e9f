"""How reward saturates as entropy is spent: curves, fits, intervals, rivals, readers of logs. No jax."""
