"""What five ways bring out of one base model, on the same held-out problems.

    python -m experiments.elicit --config=configs/elicit.py --config.init=runs/sft --config.rl="('runs/grpo',)" \\
        --workdir=runs/elicit

    base, again  the base, sampled; and sampled once more, the measure of what chance alone brings
    vector       steering vectors: mean activations of the RL policy less the base's, on the RL policy's text; or
                 trained so that the base says that text
    sae          one feature of a sparse autoencoder of the residual stream, boosted
    random       the same with features at random, chosen in the same way
    cot          CoT-decoding: k first tokens, each continued greedily, the surest answered
    cft          critique fine-tuning on one problem
    rl           reinforcement learning with a verifier

Layers, strengths, features, and which tokens are steered are chosen on validation problems, by pass@1; test problems
are for the report. Each way and seed is a file in WORKDIR/parts, and is not made again. Writes elicit.json and
elicit.md (experiments/studies/elicit_report.py).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl import files
from entropy_rl.data.problem import Task
from entropy_rl.errors import InputError
from entropy_rl.methods.confidence import cot_decoding
from entropy_rl.methods.critique import test_time
from entropy_rl.methods.elicit import activations, sae
from entropy_rl.models import steering
from experiments.calibrate import rights
from experiments.lib import launch, workdirs
from experiments.studies import elicit_report
from experiments.studies.elicit_bench import Bench, Looked, summary

SIZES = (1, 2, 4, 8, 16, 32)  # samples of a vote
WAYS = ("base", "again", "vector", "sae", "random", "cot", "cft", "rl")


def vector(b: Bench, seed: int, looked: Callable[[], Looked]) -> dict[str, Any]:
    """Steering vectors: of which kind, after which block and how strong; then the recovery for each share of tokens."""
    c, found = b.config.vector, looked()
    one = np.eye(len(found.difference))
    masks = {str(i): one[i] for i in b.layers} | ({"all": one[list(b.layers)].sum(0)} if len(b.layers) > 1 else {})
    key = jax.random.fold_in(jax.random.key(b.config.seed), seed)
    how_long = {"steps": c.steps, "rows": c.rows, "rate": c.learning_rate}
    made = {}
    for layer, mask in masks.items():
        made["mean", layer] = found.difference * mask[:, None]
        if c.steps:
            made["trained", layer] = activations.trained(b.model, b.base, found.theirs, mask, key, **how_long)
    where = {"all": {}, "first": {"first": True}} | {f"{s:g}": {"above": found.threshold(s)} for s in c.shares}
    tried = []
    for (source, layer), vectors in made.items():
        for name, how in where.items():
            for strength in c.strengths:
                value = b.accuracy(steering.steer(b.base, vectors, strength, **how), seed)
                tried.append({"source": source, "layer": layer, "where": name, "strength": strength, "pass@1": value})
    best = {
        (source, name): max(
            (t for t in tried if t["where"] == name and t["source"] == source), key=lambda t: t["pass@1"]
        )
        for source in dict.fromkeys(source for source, _ in made)
        for name in where
    }

    def params(t):
        return steering.steer(b.base, made[t["source"], t["layer"]], t["strength"], **where[t["where"]])

    # all of them, on test problems: how much of the gap comes back with how many tokens steered
    shares = [t | {"test": summary(b.test, b.attempts(params(t), b.test, c.samples, seed, 10))} for t in best.values()]
    chosen = max(best.values(), key=lambda t: t["pass@1"])
    norms = {
        "vector": np.linalg.norm(found.difference[list(b.layers)], axis=1),
        "stream": np.linalg.norm(found.stream, axis=2).mean(1),
    }
    about = {"choice": chosen, "tried": tried, "shares": shares, "norms": {k: v.tolist() for k, v in norms.items()}}
    return b.tested(params(chosen), seed, 11) | about


def features(
    b: Bench, seed: int, looked: Callable[[], Looked], rankings: tuple[str, ...], stage: int
) -> dict[str, Any]:
    """One feature of a layer's autoencoder, boosted: found by one of `rankings`, chosen by pass@1."""
    c, found = b.config.sae, looked()
    tried, decoders, quality = [], {}, []
    for at, (layer, stream) in enumerate(zip(b.layers, found.stream)):
        params, good = found.autoencoder(layer)
        quality.append(good)
        z, z_rl = (np.asarray(sae.encode(params, x, c.k)) for x in (stream, found.rl_text[at]))
        norm = float(np.linalg.norm(stream, axis=1).mean())
        decoders[layer] = np.asarray(params["decoder"]) * norm
        for name in rankings:
            scores = score(name, z, z_rl, found, c.alpha, np.random.default_rng((b.config.seed, seed, layer)))
            for feature in [] if scores is None else np.argsort(-scores, kind="stable")[: c.features].tolist():
                for where in ("all", "first"):
                    for strength in c.strengths:
                        t = {"ranking": name, "layer": layer, "feature": feature, "where": where, "strength": strength}
                        tried.append(t | {"pass@1": b.accuracy(_boosted(b, decoders, t), seed)})
    chosen = max(tried, key=lambda t: t["pass@1"])
    best = [max((t for t in tried if t["ranking"] == n), key=lambda t: t["pass@1"], default=None) for n in rankings]
    about = {"choice": chosen, "best": [t for t in best if t], "quality": quality, "tried": tried}
    return b.tested(_boosted(b, decoders, chosen), seed, stage) | about


