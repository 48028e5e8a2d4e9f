"""Are the collapse of entropy in training and the inflation of variance at test time one failure or two?"""

from __future__ import annotations

from experiments.claims.arms import Study
from experiments.claims.data import Data
from experiments.claims.verdicts import Claim, How, Verdict, of_json, spelled, triple

NATS = 0.1  # of the entropy of answers: a change that is worth the name
CORRELATION = 0.5


def dual(data: Data, studies: list[Study], how: How) -> Verdict:
    """Reads dual.json (experiments.dual): is there either failure, and does what moves one move the other?"""
    out = Verdict()
    for document in data.documents:
        content = document.content
        training, test, correlation = (content.get(key) for key in ("training", "test", "correlation"))
        if not (isinstance(training, dict) and isinstance(test, dict) and "baseline" in content):
            continue
        out.files.append(document.path)
        where = document.path.parent.name
        baseline = f"{content['baseline']} less the start"
        count, span = of_json(training.get(baseline), "entropy")
        out.add(f"{where}: token entropy, {baseline}", span, how, count, below=0.0)
        rounds = f"wait {content.get('rounds')}"
        count, span = of_json(test.get(rounds), "surprise")
        out.add(f"{where}: answer entropy after '{rounds}', less plain", span, how, count, above=0.0)
        rows = []
        for control, row in training.items():
            _, moved = of_json(row, "entropy")
            count, span = of_json(row, "inflation")
            rows.append([control, str(count), spelled(moved), spelled(span), spelled(of_json(row, "gain")[1])])
            held = moved is not None and moved[1] > 0 and control != baseline
            if held:
                what = f"{where}: inflation of answer entropy under {control}, which holds entropy, less the baseline's"
                out.add(what, span, how, count, within=(-NATS, NATS))
        found = (correlation or {}).get("inflation", {})
        if isinstance(found, dict) and triple(found.get("within")):
            what = f"{where}: correlation of training entropy with inflation, within runs"
            count = int(found.get("runs", 0))
            out.add(what, triple(found["within"]), how, count, "runs", within=(-CORRELATION, CORRELATION))
        header = [
            "control",
            "seeds",
            "token entropy (nats)",
            "inflation of answer entropy",
            "change of accuracy by waiting",
        ]
        out.details.append((f"{where}: controls less {content['baseline']}, at the last checkpoint", header, rows))
    if not out.files:
        out.missing.append(
            "no dual.json (experiments.dual: token entropy in training and answer entropy by budget, on the "
            "same checkpoints)"
        )
    return out


DUAL = Claim(
    id="dual",
    main="inflation of",
    text="Training collapse and test-time variance are separate failures",
    source="a synthesis note on arXiv:2505.22617 and 2506.04210; no measurement of its own",
    definition=(
        "On the same checkpoints: token entropy in training falls (the baseline less its start); the entropy of "
        "answers rises with the thinking budget (the last round of 'wait' less the plain response); and they are "
        f"separate: controls that hold token entropy up change that rise by less than {NATS:g} nats, and over the "
        f"checkpoints of a run the rise correlates with token entropy by less than {CORRELATION:g} either way."
    ),
    needs="dual.json of experiments.dual, 3 seeds of a baseline and of controls",
    decides="policies with thoughts long enough for a budget to mean more than another attempt",
    test=dual,
)
