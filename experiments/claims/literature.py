"""Later work beside the claims: what it says, what our tests say next to it, and whether we could read it.

One row a paper and claim; the page prints them in the claim's section, with the numbers of the tests that `tests` names
as they come out of the runs at hand. Nothing is here from memory: a row whose source we could not read is flagged.
"""

from __future__ import annotations

import dataclasses

CONTRADICTS, LIMITS, REPLACES, SUPPORTS = "contradicts", "limits", "replaces", "supports"
# what was read: its text, a part of it or a figure, its abstract, its code; or only what others say about it; or notes
# that do not say which of these
READ = ("paper", "paper in part", "abstract", "code", "second hand", "not recorded")
NOT_GROUNDED = ("second hand", "not recorded")
NOT_RUN = "not run: "


@dataclasses.dataclass(frozen=True)
class Paper:
    """A paper beside a claim.

    found: what it says. bears: what that does to the claim; "replaces": another method or quantity instead. tests:
    words in the titles of our tests that stand beside it. beside: more of ours, with where it is, or what was not run.
    """

    id: str
    found: str
    bears: str
    read: str
    tests: tuple[str, ...] = ()
    beside: str = ""

    @property
    def grounded(self) -> bool:
        """Whether we read it, at least its abstract or code."""
        return self.read not in NOT_GROUNDED

    def as_json(self) -> dict[str, str | bool]:
        """Its row in retest.json."""
        about = {"arxiv": self.id, "found": self.found, "bears": self.bears, "read": self.read}
        return about | {"grounded": self.grounded, "beside": self.beside}


STUDY_2026 = NOT_RUN + "configs/sweeps/controls.py:2026"
MISMATCH = NOT_RUN + "configs/sweeps/mismatch.py"
HELD_LEVELS = NOT_RUN + "configs/sweeps/equal_entropy.py"
NARROWING = NOT_RUN + "configs/sweeps/narrowing.py"
LEARN = NOT_RUN + "configs/sweeps/critique_learn.py"

