"""The token microscope: where the entropy of a policy is, which tokens are forks, which carry the covariance.

    python -m experiments.tokens --config=configs/tokens.py --config.init=runs/rl --workdir=runs/tokens
    python -m experiments.tokens --config=configs/tokens.py --config.model.path=FOLDER --config.rollouts=FILE \\
        --workdir=runs/theirs

Samples responses as a training step does, takes their advantages, and writes `workdir`/tokens.json, a few tens of kB:

    reward, tokens, zero_variance   mean reward, number of tokens, share of groups whose rewards are all equal
    record      all that a training run logs of a batch (entropy.record), of these tokens
    entropy     histogram of token entropies: `edges` in nats, spaced evenly in the logarithm but for the first, which
                is 0, and `counts`
    covariance  histogram of token covariances (arXiv:2505.22617, Eq 10), the same about a bin around 0; `table` has the
                rows of Table 1, means of the tokens with the largest ones, by share
    kinds       `decision` and `format` tokens (task.decisions); nothing where the task does not tell them apart
    words       the most frequent words, apart as decisions and as format
    places      tokens by their place in the response, from 0
    signs       tokens by the signs of their advantage and of their polarity S (arXiv:2602.03392), with `change`, their
                part of -E[S A]: these add up to the change of entropy that Theorem 1 predicts for a step of 1
    forks       the tokens of the highest entropies, with the text before and after
    examples    a few responses, word by word
    rollouts    of a dump: its rows and groups, rows left out, and `gap`, log-probability by this policy less that of
                the sampler, where the dump has it: mean, mean of the absolute value, largest, share beyond 0.1 nats,
                and the tokens that it is over

A summary, as in `kinds`, `words`, `places`, is over the tokens that are meant: their number, mean entropy of the states
where they were chosen, mean covariance, and `forking`, how many are among the share `config.top` of all tokens with the
highest entropies: the very tokens that the weight `top_entropy` (80/20, arXiv:2506.01939) learns from.

With `config.rollouts` nothing is sampled: rollouts of another trainer (data/dumps.py) are scored once with the policy,
advantages are the dump's, or those of `config.advantage` from its rewards, and tokens.png is drawn. Texts are turned
into tokens again, which need not be those that were sampled; log-probabilities of the sampler are compared where there
are as many as tokens. A row that is longer than the model's context is left out and counted.

What it leaves out: entropy is that of the state, the same for a likely and an unlikely word there, and the covariance
is relative to the whole sample, not to an optimiser's mini-batch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from ml_collections import ConfigDict

from entropy_rl import figures, files
from entropy_rl.advantages import ADVANTAGES
from entropy_rl.data import dumps
from entropy_rl.data.packing import pack_rows
from entropy_rl.entropy import record as entropy
from entropy_rl.errors import InputError
from entropy_rl.evaluate import attempt_all
from entropy_rl.models import families
from entropy_rl.models.scoring import token_scores
from entropy_rl.parallel import processes, sharding
from entropy_rl.training import collect
from entropy_rl.training.rollouts import Rollout
from entropy_rl.training.step import given
from experiments.lib import build, checks, launch, workdirs
from experiments.lib.evaluation import slots_shared
from experiments.lib.policies import load_policy
from experiments.studies import token_measures

FILE, FIGURE = "tokens.json", "tokens.png"


def run(config: ConfigDict, workdir: str | os.PathLike) -> dict[str, Any]:
    """Samples, measures, writes tokens.json, prints a few lines; returns what is in the file.

    Raises:
      InputError: a bad value, or a workdir that belongs to another config.
    """
    checks.positive(config, "rollout.prompts", "rollout.samples", "rollout.slots", "rollout.temperature", "words")
    checks.whole(config, 2, "bins")
    checks.not_negative(config, "examples", "forks")
    checks.require(config, "a share of the tokens, from 0.0001 to 1", lambda x: 1e-4 <= x <= 1, "top")
    checks.seed(config)
    mesh = build.mesh(config)
    row = np.zeros(2, np.float32)
    mask = np.array([[False, True, True], [False, False, False]])
    group = row.astype(np.int32)
    advantage = build.bind(ADVANTAGES, config.advantage, "advantage", row, group, data={"mask": mask})
    advantage = jax.jit(given(advantage, "mask"))
    source = sampled if config.rollouts is None else dumped
    workdir, rollout, a, decisions, firsts, tokenizer, about = source(config, workdir, mesh, advantage)
    a = (a[:, None] if a.ndim == 1 else a) * rollout.mask
    how = {"bins": config.bins, "top": config.top, "words": config.words}
    result = token_measures.measure(rollout, a, decisions, tokenizer, **how)
    result["forks"] = token_measures.forks(rollout, a, tokenizer, config.forks)
    result["examples"] = token_measures.examples(rollout, firsts, a, tokenizer)
    result |= about

    result = files.rounded(result, 6)
    lines = (f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in result.items())
    files.write(workdir / FILE, "{\n" + ",\n".join(lines) + "\n}")
    if config.rollouts is not None:
        with files.replacing(workdir / FIGURE) as new:
            draw(result).savefig(new, format="png", dpi=110)
    print(report(result, config.top))
    print(f"wrote {workdir / FILE}")
    return result


def sampled(config: ConfigDict, workdir: str | os.PathLike, mesh: Any, advantage: Any) -> tuple:
    """Own samples: workdir, rollout, advantage [B] or [B, T], decisions, (prompt, row) of examples, tokenizer, {}."""
    r = config.rollout
    task = build.task(config, split=config.split, size=r.prompts)
    slots_shared(mesh, "the slots (rollout.slots, or prompts * samples)", r.slots, len(task), r.samples)
    model, params = load_policy(config, config.init, mesh, task.tokenizer.vocab_size)
    workdir = workdirs.open_workdir(config, workdir)
    how = build.sampling(config, task, mesh)
    groups = attempt_all(model, params, task, jax.random.key(config.seed), samples=r.samples, **how)
    length = task.prompt_length + task.response_length
    rollout = collect.to_rollout(groups, length=length, pad_id=task.tokenizer.pad_id)
    a = np.asarray(advantage(rollout.reward, rollout.group, rollout.mask))
    decisions = task.decisions(rollout.tokens, rollout.mask)
    firsts = [(g.problem.prompt, i * r.samples) for i, g in enumerate(groups[: config.examples])]
    return workdir, rollout, a, decisions, firsts, task.tokenizer, {}


def dumped(config: ConfigDict, workdir: str | os.PathLike, mesh: Any, advantage: Any) -> tuple:
    """The same of the dump `config.rollouts`, and what is said of it."""
    checks.positive(config, "batch")
    found = dumps.read(config.rollouts)
    tokenizer = build.tokenizer(build.folder(config)) if build.from_folder(config) else build.task(config).tokenizer
    model, params = load_policy(config, config.init, mesh, tokenizer.vocab_size)
    context = families.context_length(config.model.path) if build.from_folder(config) else None
    prompts, responses, kept = [], [], []
    for s in found:
        asked = tokenizer.encode(s.prompt if isinstance(s.prompt, str) else tokenizer.chat(s.prompt))
        said = list(tokenizer.encode(s.response) if s.tokens is None else s.tokens)
        if config.ends and s.tokens is None and said[-1:] != [tokenizer.eos_id]:
            said.append(tokenizer.eos_id)
        if asked and said and (context is None or len(asked) + len(said) <= context):
            prompts.append(asked)
            responses.append(said)
            kept.append(s)
    if not kept:
        raise InputError(f"no row of {config.rollouts} fits into the model's context of {context}: give other rollouts")
    workdir = workdirs.open_workdir(config, workdir)
    length = max(len(p) + len(r) for p, r in zip(prompts, responses))
    length += -length % 64
    tokens, mask = pack_rows(prompts, responses, length, tokenizer.pad_id)
    numbers: dict[Any, int] = {}
    group = np.array([numbers.setdefault(s.group, len(numbers)) for s in kept], np.int32)
    reward = np.array([np.nan if s.reward is None else s.reward for s in kept], np.float32)
    if all(s.advantage is not None for s in kept):
        a = np.array([s.advantage for s in kept], np.float32)
    elif np.isfinite(reward).all():
        a = np.asarray(advantage(reward, group, mask))
    else:
        raise InputError(f"{config.rollouts}: some rows have no reward and some no advantage: mend or remove them")
    scores = score(model, params, tokens, mask, config.batch, mesh)
    rollout = Rollout(tokens, mask, scores["logp"], scores["entropy"], reward, group, np.zeros(len(kept), bool))
    firsts = [(tokenizer.decode(prompts[i]), i) for i in range(min(config.examples, len(kept)))]
    about = {"file": config.rollouts, "rows": len(kept), "groups": len(numbers), "left_out": len(found) - len(kept)}
    about["gap"] = gap(kept, scores["logp"], mask)
    return workdir, rollout, a, None, firsts, tokenizer, {"rollouts": about}


def score(model, params, tokens: np.ndarray, mask: np.ndarray, rows: int, mesh: Any) -> dict[str, np.ndarray]:
    """`logp` and `entropy` f32[B, T] of a policy, `rows` at a time; 0 outside the mask."""
    rows += -rows % (mesh.shape["data"] * mesh.shape["fsdp"])
    run = jax.jit(token_scores(model, mesh=mesh))
    place = partial(processes.put_global, sharding=sharding.batch_sharding(mesh))
    out = {name: np.zeros(mask.shape, np.float32) for name in ("logp", "entropy")}
    for at in range(0, len(tokens), rows):
        some = np.arange(at, at + rows) % len(tokens)  # the last ones are filled up
        got = processes.fetch(run(params, place(tokens[some]), place(mask[some])))
        for name, x in out.items():
            x[some[: len(tokens) - at]] = got[name][: len(tokens) - at]
    return {name: np.where(mask, x, np.float32(0)) for name, x in out.items()}


def gap(kept: Sequence[dumps.Sampled], logp: np.ndarray, mask: np.ndarray) -> dict[str, float] | None:
    """Log-probability of the policy less the sampler's, over the rows that have as many as tokens, or one less, the
    end; None where no row has."""
    off = []
    for i, s in enumerate(kept):
        own = logp[i][mask[i]]
        if s.logp is not None and len(own) - 1 <= len(s.logp) <= len(own):
            off.append(own[: len(s.logp)] - np.array(s.logp, np.float32))
    if not off:
        return None
    d = np.concatenate(off)
    size = np.abs(d)
    about = {"mean": d.mean(), "absolute": size.mean(), "largest": size.max(), "beyond": np.mean(size > 0.1)}
    return about | {"tokens": len(d), "rows": len(off)}


def draw(result: dict[str, Any]) -> Figure:
    """Histograms of entropies and covariances, and the parts of the predicted change by the signs of its causes."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for ax, name in ((left, "entropy"), (middle, "covariance")):
        figures.histogram(ax, result[name]["edges"], result[name]["counts"])
        ax.set_xlabel(f"{name} of a token" + ", nats" * (name == "entropy"))
    sign = {1: "+", 0: "0", -1: "\N{MINUS SIGN}"}
    names = [f"A {sign[row['advantage']]}\nS {sign[row['polarity']]}" for row in result["signs"]]
    right.bar(names, [row["change"] for row in result["signs"]], color=figures.BLUE)
    right.axhline(0, color="black", lw=0.8)
    right.set_ylabel("predicted change of entropy, nats, step of 1")
    right.spines[["top", "right"]].set_visible(False)
    return figure


