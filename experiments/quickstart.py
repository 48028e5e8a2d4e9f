"""From nothing to an entropy curve and its fitted law: imitation, RL, law, and a table of what happened.

    make quickstart
    python -m experiments.quickstart --config=configs/quickstart.py --workdir=runs/quickstart
    python -m experiments.quickstart --config=configs/rl/hf.py:path=MODEL,task=chain_sum --workdir=runs/mine

Nothing of its own: it calls train_sft, train_rl and fit_laws in `workdir`/sft, rl and law, and convert_hf, which writes
`workdir`/export, where the config has an `export`. There is no imitation where sft.steps is 0, and RL then begins with
the model as it is. Started again, it goes on where it was.
"""

from __future__ import annotations

import os
from pathlib import Path

from ml_collections import ConfigDict

from entropy_rl import metrics
from entropy_rl.errors import InputError
from experiments import convert_hf, fit_laws, train_rl, train_sft
from experiments.lib import launch, workdirs
from experiments.rl import parts


def run(config: ConfigDict, workdir: str) -> None:
    """Runs the parts and prints the table.

    Raises:
      InputError: as the parts do.
    """
    folder = Path(os.path.abspath(workdir))
    if folder.is_relative_to(Path.cwd()):  # the same paths however the folder is given, and wherever the project moves
        folder = folder.relative_to(Path.cwd())
    sft, rl, law, export = (folder / part for part in ("sft", "rl", "law", "export"))
    whole = config.copy_and_resolve_references()
    with whole.unlocked():
        whole.rl.init, whole.law.logs = str(sft) if whole.sft.steps else None, str(rl)
    check(whole)
    knobs = [f"{part}.{key}" for part in ("sft", "rl") for key in train_rl.KNOBS if (part, key) != ("sft", "steps")]
    # law and export are quickly done again
    workdirs.open_workdir(
        *(config, workdir),
        ignore=("law", "export"),
        knobs=(*knobs, *(f"types.{key}" for key in workdirs.COMPUTES), "task.args.workers"),
    )
    steps = [
        (f"RL with a verifiable reward, {config.rl.steps} steps -> {rl}", lambda: train_rl.run(whole.rl, rl)),
        (f"the law R = -a exp(H) + b on the held-out curve -> {law}", lambda: fit_laws.fit(whole.law, law)),
    ]
    if whole.sft.steps:
        what = f"imitation of solved problems, {config.sft.steps} steps -> {sft}"
        steps.insert(0, (what, lambda: train_sft.run(whole.sft, sft)))
    if "export" in whole:
        steps.insert(
            -1, (f"the policy for others to load -> {export}", lambda: convert_hf.once(rl, export, whole.export))
        )
    for number, (what, do) in enumerate(steps, 1):
        print(f"{number}/{len(steps)} {what}", flush=True)
        done = do()
    print("\n" + table(rl, done))
    print(f"\nfigure  {law / 'law.png'}\nlogs    {rl}/metrics.jsonl, {rl}/evals.jsonl, {rl}/samples.jsonl")
    if "export" in whole:
        print(f"model   {export}")


def check(config: ConfigDict) -> None:
    """InputError for a value in any part that would stop it, before the first one is trained."""
    models = []
    for part, make in (("sft", train_sft.parts), ("rl", parts.make)):
        if part == "sft" and config.sft.steps == 0:
            continue
        try:
            made = make(config[part])
            models.append(made[1] if part == "sft" else made.model)
        except InputError as e:
            raise InputError(f"in config.{part}: {e}") from e
    if models[0] != models[-1]:
        raise InputError("config.sft.model is not config.rl.model: make them equal, as RL goes on with that policy")
    steps, every, ks = config.rl.steps, config.rl.eval.every, config.rl.eval.ks
    if 1 not in ks:
        raise InputError(f"config.rl.eval.ks={ks}: the law is fitted to pass@1, so give 1 too")
    points = len(range(0, steps, every)) + 1
    if points < config.law.min_points:
        raise InputError(
            f"config.rl.steps={steps} and rl.eval.every={every} give {points} points and the law needs "
            f"law.min_points={config.law.min_points}: evaluate more often, or train longer"
        )
    if "export" in config:
        convert_hf.check(config.export)


def table(rl: Path, law: dict) -> str:
    """First -> last of the RL run, and the law, as lines of text."""
    run = metrics.read(rl)
    task = run.evals[0]["task"]
    _, entropy = metrics.series(run.metrics, "policy/entropy_sequence")
    top = max(int(r["metric"][5:]) for r in run.evals if r["metric"].startswith("pass@") and "/" not in r["metric"])
    rows = [("policy entropy, nats a token (training problems)", entropy)]
    for metric, name in (
        ("pass@1", "pass@1 (held out)"),
        (f"pass@{top}", f"pass@{top} (held out)"),
        ("distinct", "distinct among right solutions (held out)"),
    ):
        rows.append((name, metrics.eval_series(run.evals, task, metric)[1]))
    lines = [f"{'':<52}{'first':>8}{'last':>8}"]
    lines += [f"{name:<52}{values[0]:>8.3f}{values[-1]:>8.3f}" for name, values in rows]
    exp, linear, span = law["curves"]["exp"], law["curves"]["linear"], law["interval"]
    between = lambda k: f"[{span[k][0]:.3f}, {span[k][1]:.3f}]"  # noqa: E731
    return "\n".join(
        [
            *lines,
            "",
            f"R = -a exp(H) + b    a = {exp['a']:.3f} {between('a')}   b = {exp['b']:.3f} {between('b')}   "
            f"({span['level']:.0%} intervals)",
            f"  ceiling b - a      {law['ceiling']:.3f} {between('ceiling')}   R2 = {exp['r2']:.3f}   "
            f"held-out RMSE {exp['heldout_rmse']:.4f}",
            f"R = -a H + b         ceiling {linear['ceiling']:.3f}   R2 = {linear['r2']:.3f}   "
            f"held-out RMSE {linear['heldout_rmse']:.4f}",
            law["verdict"],
        ]
    )


if __name__ == "__main__":
    launch.main(run)
