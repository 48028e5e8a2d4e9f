"""Writes docs/recipes.md from the configs: docstrings, and the values in which a recipe differs from GRPO.

    python -m docs.recipes          # tests/test_docs.py says when this is due

What stands here by hand is the grouping and the formula of each recipe of configs/rl.
"""

from __future__ import annotations

import ast
import pathlib
import re
from typing import Any

from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from configs.rl import base as rl_base
from experiments.lib import launch

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs" / "recipes.md"

INTRO = """\
# Recipes and controls

<!-- Written by `python -m docs.recipes` from the configs; edit their docstrings, or docs/recipes.py. -->

A config says paper, command, time and what to expect in its docstring; this page collects them, with the formula of
each recipe and the values in which it differs from GRPO. Every value is a flag: `--config.loss.args.clip_high=0.3`.
"Besides GRPO's" are the values that a recipe has otherwise than `base.recipe()`, which takes four updates a rollout.
`:smoke` behind a config takes two steps of a tiny model; `:paper` has the paper's constants where those mean something
else at this scale. Losses, weights, advantages and controllers are rows of tables and go together in any combination:
`--config.weight="{'name': 'sequence_mean', 'args': {}}"`.

In the formulas r = π(y_t) / π_old(y_t) is the token's ratio, A its advantage, H the entropy of its state in nats, sg
stops the gradient, m and s are mean and standard deviation of the rewards R of a group, N counts tokens of the mask.
The loss of an update is the sum of weight · l over tokens, and the weight is 1 / N where nothing else is said.
"""

