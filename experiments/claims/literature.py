"""Later work beside the claims: what it says, what our tests say next to it, and whether we could read it.

One row a paper and claim; the page prints them in the claim's section, with the numbers of the tests that `tests` names
as they come out of the runs at hand. Nothing is here from memory: a row whose source we could not read is flagged.
"""

from __future__ import annotations

from experiments.claims.literature_feedback import FEEDBACK
from experiments.claims.paper import CONTRADICTS, HELD_LEVELS, LIMITS, MISMATCH, REPLACES, STUDY_2026, SUPPORTS, Paper

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
} | FEEDBACK
