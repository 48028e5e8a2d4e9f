"""Does a policy know when it is right? Accuracy, entropy and calibration of one policy on held-out problems.

    python -m experiments.calibrate --config=configs/calibrate.py --config.init=runs/sft --workdir=runs/calibration

Of each problem: the greedy response, `eval.samples` sampled ones, and `k` branches of CoT-decoding, all
with the confidence of methods/confidence/cot_decoding.py in both spans, that of the final answer and that of all
decisions (where the task knows them). Writes

    calibration.jsonl  a row a problem: id, level, greedy (1 or 0), n, right, distinct, entropy (nats a token, mean over
                       samples), answer and solution (confidence of the greedy response), and for each span whether the
                       branch is right that max and aggregate mode choose (max/answer, aggregate/answer, ...)
    calibration.json   means of these; ece/<span> in percent and auroc/<span> of greedy responses, and of samples with
                       sampled/ before; and the table of the reliability diagram

Aggregate mode adds up by task.solution, as in Countdown all right answers are the target.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from entropy_rl import evaluate, files
from entropy_rl.data.problem import Problem, Task
from entropy_rl.methods.confidence import calibration
from entropy_rl.methods.confidence.cot_decoding import Branch, aggregate, branch, most_confident, read
from entropy_rl.sampling import warp
from entropy_rl.sampling.engine import generate
from entropy_rl.training.collect import verify_all
from experiments.lib import build, checks, launch, workdirs
from experiments.lib.evaluation import BATCH
from experiments.lib.policies import load_policy

ROWS, SUMMARY = "calibration.jsonl", "calibration.json"


def run(config: ConfigDict, workdir: str) -> dict[str, Any]:
    """Measures, writes both files; gives what is in calibration.json.

    Raises:
      InputError: a bad value, or a policy that is not there.
    """
    checks.positive(config, "eval.problems", "eval.samples", "rollout.slots", "rollout.temperature", "k", "bins")
    checks.seed(config)
    task = build.task(config, split=config.eval.split, size=config.eval.problems)
    mesh = build.mesh(config)
    model, params = load_policy(config, config.init, mesh, task.tokenizer.vocab_size)
    folder = workdirs.open_workdir(config, workdir)
    evaluator = CalibrationEvaluator(config, task, model, params, mesh)
    rows: list[dict[str, Any]] = []
    sampled: list[dict[str, Any]] = []
    for start in range(0, len(task), BATCH):
        problems = [task[i] for i in range(start, min(start + BATCH, len(task)))]
        new, more = evaluator(problems, jax.random.fold_in(jax.random.key(config.seed), start))
        rows, sampled = rows + new, sampled + more
    out = summary(rows, sampled, evaluator.spans, config)
    files.rewrite(folder / ROWS, rows)
    files.write(folder / SUMMARY, json.dumps(out, indent=1))
    shown = ("greedy", "pass@1", "entropy", *(f"{m}/{s}" for s in evaluator.spans for m in ("ece", "auroc")))
    print(", ".join(f"{key} {out[key]:.3f}" for key in shown))
    return out


class CalibrationEvaluator:
    """Problems -> rows of each problem, and of each sample."""

    def __init__(self, config: ConfigDict, task: Task, model, params, mesh):
        self._c, self._task = config, task
        self._length = task.prompt_length + task.response_length
        self._policy = (model, params)
        how = {"slots": config.rollout.slots, "mesh": mesh}
        self._how = how | {"max_new": task.response_length, "prompt_length": task.prompt_length}
        self._warp = partial(warp.temperature, value=config.rollout.temperature)
        knows = task.decisions(np.zeros((1, 2), np.int32), np.ones((1, 2), bool)) is not None
        self.spans = ("answer", "solution") if knows else ("answer",)

    def __call__(self, problems: list[Problem], key: jax.Array) -> tuple[list[dict], list[dict]]:
        """Rows of calibration.jsonl, and {right, <span>: confidence} of every sample."""
        tokenizer = self._task.tokenizer
        prompts = [tokenizer.encode(p.prompt) for p in problems]
        made = partial(generate, *self._policy, prompts, eos=tokenizer.eos_ids, **self._how)
        greedy = self._read(prompts, made(key, warp=warp.greedy))
        samples = self._read(prompts, made(key, samples=self._c.eval.samples, warp=self._warp))
        branches = {
            span: branch(*self._policy, self._task, problems, k=self._c.k, span=span, **self._how)
            for span in self.spans
        }
        right = partial(rights, self._task, problems)
        first, drawn = right(greedy["answer"]), right(samples["answer"])
        of_branches = right(branches["answer"])
        rows, more = [], []
        for i, problem in enumerate(problems):
            group = samples["answer"][i]
            solved = {self._task.solution(b.text) for b, r in zip(group, drawn[i]) if r}
            row = {"id": problem.id, "level": problem.level, "greedy": first[i][0], "n": len(group)}
            row |= {"right": sum(drawn[i]), "distinct": len(solved)}
            row["entropy"] = round(float(np.mean([b.completion.entropy.mean() for b in group])), 5)
            for span in self.spans:
                row[span] = round(greedy[span][i][0].confidence, 5)
                sure = [b.confidence for b in branches[span][i]]
                topics = [self._task.solution(b.text) if b.answer else "" for b in branches[span][i]]
                row[f"max/{span}"] = of_branches[i][most_confident(sure)]
                row[f"aggregate/{span}"] = of_branches[i][aggregate(sure, topics)]
            rows.append(row)
            for j, r in enumerate(drawn[i]):
                more.append({"right": r} | {span: samples[span][i][j].confidence for span in self.spans})
        return rows, more

    def _read(self, prompts, completions) -> dict[str, list[list[Branch]]]:
        how = {"length": self._length}
        return {span: read(*self._policy, self._task, prompts, completions, span=span, **how) for span in self.spans}


def rights(task: Task, problems: list[Problem], groups: list[list[Branch]]) -> list[list[int]]:
    """1 for each right response, 0 for a wrong one or one that was cut off."""
    pairs = [(problem, b.text) for problem, group in zip(problems, groups) for b in group]
    reward = iter(verify_all(task, pairs))
    return [[int(next(reward) >= 1 and not b.completion.truncated) for b in group] for group in groups]


def summary(rows: list[dict], sampled: list[dict], spans: tuple[str, ...], config: ConfigDict) -> dict[str, Any]:
    """What calibration.json holds."""
    column = lambda key, of=rows: np.array([row[key] for row in of], float)  # noqa: E731
    n, bins = config.eval.samples, config.bins
    out: dict[str, Any] = {"problems": len(rows), "samples": n, "k": config.k, "bins": bins, "spans": list(spans)}
    out |= {"greedy": column("greedy").mean(), "entropy": column("entropy").mean()}
    out |= {f"pass@{k}": evaluate.pass_at_k(n, column("right").astype(int), k).mean() for k in sorted({1, n})}
    out["distinct"] = column("distinct").mean()
    for span in spans:
        out |= {f"{mode}/{span}": column(f"{mode}/{span}").mean() for mode in ("max", "aggregate")}
        for name, of, right in (("", rows, "greedy"), ("sampled/", sampled, "right")):
            pair = column(span, of), column(right, of)
            out[f"{name}confidence/{span}"] = pair[0].mean()
            out[f"{name}ece/{span}"] = calibration.ece(*pair, bins)
            out[f"{name}auroc/{span}"] = calibration.auroc(*pair)
            out[f"{name}reliability/{span}"] = calibration.reliability(*pair, bins)
    return {k: float(v) if isinstance(v, np.floating) else v for k, v in out.items()}


if __name__ == "__main__":
    launch.main(run)