# title of the group, what it says first, {recipe of configs/rl: formula}
RL = (
    (
        "The base of all: GRPO, and other advantages",
        "`configs/rl/base.py` has what they share: 64 prompts × 8 responses a step, 200 steps, PPO's clip, token mean.",
        {
            "grpo": "A = (R - m) / (s + 1e-4),   l = max(-A r, -A clip(r, 0.8, 1.2))",
            "dr_grpo": "A = R - m,   weight = 1 / (responses · 18) in place of 1 / N",
            "rloo": "A = (R - m) n / (n - 1), n responses a group,   l = -A log π",
            "reinforce_pp": "A = (R - mean) / std over all tokens of the batch, without groups",
            "reinforce_pp_baseline": "A = R - m, then (A - mean) / std over all tokens of the batch",
            "ppo": "δ_t = r_t + V_{t+1} - V_t,   A_t = δ_t + A_{t+1}   (γ = λ = 1), whitened; V the critic",
            "qae": "A = (R - Q_k) / (s + eps), Q_k the k-quantile of the group's rewards",
            "nsr": "weight = (0.1 where A > 0, 1 where A < 0) / N",
            "max_rl": "A = (R - m) / m, 0 where m = 0;   R is 0 or 1",
            "pass_at_k": (
                "right: A = (1 - ρ) / (σ + eps);   wrong: A = (1 - ρ - C(w-1, k-1) / C(n-1, k-1)) / (σ + eps);\n"
                "ρ = 1 - C(w, k) / C(n, k), σ = sqrt(ρ (1 - ρ)), w of n responses wrong;   R is 0 or 1"
            ),
            "opo": "A = R - Σ length R / Σ length,   l = -A log π",
            "gpg": "A = (responses / responses with a reward) (R - m),   l = -A log π",
        },
    ),
    (
        "Other clips and ratios",
        "",
        {
            "clip_higher": "l = max(-A r, -A clip(r, 1 - 0.2, 1 + 0.28))",
            "dapo": "as clip_higher, in groups whose rewards differ: sampled until there are enough",
            "gspo": "r = exp(mean_t log π / π_old) of the response, clipped as PPO's; weight: mean of response means",
            "cispo": "l = -sg(clip(r, 1 - clip_low, 1 + clip_high)) A log π",
            "gppo": "l = -A F π / sg(π),   F = r clipped to [1 - 0.2, 1 + 0.28]: the gradient is kept beyond it",
            "ce_gppo": (
                "l = -A F π / sg(π),   F = beta_low · 0.8 where A < 0 and r < 0.8, beta_high · 1.2 where A > 0 and\n"
                "r > 1.2, and r elsewhere"
            ),
            "dppo_tv": (
                "l = -sg(min(r, cap)) A log π where A > 0 and π - π_old ≤ delta_high, or A ≤ 0 and\n"
                "π - π_old ≥ -delta_low; 0 elsewhere"
            ),
            "dppo_kl": "as dppo_tv, bounded by the divergence of token or not token: q ln(q/p) + (1-q) ln((1-q)/(1-p))",
            "sapo": "l = -A (4 / tau) sigmoid(tau (r - 1)),   tau = tau_pos where A > 0, tau_neg elsewhere",
            "gmpo": "l = -A exp(mean_t c),   c = min(log r, clip_high) where A > 0, max(log r, -clip_low) where A < 0",
            "aspo": "l = -A sg(1 / r) π / sg(π) where A > 0, at most cap;   -A max(r, 1 - clip_low) where A < 0",
            "bapo": "as clip_higher; low, then high rise until A > 0 has `share` of Σ abs(A) r, without clipped ones",
        },
    ),
    (
        "Controls of the entropy, by token",
        "They decide over the whole optimiser mini-batch, whatever the micro-batches and devices;\n"
        "`'scope': 'microbatch'` among the loss's `args` does what the reference code does, its minimum of one token\n"
        "included: `--config.loss=\"{'name': 'clip_cov', 'args': {'frac': 0.02, 'scope': 'microbatch'}}\"`.",
        {
            "clip_cov": (
                "Cov_i = (log π_i - mean)(A_i - mean);   l = 0 on floor(frac N) random tokens with\n"
                "lower < Cov_i < upper, PPO's on the others"
            ),
            "kl_cov": "l = -A r + coef |log r| on the floor(frac N) tokens of highest Cov, -A r on the others",
            "random_clip": "l = 0 on as many tokens as Clip-Cov would take, drawn from those with A > 0",
            "steer": (
                "l = w · PPO's,   w falls linearly from weight_high to weight_low in\n"
                "Ω = |A / π_old · π (1 - π)(log π + H)|, from the least Ω of the batch to the largest"
            ),
            "lp_reg": (
                "l = -A r + coef k3(π, π~) on the floor(frac N) least likely tokens with A < 0, if π < π~;\n"
                "PPO's on the others;   π~ = π_old over tokens of at least min_p of the likeliest"
            ),
            "erc": "l = PPO's where 1 - band_low < H / H_old < 1 + band_high, 0 elsewhere",
            "high_entropy_tokens": "weight = 1 / (frac N) on the frac N tokens of highest H, 0 elsewhere",
            "grid_forks": "as high_entropy_tokens",
            "gym_forks": "as high_entropy_tokens",
            "entropy_advantage": "A ← A + min(alpha sg(H), |A| / kappa)",
        },
    ),
    (
        "Controls of the entropy, by a coefficient",
        "A controller (`entropy_rl/entropy/controllers.py`) gives the coefficient c_n of step n: `constant`,\n"
        "`schedule`, `adaptive` or `target`; the same rows serve `config.entropy_coef` and `config.kl.coef`.",
        {
            "entropy_bonus": "loss - c H,   c constant",
            "entropy_adaptive": "c_n = α_n if H_n < target else 0,   α_{n+1} = clip(α_n ± delta, 0, high)",
            "entropy_target": "e = target - H_n,   c_n = clip(kp e + Σ ki e, 0, high)",
            "entrocraft": "A = 0 where A < 0 and H > high_n, or A > 0 and H < low_n;   bounds: any controllers",
            "siren": "loss + coef (H_n - H_0)^2,   H_n over the top_p nucleus, where it is highest (frac of tokens)",
            "kl_reference": "loss + c KL(π, π_ref),   k3 = r_ref - 1 - log r_ref with r_ref = π_ref / π",
        },
    ),
    (
        "Rows from elsewhere: critiques and diversity",
        "",
        {
            "critique_grpo": "own samples: PPO's; refinements: l = -A f(π), f(p) = p / (p + gamma);   A = R - m of all",
            "critique_joint": (
                "as critique_grpo, and retries under their critique: PPO's;   A = R - m of a problem's retries"
            ),
            "critique_turns": "PPO's on every attempt in its context;   R of the last one, m of the same turn",
            "critique_clip_cov": "as critique_grpo, with Clip-Cov on own samples",
            "critique_forks": "as critique_grpo, refinements learnt on the frac of their tokens with the highest H",
            "darling": "R ← R · max(0.1, (n - |class|) / (n - 1)),   A = R - m",
            "ucpo": (
                "weight = n v / N on the n right responses of a group,   v = (1 - tau) / n + tau (1 / q) / Σ (1 / q),\n"
                "q = softmax(mean_t log π);   1 / N on wrong ones"
            ),
            "differential_smoothing": "R ← R - right ln π(y) where right, R + wrong ln π(y) where wrong",
            "unsolved": "weight = 1 / N over groups with E[pass@k] < threshold, of Beta(right + s, wrong + n - s)",
        },
    ),
    (
        "Sampler and learner",
        "Corrections are rows of `entropy_rl/losses/importance.py`: `--config.importance.name=` off, recompute,\n"
        "token_cap, sequence_cap, token_band, sequence_mask, geometric_band, negative_mask, m2po.",
        {
            "stale": "r = π / π_learner,   weight = min(π_learner / π_sampler, cap) / N;   sampled 4 steps behind",
        },
    ),
    (
        "Your own model",
        "",
        {
            "hf": "as grpo, strictly on-policy",
            "qwen_math": "as grpo, strictly on-policy",
            "smollm2": "as grpo, strictly on-policy",
        },
    ),
)

