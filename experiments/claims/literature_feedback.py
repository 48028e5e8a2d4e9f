"""Later work beside the claims on critiques, on what fails at test time, on what RL selects, and on confidence."""

from __future__ import annotations

from experiments.claims.paper import CONTRADICTS, LEARN, LIMITS, NARROWING, REPLACES, STUDY_2026, SUPPORTS, Paper

FEEDBACK: dict[str, tuple[Paper, ...]] = {
    "critique_entropy": (
        Paper(
            "2506.03106",
            "Critique-GRPO: entropy stays higher, peaks before step 200, then declines; its script has a bonus of .001",
            SUPPORTS,
            "paper",
            ("critique: ln entropy",),
        ),
        Paper(
            "2411.16579",
            "AutoMathCritique: less tail narrowing in self-training; no entropy is measured",
            SUPPORTS,
            "abstract",
            ("self_train: ln different right solutions",),
        ),
        Paper(
            "2511.05993",
            "tokens of positive advantage are what collapses entropy",
            LIMITS,
            "abstract",
            beside="not split by sign here",
        ),
        Paper(
            "2603.04597",
            "GOLF: language feedback for a group, of peers' attempts too: 2.2 times the sample efficiency",
            SUPPORTS,
            "abstract",
            beside="critiques of a group at once are not in the code base",
        ),
        Paper(
            "2601.20802",
            "SDPO: what feedback teaches is distilled token by token; no refined rows",
            REPLACES,
            "code",
            beside="three seeds, 240 steps: alone pass@1 .35 to .05; with the loss of advantages .51, refined rows "
            ".72 (docs/results/critique.md); " + LEARN,
        ),
        Paper(
            "2606.26091",
            "self-distillation from sampled right attempts: pass@1 as with RL, pass@k flat, less diverse",
            CONTRADICTS,
            "abstract",
            beside="three seeds, 240 steps: alone pass@64 .53, refined rows .89; with the loss of advantages .97 "
            "(docs/results/critique.md); " + NARROWING,
        ),
        Paper(
            "2606.26091",
            "token entropy does not show that narrowing",
            CONTRADICTS,
            "not recorded",
            beside="three seeds, alone: token entropy ends at .40, above the start's, with 1.3 solutions a problem "
            "(refined rows: 2.6; docs/results/critique.md); " + NARROWING,
        ),
        Paper(
            "2603.24472",
            "self-distillation costs up to 40 % in math; words of doubt vanish",
            CONTRADICTS,
            "not recorded",
            beside=NARROWING,
        ),
        Paper(
            "2603.07079",
            "EOPD: forward KL only where the teacher's entropy is high: pass@8 +1.4 to +5.1 points",
            REPLACES,
            "abstract",
            beside="not in the code base",
        ),
        Paper(
            "2602.02482",
            "RLTF: learns the refinement under its feedback as well",
            REPLACES,
            "second hand",
            beside="five seeds: right retries in a run .356 to .318, .327 to .233 without; after critiques that name "
            "the step .387 to .428, .344 to .265 without (docs/results/critique.md); " + LEARN,
        ),
    ),
    "critique_test_time": (
        Paper(
            "2411.16579",
            "both help; the test-time gain is largest on hard questions and grows with compute",
            LIMITS,
            "abstract",
            ("critique: pass@1 gained by oracle in training",),
        ),
        Paper(
            "2506.03106",
            "+4.5 points over GRPO by critiques in training, self-critique nearly as good as GPT-4o's",
            SUPPORTS,
            "paper",
            ("critique: pass@1 gained by learned in training",),
        ),
        Paper(
            "2510.24320",
            "Critique-RL: the critic itself is trained by reinforcement, on judging and then on refining",
            REPLACES,
            "code",
            beside="critics here learn by imitation alone",
        ),
    ),
    "plateau": (
        Paper(
            "2506.03106",
            "8 times the prompts give no further gain; 55 % of persistent failures are refined with a critique, 7 % "
            "with right or wrong",
            SUPPORTS,
            "paper",
            ("critique: pass@1 at the end", "no evaluation has seen solved"),
        ),
        Paper(
            "2411.00750",
            "guided re-sampling of hard questions beats brute force at a third of the compute",
            SUPPORTS,
            "second hand",
            ("self_train: pass@64 at the end",),
        ),
        Paper(
            "2510.13786",
            "ScaleRL: batch and length move the asymptote too, without any words",
            LIMITS,
            "second hand",
            beside="batch and length were not varied",
        ),
    ),
    "dual": (
        Paper(
            "2506.04210",
            "answer entropy .23 to 2.79 nats with 'wait'; parallel votes beat it at equal tokens; no training entropy",
            SUPPORTS,
            "second hand",
            ("answer entropy after",),
        ),
        Paper(
            "2507.14843",
            "in training token entropy may rise while the entropy of answers falls",
            LIMITS,
            "not recorded",
            ("correlation of training entropy",),
        ),
    ),
    "selects": (
        Paper(
            "2504.13837",
            "the base passes RL at k of tens to hundreds, on all benchmarks; coverage shrinks as pass@1 rises",
            SUPPORTS,
            "paper",
            ("elicit, RL: pass@",),
        ),
        Paper(
            "2507.14843",
            "pass@k's support shrinks; token entropy may rise while that of answers falls",
            SUPPORTS,
            "not recorded",
            ("none of the base's",),
        ),
        Paper(
            "2505.24864",
            "ProRL argues that long training with resets does widen the boundary",
            CONTRADICTS,
            "second hand",
            beside="resets are there (kl.reset_every); not run for long",
        ),
        Paper(
            "2606.15455",
            "one success of a problem nearly saturates its pass@k; training on unsolved ones alone lifts pass@256 "
            "above the base",
            CONTRADICTS,
            "abstract",
            ("elicit, RL: pass@256",),
            STUDY_2026 + " (unsolved)",
        ),
        Paper(
            "2605.00365",
            "UCPO: GRPO does not care which right answer; weights among right ones give AIME24 pass@64 +10 points",
            REPLACES,
            "code",
            beside=STUDY_2026,
        ),
        Paper("2602.02710", "MaxRL: pass@k at no cost in pass@1, against GRPO", REPLACES, "abstract", (), STUDY_2026),
        Paper("2508.10751", "pass@k as the reward, in closed form", REPLACES, "code", (), STUDY_2026),
        Paper(
            "2510.07364",
            "most of the gap is recovered by steering the base on 12 % of its tokens",
            SUPPORTS,
            "second hand",
            beside="a trained vector gives 23 % of GRPO's gain (docs/results/field.md)",
        ),
    ),
    "calibration": (
        Paper(
            "2507.21931",
            "lower ECE and higher accuracy than base and SFT are claimed; tables were not found",
            SUPPORTS,
            "abstract",
            ("rlsf, dpo: ECE of the answer (%) less the start's",),
        ),
        Paper("2511.05993", "miscalibration grows in RLVR", LIMITS, "not recorded", ("less RLVR's",)),
    ),
    "bottleneck": (
        Paper(
            "2510.14807",
            "SimKO: probability concentrates on the top token, and pass@k pays for it",
            SUPPORTS,
            "code",
            beside="not in the code base",
        ),
        Paper(
            "2509.02534",
            "DARLING: rewards for being different keep both pass@1 and pass@k",
            CONTRADICTS,
            "paper",
            beside="pass@1 −.061 (−.119 to +.003), pass@128 +.043 (−.024 to +.104) (docs/results/field.md)",
        ),
    ),
}
