"""What a run is, by its config: the arms of a study, which of them is the plain one, what the others change."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path, PurePath
from typing import Any

from flax.traverse_util import flatten_dict

from experiments.claims.data import Run
from experiments.lib.workdirs import within

# what does not make two runs different settings
APART = ("seed", "eval", "checkpoint", "alarm", "change", "mesh", "log_every", "init", "microbatches", "critique.model")
DEFAULTS = {  # of knobs that older runs do not have
    "init_temperature": 1.0,
    **{"importance.name": "auto", "importance.args": {}, "min_p": 0.02},
    **{"rollout.lag": 0, "rollout.dtype": None, "rollout.param_dtype": None},
    **{f"entropy_band.{x}.name": "constant" for x in ("low", "high")},
    **{f"entropy_band.{x}.args.value": 0.0 for x in ("low", "high")},
    **{"smoothing.right": 0.0, "smoothing.wrong": 0.0},
    **{"nucleus.coef": 0.0, "nucleus.top_p": 0.8, "nucleus.frac": 0.2},
}
OFF = (None, "off", False)
BOUNDS = ("low", "high")
COVARIANCE = ("clip_cov", "kl_cov", "shaped_clip_cov")
PLAIN_LOSSES = ("ppo", "shaped", "reinforce", "gspo", "cispo")
PLAIN_WEIGHTS = ("token_mean", "sequence_mean", "fixed_length")
PLAIN_ADVANTAGES = ("grpo", "dr_grpo", "rloo", "reinforce_pp", "reinforce_pp_baseline", "gae")
ALGORITHM = ("loss", "advantage", "weight", "weight_policy", "critic", "epochs")
CONTENT = ("oracle", "learned", "self")  # critiques that say something true, or try to
SAME_KIND = ("fresh",)  # as many more samples of the question
WORDLESS = ("none", "random")  # as many retries, with no words or with words about another attempt


@dataclasses.dataclass(frozen=True)
class Arm:
    """Runs of one setting, by seed. `leaves`: the config's values that make it, by dotted key."""

    name: str
    leaves: dict[str, Any]
    runs: dict[int, Run]

    @property
    def first(self) -> Run:
        """Any of its runs: they differ in the seed alone."""
        return next(iter(self.runs.values()))

    @property
    def source(self) -> str | None:
        """Who criticises in the loop; None where nobody does, or not to the end."""
        source = self.first.get("critique.source")
        return None if source in OFF or self.first.get("critique.until", 0) else source

    @property
    def share(self) -> float | None:
        """The share of tokens that are learned from, where these are the ones of the highest entropy; None for all."""
        return token_share(self.first)


@dataclasses.dataclass(frozen=True)
class Study:
    """Runs of one script and length in one folder."""

    folder: Path
    kind: str
    arms: list[Arm]
    notes: list[str]

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name

    def plain(self) -> Arm | None:
        """The arm without any control or critique; of several the one from which the others differ least."""
        arms = [arm for arm in self.arms if not controls(arm.first) and arm.source is None]
        if self.kind == "self_train":
            arms = [arm for arm in arms if arm.first.get("rounds", 0) > 0]
        if self.kind == "rl":
            arms = [arm for arm in arms if arm.first.get("critique.source") in OFF]
            arms = [arm for arm in arms if is_plain(arm.first)] or arms
        far = lambda arm: sum(len(differ(arm, other)) for other in self.arms)  # noqa: E731
        return min(arms, key=lambda arm: (far(arm), -len(arm.runs), arm.name), default=None)