OTHER = (
    ("Imitation", "sft/countdown sft/grid sft/lessons sft/critique_model sft/cft"),
    ("The quickstart and the law", "quickstart laws/fit laws/coverage retest"),
    ("Other systems of training", "self_train rlsf rlp"),
    ("Critiques: data, scores, test time", "critique/make critique/scores critique/test_time"),
    ("Measuring a policy", "tokens calibrate elicit dual forking"),
    ("Data, verifiers, models", "make_dataset verifiers tiny_model convert_hf convert_gguf"),
    ("Runs of a study", "compare curate"),
    ("Machines", "plan bench bench_peers"),
    ("Sweeps", "sweeps/*"),
)
SHARED = ("common", "rl/base")  # no recipes of their own


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page())


def page() -> str:
    """The page, from the configs as they are."""
    base = flat(rl_base.recipe(""))
    out, done = [INTRO], set(SHARED)
    for title, about, recipes in RL:
        out.append(f"## {title}\n" + (f"\n{about}\n" if about else ""))
        for name, formula in recipes.items():
            out.append(recipe(f"rl/{name}", formula, base))
            done.add(f"rl/{name}")
    for title, names in OTHER:
        out.append(f"## {title}\n")
        for name in names.split():
            there = sorted(path(p) for p in (ROOT / "configs").glob(f"{name}.py"))
            out += [section(x) for x in there if x not in done]
            done |= set(there)
    left = sorted({path(p) for p in (ROOT / "configs").rglob("*.py")} - done)
    if left:
        out.append("## Others\n")
        out += [section(x) for x in left]
    return "\n".join(out)


def recipe(name: str, formula: str, base: dict[str, Any]) -> str:
    """A section of a recipe of configs/rl."""
    lines = [section(name, formula)]
    # another task and another model: no difference that a line could hold
    if name in ("rl/hf", "rl/qwen_math", "rl/smollm2"):
        return lines[0]
    source = ROOT / "configs" / f"{name}.py"
    config = flat(launch.load_config(str(source)))
    lines.append(values("Besides GRPO's", differences(base, config)))
    if ":paper" in source.read_text():
        try:
            paper = flat(launch.load_config(f"{source}:paper"))
        except Exception as e:  # the docstring may only say that there is none
            assert "no variant" in str(e), e
        else:
            lines.append(values("With `:paper`", differences(config, paper)))
    return "".join(lines)


def section(name: str, formula: str = "") -> str:
    """Title, formula, and the docstring with its commands as code."""
    source = ROOT / "configs" / f"{name}.py"
    text = ast.get_docstring(ast.parse(source.read_text()))
    first, rest = (text + "\n").split("\n", 1)
    code = f"\n```text\n{formula}\n```\n" if formula else ""
    return f"### {name}\n\n{first} [[config](../configs/{name}.py)]\n{code}\n{prose(rest)}"


def prose(text: str) -> str:
    """Markdown of a docstring's body: lines of commands and indented lines become code, the rest paragraphs."""
    out, code = [], []
    lines = text.strip("\n").splitlines()

    def flush():
        if code:
            out.append("\n```text\n" + "\n".join(code).rstrip() + "\n```\n")
            code.clear()

    for i, line in enumerate(lines):
        command = re.match(r"\s*(Command: )?(python -m |make )", line)
        goes_on = code and (code[-1].endswith("\\") or line.startswith("  "))
        blank_before = i == 0 or not lines[i - 1].strip()
        if command or goes_on or (line.startswith("  ") and blank_before and line.strip()):
            code.append(re.sub(r"^Command: ", "", re.sub(r" {4,}(?=--)", " ", line)))
            continue
        flush()
        if re.match(r"(Time|Outcome|Expect|Metrics|Memory of one GPU)\b", line):
            out.append("")
        out.append(escaped(line.strip()))
    flush()
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip() + "\n"


def escaped(line: str) -> str:
    """Prose whose *, <, _ and $ are not Markdown's; `code` stays."""
    parts = re.split(r"(`[^`]*`)", line)
    return "".join(p if p.startswith("`") else re.sub(r"([*<_$|\[\]])", r"\\\1", p) for p in parts)


def values(title: str, rows: dict[str, Any]) -> str:
    """Keys and values on a line."""
    return f"\n{title}: {', '.join(f'`{key}={value}`' for key, value in rows.items())}.\n" if rows else ""


def differences(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """What `b` has otherwise than `a`, or besides it."""
    return {k: v for k, v in b.items() if k not in a or a[k] != v}


def flat(config: ConfigDict) -> dict[str, Any]:
    """{dotted key: value}."""
    return flatten_dict(config.to_dict(), sep=".")


def path(file: pathlib.Path) -> str:
    """configs/rl/grpo.py -> rl/grpo."""
    return str(file.relative_to(ROOT / "configs").with_suffix(""))


if __name__ == "__main__":
    main()