def report(result: dict[str, Any], top: float) -> str:
    """A few lines of what is in tokens.json."""
    record = result["record"]
    quantiles = "  ".join(f"{q} {record[f'policy/entropy_{q}']:.4f}" for q in ("p10", "p50", "p80", "p90", "p99"))
    forks = sorted(result["words"], key=lambda row: -row["forking"])[:8]
    listed = ", ".join(f"{row['word']} {row['forking']} of {row['count']}" for row in forks)
    kinds = ", ".join(f"{kind} {row['forking'] / row['count']:.1%}" for kind, row in result["kinds"].items())
    reward = "unknown" if result["reward"] is None else f"{result['reward']:.3f}"
    change = sum(row["change"] for row in result["signs"])
    more = []
    if "rollouts" in result:
        about = result["rollouts"]
        more.append(f"{about['rows']} rows in {about['groups']} groups, {about['left_out']} left out as too long")
        if about["gap"]:
            more.append(
                "policy less sampler {mean:.4f} nats a token, {absolute:.4f} absolute, {largest:.3f} at most, "
                "{beyond:.2%} beyond 0.1 ({tokens} tokens)".format(**about["gap"])
            )
        more.append(f"predicted change of entropy (Theorem 1, a step of 1) {change:+.4f} nats a token")
    return "\n".join(
        [
            *more,
            f"{result['tokens']} tokens, reward {reward}",
            f"entropy {record['policy/entropy']:.4f} nats a token: {quantiles}; "
            f"below {entropy.LOW} nats {record['policy/entropy_low']:.1%}",
            "covariance of the top " + ", ".join(f"{k} {v:.3f}" for k, v in result["covariance"]["table"].items()),
            f"among the top {top:g} of entropies: {kinds}; words {listed}",
        ]
    )


if __name__ == "__main__":
    launch.main(run)