def leaves(config: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys and values of what makes a setting."""
    found = {key: value for key, value in flatten_dict(config, sep=".").items() if not within(key, APART)}
    if found.get("critique.source") in OFF or config.get("critique") is None:
        found = {key: value for key, value in found.items() if not within(key, ("critique",))}
    if isinstance(config.get("init"), str):  # which start, wherever it lay and whichever seed it had
        found["init"] = re.sub(r"[,._-]?(seed=?)?\d+$", "", PurePath(config["init"]).name)
    if not is_diverse(config):
        found = {key: value for key, value in found.items() if not within(key, ("diversity",))}
    if "loss" in config:
        found.pop("samples", None)  # how many train_rl writes down
    return {key: value for key, value in found.items() if key not in DEFAULTS or value != DEFAULTS[key]}


def studies(runs: list[Run]) -> list[Study]:
    """Runs by folder, script, task, model and length; in each by setting and seed."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        about = {key: run.get(key) for key in ("task", "model", "steps", "init_temperature")}
        about["init_temperature"] = about["init_temperature"] or 1.0
        groups.setdefault((str(run.study), run.kind, json.dumps(about, sort_keys=True)), []).append(run)
    found = []
    for (_, kind, _), members in groups.items():
        arms: dict[str, Arm] = {}
        notes = []
        for run in members:
            of = leaves(run.config)
            arm = arms.setdefault(json.dumps(of, sort_keys=True), Arm(run.name, of, {}))
            if run.seed in arm.runs:
                notes.append(f"{run.path}: left out, as {arm.runs[run.seed].path} is the same setting with this seed")
            else:
                arm.runs[run.seed] = run
        found.append(Study(members[0].study, kind, _told_apart(list(arms.values())), notes))
    return found


def _told_apart(arms: list[Arm]) -> list[Arm]:
    """The arms, with what differs in the names of those that have the same."""
    found = []
    for arm in arms:
        same = [other for other in arms if other.name == arm.name and other is not arm]
        keys = sorted(set().union(*(differ(arm, other) for other in same)))
        told = ", ".join(f"{key}={arm.leaves.get(key)}" for key in keys[:2])
        found.append(dataclasses.replace(arm, name=f"{arm.name} ({told})") if same else arm)
    return found


def differ(a: Arm, b: Arm) -> set[str]:
    """Dotted keys in which two settings differ."""
    keys = a.leaves.keys() | b.leaves.keys()
    return {key for key in keys if a.leaves.get(key) != b.leaves.get(key)}


def controls(run: Run) -> set[str]:
    """What in an RL run is there to hold entropy up or to choose tokens by it."""
    found = set()
    for key in ("entropy_coef", "kl.coef"):
        if run.get(f"{key}.name", "constant") != "constant" or run.get(f"{key}.args.value", 0):
            found.add(key)
    if run.get("entropy_advantage.alpha", 0):
        found.add("entropy_advantage")
    if run.get("loss.name") in COVARIANCE:
        found.add("loss")
    if token_share(run) is not None or run.get("weight.args.bottom"):
        found.add("weight")
    if is_diverse(run.config):
        found.add("diversity")
    bounds = [f"entropy_band.{x}.args.value" for x in BOUNDS]
    for key in ("smoothing.right", "smoothing.wrong", "nucleus.coef", *bounds):
        if run.get(key, 0):
            found.add(key.split(".")[0])
    if any(run.get(f"entropy_band.{x}.name", "constant") != "constant" for x in BOUNDS):
        found.add("entropy_band")
    return found


def token_share(run: Run) -> float | None:
    """The share of tokens of highest entropy that alone are learned from; None where all are, or others."""
    if run.get("weight.name") != "top_entropy" or run.get("weight.args.bottom"):
        return None
    share = run.get("weight.args.frac", 1.0)
    return share if isinstance(share, int | float) and share < 1 else None


def is_diverse(config: dict[str, Any]) -> bool:
    """Whether responses earn more for being unlike others (DARLING)."""
    of = config.get("diversity") or {}
    name = lambda key: (of.get(key) or {}).get("name", "off")  # noqa: E731
    return name("predicate") not in (*OFF, "none") and name("combine") not in (*OFF, "none")


def is_plain(run: Run) -> bool:
    """A policy gradient as its paper has it, from its own samples, with nothing that is there for entropy's sake."""
    low, high = (run.get(f"loss.args.clip_{side}", 0) for side in ("low", "high"))
    symmetric = run.get("loss.name") != "ppo" or low == high
    names = (("loss.name", PLAIN_LOSSES), ("weight.name", PLAIN_WEIGHTS), ("advantage.name", PLAIN_ADVANTAGES))
    taught = run.get("distillation.coef", 0)
    other = any(run.get(f"rollout.{key}") for key in ("lag", "dtype", "param_dtype"))
    return symmetric and not (controls(run) or taught or other) and all(run.get(key) in of for key, of in names)


def algorithms(study: Study, plain: Arm) -> list[Arm]:
    """The plain arm and those that are another plain algorithm and nothing else."""
    same = [arm for arm in study.arms if is_plain(arm.first) and arm.first.get("critique.source") in OFF]
    return [arm for arm in same if all(within(key, ALGORITHM) for key in differ(arm, plain))]


def only(arm: Arm, plain: Arm, keys: tuple[str, ...]) -> bool:
    """Whether all that an arm changes lies below `keys`."""
    return bool(differ(arm, plain)) and all(within(key, keys) for key in differ(arm, plain))