def _boosted(b: Bench, decoders: dict[int, np.ndarray], t: dict[str, Any]) -> Any:
    vectors = np.zeros((b.model.config.layers, b.model.config.d_model), np.float32)
    vectors[t["layer"]] = decoders[t["layer"]][t["feature"]]
    return steering.steer(b.base, vectors, t["strength"], first=t["where"] == "first")


def score(name: str, z: np.ndarray, z_rl: np.ndarray, found: Looked, alpha: float, rng: Any) -> np.ndarray | None:
    """Features' scores; None where the text has none of what they are to tell apart. Dead ones are last."""
    alive = (z > 0).any(axis=0)
    try:
        if name == "right":  # tokens of right responses less those of wrong ones
            scores = sae.differential(z, found.right)
        elif name == "rl":  # tokens that the RL policy wrote less those that the base wrote
            scores = sae.differential(np.concatenate([z_rl, z]), np.arange(len(z_rl) + len(z)) < len(z_rl))
        elif name == "reason":
            scores = sae.reason_score(z, found.words, alpha=alpha)
        else:
            scores = rng.random(z.shape[1])
    except InputError:
        return None
    return np.where(alive, scores, -np.inf)


def sampled(b: Bench, seed: int, params: Any, stage: int) -> dict[str, Any]:
    """The base, sampled, with the votes that others are compared with at equal tokens."""
    groups = b.attempts(params, b.test, b.config.eval.samples, seed, stage)
    samples = b.config.eval.samples
    votes = {}
    for size in (s for s in SIZES if s <= samples):
        each = []
        for g in groups:
            keys, right = [b.test.solution(t) for t in g.texts], np.array(g.rewards) >= 1
            tokens = np.array([len(x.tokens) for x in g.completions], float)
            choose = lambda block, keys=keys: test_time.vote(keys[block])  # noqa: E731
            each.append(test_time.in_blocks(choose, right, tokens, range(samples), size))
        votes[str(size)] = dict(zip(("right", "tokens"), np.array(each).T.tolist()))
    return summary(b.test, groups) | {"votes": votes}


def cot(b: Bench, seed: int) -> dict[str, Any]:
    """CoT-decoding by each span, max and aggregate; greedy decoding is its first branch."""
    c, out = b.config.cot, {}

    def decoded(task: Task, span: str) -> dict[str, Any]:
        problems = [task[i] for i in range(len(task))]
        how = {"max_new": task.response_length, "prompt_length": task.prompt_length}
        how |= {"slots": b.config.rollout.slots, "mesh": b.mesh}
        all_ = cot_decoding.branch(b.model, b.base, task, problems, k=c.k, span=span, **how)
        right = np.array(rights(task, problems, all_), bool)
        sure = [[x.confidence for x in branches] for branches in all_]
        keys = [["" if x.completion.truncated else task.solution(x.text) for x in branches] for branches in all_]
        pick = {"max": [cot_decoding.most_confident(s) for s in sure]}
        pick["aggregate"] = [cot_decoding.aggregate(s, k) for s, k in zip(sure, keys)]
        modes = {name: right[np.arange(len(right)), places] for name, places in pick.items()}
        return {
            "greedy": right[:, 0].tolist(),
            "modes": {name: x.tolist() for name, x in modes.items()},
            "branches": right.tolist(),
            "tokens": [sum(len(x.completion.tokens) for x in branches) for branches in all_],
        }

    tried = []
    for span in c.spans:
        for mode, right in decoded(b.chosen_on, span)["modes"].items():
            tried.append({"span": span, "mode": mode, "pass@1": float(np.mean(right))})
        out[span] = decoded(b.test, span)
    return {"choice": max(tried, key=lambda t: t["pass@1"]), "tried": tried, "spans": out}


def run(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Does what is not done yet; gives what elicit.json holds.

    Raises:
      InputError: a bad value, or a policy that is not there.
    """
    b = Bench(config)
    workdir = workdirs.open_workdir(config, workdir)
    parts: dict[str, list[dict[str, Any]]] = {}
    for seed in range(b.seeds):
        looked = functools.cache(functools.partial(Looked, b, seed))
        ways: dict[str, Callable[[], dict[str, Any]]] = {
            "base": lambda: sampled(b, seed, b.base, 3),  # noqa: B023  called in this round
            "again": lambda: b.tested(b.base, seed, 4),  # noqa: B023
            "vector": lambda: vector(b, seed, looked),  # noqa: B023
            "sae": lambda: features(b, seed, looked, ("right", "rl", "reason"), 5),  # noqa: B023
            "random": lambda: features(b, seed, looked, ("random",), 6),  # noqa: B023
            "cot": lambda: cot(b, seed),  # noqa: B023
            "rl": lambda: b.tested(b.rl(seed), seed, 7),  # noqa: B023
        }
        if config.cft:
            ways["cft"] = lambda: b.tested(b.restore(config.cft[seed], "cft"), seed, 8)  # noqa: B023
        for name in (w for w in WAYS if w in ways):
            parts.setdefault(name, []).append(_once(workdir / "parts" / f"{name},seed={seed}.json", ways[name]))
    problems = [{"id": p.id, "level": p.level} for p in (b.test[i] for i in range(len(b.test)))]
    out = elicit_report.table(parts, problems, interval=config.interval, draws=config.draws, seed=config.seed)
    workdirs.report(workdir, "elicit", out, elicit_report.page(out))
    return out


def _once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    if not path.exists():
        print(f"{path.stem} ...", flush=True)
        files.write(path, json.dumps(make()))
    return json.loads(path.read_text())


if __name__ == "__main__":
    launch.main(run)