PAPERS: dict[str, tuple[Paper, ...]] = {
    "law": (
        Paper(
            "2510.13786",
            "ScaleRL: the score is a sigmoid in compute, which extrapolates",
            REPLACES,
            "abstract",
            beside="heated starts: RMSE .017 of a sigmoid in the step, .071 of exp (docs/results/law.md); compute was "
            "not on the axis",
        ),
        Paper(
            "2510.13786",
            "its appendix: nearly equal entropy curves, different final scores",
            CONTRADICTS,
            "second hand",
            beside=HELD_LEVELS,
        ),
        Paper(
            "2510.08141",
            "held at .25, .50, .75 nats the score is 53.0, 54.8, 53.5: a summit, no law under control",
            CONTRADICTS,
            "paper in part",
            beside=HELD_LEVELS,
        ),
        Paper(
            "2511.05993",
            "rank correlation of entropy with the score from −.89 to +.63 over benchmarks: correlation, no law",
            CONTRADICTS,
            "not recorded",
            beside="one benchmark a run here: not to be compared",
        ),
        Paper(
            "2505.22617",
            "its own Figure 1, digitised by us, prefers H² at three of five sizes",
            LIMITS,
            "paper",
            beside="exp is identified at none of the five (notebooks/law_of_five_sizes.ipynb)",
        ),
        Paper(
            "2509.25300",
            "the test error is a power of compute or data, over sizes from 0.5 to 72 B",
            REPLACES,
            "paper in part",
            beside="not fitted; five sizes: the ceiling grows by .072 a factor e of N (docs/results/law.md)",
        ),
        Paper(
            "2507.18014",
            "a sigmoid in steps with three phases",
            REPLACES,
            "abstract",
            beside="heated starts: smallest RMSE of six curves (docs/results/law.md)",
        ),
    ),
    "coefficients": (
        Paper(
            "2505.22617",
            "its Figure 13: coefficients change with the training data",
            LIMITS,
            "paper",
            beside="the mix of levels moves a, and hardly the ceiling on shared problems (docs/results/law.md)",
        ),
        Paper(
            "2510.13786",
            "ScaleRL: not all recipes end alike, but loss, normalisation and off-policy algorithm move the efficiency "
            "more than the asymptote",
            SUPPORTS,
            "abstract",
            ("spread of the ceiling",),
        ),
        Paper(
            "2510.13786",
            "ScaleRL: CISPO and GSPO end above DAPO; a float32 head lifts the asymptote from .52 to .61",
            CONTRADICTS,
            "second hand",
            ("spread of the ceiling",),
            MISMATCH,
        ),
        Paper(
            "2603.11682",
            "objective and clip move entropy, each in its own way, and numerical precision as much",
            CONTRADICTS,
            "abstract",
            beside=MISMATCH,
        ),
        Paper(
            "2603.11682",
            "a bfloat16 sampler turns DAPO's entropy from collapse to growth",
            CONTRADICTS,
            "not recorded",
            beside=MISMATCH,
        ),
        Paper(
            "2509.26114",
            "clip-low raises entropy and clip-high lowers it, with random rewards too",
            CONTRADICTS,
            "not recorded",
            beside="random rewards were not run; clip-higher ends at 1.08 times GRPO's entropy",
        ),
        Paper("2602.04879", "DPPO: bounds the shift of probability, no ratio's clip", REPLACES, "code", (), STUDY_2026),
    ),
    "front_loaded": (
        Paper(
            "2510.13786",
            "ScaleRL leaves the first part of a run out of its fits",
            LIMITS,
            "second hand",
            ("laws: share of the gain had by 1/12",),
        ),
        Paper(
            "2605.27954",
            "entropy of agents erupts in cycles, and does not only fall",
            CONTRADICTS,
            "not recorded",
            beside="no task with an agent here",
        ),
        Paper(
            "2503.14476",
            "DAPO: the score improves while entropy slowly rises",
            CONTRADICTS,
            "paper",
            beside="not seen: DAPO ends at H .039, GRPO at .040, with pass@1 +.091 for two to three times the rollouts "
            "(docs/results/controls.md)",
        ),
    ),
    "early": (
        Paper(
            "2510.13786",
            "ScaleRL: extrapolates by a sigmoid in compute from smaller runs",
            REPLACES,
            "abstract",
            ("from the first 15%, pure",),
        ),
        Paper(
            "2509.25300",
            "a power law of the test error in compute extrapolates over sizes",
            REPLACES,
            "paper in part",
            beside="not fitted",
        ),
        Paper(
            "2603.11682",
            "cumulative entropy correlates with the final score",
            SUPPORTS,
            "not recorded",
            beside="not tested",
        ),
    ),
    "covariance": (
        Paper(
            "2602.03392",
            "the logit's own discriminant p (H + ln p) predicts; covariance needs advantages of unsampled tokens",
            REPLACES,
            "not recorded",
            ("single token, of advantages",),
        ),
        Paper(
            "2510.10150",
            "STEER: four factors make up the change of entropy, of which earlier controls see one or two",
            REPLACES,
            "abstract",
            ("single token, of advantages",),
            "as a control: pass@1 +.012 (−.031 to +.057) on GRPO's (docs/results/controls.md)",
        ),
        Paper(
            "2512.16912",
            "with random rewards the covariance is 0 and entropy still changes: the second order counts",
            LIMITS,
            "not recorded",
            beside="random rewards were not run",
        ),
        Paper(
            "2511.05993",
            "clipping at random is as good as Clip-Cov there: the ranking may not be what works",
            CONTRADICTS,
            "not recorded",
            beside="not so here: random_clip is GRPO, Clip-Cov has three times its entropy (docs/results/controls.md)",
        ),
    ),
    "ceiling": (
        Paper(
            "2505.22617",
            "section 4.5: no relation between the intervened entropy and the score; +2.0 and +6.4 points over GRPO all "
            "the same",
            LIMITS,
            "paper",
            ("controls: pass@1 at the end",),
        ),
        Paper(
            "2511.05993",
            "keeping entropy above its start still raises AIME24: the score is not only bought with entropy",
            SUPPORTS,
            "not recorded",
            ("controls: pass@8 at the end",),
        ),
        Paper("2510.08141", "the score has a summit at intermediate entropy", LIMITS, "paper in part", (), HELD_LEVELS),
        Paper(
            "2509.23808",
            "the trade-off is said to be an artefact of token-level measures",
            CONTRADICTS,
            "not recorded",
            beside="hidden states were not measured",
        ),
        Paper(
            "2603.11682", "cumulative entropy does go with the final score", SUPPORTS, "not recorded", (), "not tested"
        ),
        Paper(
            "2601.01562",
            "several entropy strategies bring no consistent gain of accuracy",
            CONTRADICTS,
            "abstract",
            ("controls: pass@1 at the end",),
        ),
        Paper(
            "2511.19942",
            "differential smoothing: a term on right responses alone raises pass@1 and pass@k, on Countdown too, and "
            "beats entropy controls",
            REPLACES,
            "abstract",
            beside=STUDY_2026,
        ),
        Paper(
            "2604.26326",
            "Entrocraft: entropy on a schedule by dropping rows of one sign; a falling line is best, pass@k +50 %",
            SUPPORTS,
            "code",
            beside=STUDY_2026,
        ),
    ),
    "forking": (
        Paper(
            "2506.01939",
            "20 % as good as all at 8B (+.5 points), better at 32B (+4.1); 10 to 50 % alike; the other 80 % alone bad",
            SUPPORTS,
            "paper",
            ("pass@1 at the end from the 20%", "less the other"),
        ),
        Paper(
            "2507.15778",
            "Archer keeps low-entropy tokens under a tighter clip and a KL instead of dropping them",
            REPLACES,
            "code",
            beside="not in the code base",
        ),
        Paper(
            "2511.05993",
            "random positive clipping is as good as choosing tokens by covariance",
            CONTRADICTS,
            "not recorded",
            ("less the other",),
        ),
        Paper(
            "2509.23808",
            "token-level entropy is said to be the wrong place to look",
            CONTRADICTS,
            "not recorded",
            beside="hidden states were not measured",
        ),
    ),
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
            beside="one seed, 40 steps, critiques alone: pass@1 .36 to .33, pass@8 .89 to .78 (docs/critique.md); "
            + LEARN,
        ),
        Paper(
            "2606.26091",
            "self-distillation from sampled right attempts: pass@1 as with RL, pass@k flat, less diverse",
            CONTRADICTS,
            "abstract",
            beside="one seed, 40 steps at 7e-4, siblings too: pass@8 .89 to .61 (docs/critique.md); " + NARROWING,
        ),
        Paper(
            "2606.26091",
            "token entropy does not show that narrowing",
            CONTRADICTS,
            "not recorded",
            beside="one seed, critiques alone: entropy .26 before and after, solutions a problem 1.44 to 1.33 "
            "(docs/critique.md); " + NARROWING,
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
            beside="one seed: right retries .280 to .288 with joint, .248 to .237 without (docs/critique.md); " + LEARN,
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
