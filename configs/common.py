"""What several configs share. A config file stays short: what differs from here, and the paper it comes from."""

from ml_collections import ConfigDict

from entropy_rl.errors import InputError


def choice(name: str, **args) -> ConfigDict:
    """A row of a table and its hyper-parameters: `--config.loss.name=ppo --config.loss.args.clip_high=0.28`."""
    return ConfigDict({"name": name, "args": args})


def base(levels: tuple[int, ...] = (4,)) -> ConfigDict:
    """Seed, task, model, mesh, evaluation, checkpoints: the same for every training script."""
    c = ConfigDict()
    c.seed = 0
    c.task = choice("countdown", levels=levels)
    c.model = choice("embedded")
    c.mesh = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1})  # -1: the devices that are left
    c.eval = ConfigDict(
        {
            "every": 5,  # steps; also before the first and after the last update
            "split": "test",  # held out; tune on "validation"
            "problems": 256,
            "samples": 8,  # a problem
            "ks": (1, 2, 4, 8),  # pass@k, at most `samples`
        }
    )
    c.checkpoint = ConfigDict({"every": 50, "keep": 2})  # steps
    return c


def optimizer(learning_rate: float, **changes) -> ConfigDict:
    """AdamW: a constant rate after `warmup` updates, or a cosine down to `decay_to` of it."""
    defaults = {"warmup": 0, "decay_to": 1.0, "b1": 0.9, "b2": 0.95, "weight_decay": 0.0, "clip": 1.0}
    return ConfigDict({"learning_rate": learning_rate, **defaults, **changes})


def rollout() -> ConfigDict:
    """How responses are sampled, in training and in evaluation."""
    return ConfigDict({"slots": 512, "temperature": 1.0})  # slots: responses sampled at once


def smoke(c: ConfigDict, arg: str) -> bool:
    """For `arg` "smoke" two steps of a tiny model (does it run), for "" nothing; says which."""
    if arg not in ("", "smoke"):
        raise InputError(f"this config knows no variant {arg!r}: leave it out or say :smoke")
    if not arg:
        return False
    c.steps = 2
    c.model.name = "test"
    c.eval.update(every=1, problems=4, samples=2, ks=(1, 2))
    c.checkpoint.every = 1
    c.optimizer.warmup = 0
    return True
