"""Writes trl_sdpo.json: what trl's self-distillation makes of random logits. It needs torch and trl, nothing else does:

python -m pip install trl==1.16.0 torch && python -m tests.golden.trl_sdpo
"""

import json
import pathlib

import numpy as np


def main():
    import torch
    from trl.experimental.sdpo import loss_utils

    rng = np.random.default_rng(0)
    rows, columns, words, top = 2, 3, 12, 4
    student, teacher = (2 * rng.normal(size=(2, rows, columns, words))).astype("f4")
    ids = rng.integers(0, words, (rows, columns))
    old = rng.normal(size=(rows, columns)).astype("f4") - 2
    out = {"student": student.tolist(), "teacher": teacher.tolist(), "ids": ids.tolist(), "old_logp": old.tolist()}
    out |= {"top": top, "clip": 2.0, "losses": []}
    for alpha in (0.0, 0.3, 0.5, 1.0):
        for whole in (False, True):
            z = torch.tensor(student, requires_grad=True)
            how = {"distillation_alpha": alpha}
            if whole:
                loss = loss_utils.compute_full_logit_self_distillation_loss(z, torch.tensor(teacher), **how)
            else:
                how |= {"distillation_topk": top, "distillation_add_tail": True}
                loss = loss_utils.compute_topk_self_distillation_loss(z, torch.tensor(teacher), **how)
            logp = torch.log_softmax(z, -1).gather(-1, torch.tensor(ids)[..., None])[..., 0]
            clipped = loss_utils.apply_importance_sampling_clipping(loss, logp, torch.tensor(old), 2.0)
            clipped.sum().backward()
            made = {"loss": loss, "clipped": clipped, "grad": z.grad}
            out["losses"].append({"alpha": alpha, "whole": whole} | {k: v.tolist() for k, v in made.items()})
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
