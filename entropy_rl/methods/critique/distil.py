"""What a policy is shown to teach itself: critiques of its own attempts, and right attempts of others of their group.

SDPO (arXiv:2601.20802), SDFT and RLTF's self-distillation: the teacher of a row is the policy after the question and
what it is shown; training/step.Learner makes its distributions over the row's response, and pulls the policy on the
question alone towards them. A row never sees its own success, nor the same text of another.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from entropy_rl.data.packing import pack_rows
from entropy_rl.data.problem import Task
from entropy_rl.methods.critique import critics
from entropy_rl.methods.critique.language import CLOSED, Attempt, Language
from entropy_rl.training.collect import Group
from entropy_rl.training.rollouts import Rollout


@dataclasses.dataclass(frozen=True)
class Distiller:
    """Puts what teachers see into a rollout: `teacher_tokens` and `teacher_mask` of T' = width + response_length.

    Attributes:
      task: has the tokenizer and the lengths.
      width: tokens of a teacher's longest prompt; rows with a longer one have no teacher, and are counted.
      criticise: params, tried attempts, generator, key -> (sentences or None, what is logged, what the critic replied),
        as of refine.Refiner; None: nobody.
      attempts: failed attempts of a group that are criticised at most.
      siblings: whether a teacher sees the first other right attempt of its group.
      language: of what is shown.
    """

    task: Task
    width: int
    criticise: Callable[..., tuple[list[str | None], dict[str, float], list[str]]] | None = None
    attempts: int = 8
    siblings: bool = True
    language: Language = CLOSED

    def __call__(
        self,
        params: Any,
        groups: Sequence[Group],
        rollout: Rollout,
        rng: np.random.Generator,
        key: jax.Array,
        *,
        withdrawn: bool = False,
    ) -> tuple[list[Group], Rollout, dict[str, float]]:
        """(groups with rows for samples.jsonl, the rollout with what teachers see, what is logged).

        Rows for which there is neither a critique nor a right sibling, and refinements, which are no samples of the
        policy on the question, have no teacher. `withdrawn`: nobody is asked for critiques any more.
        """
        clock = time.perf_counter()
        said, row = self._critiques(params, groups, rng, key) if self.criticise and not withdrawn else ({}, {})
        encode, count = self.task.tokenizer.encode, {"critiques": 0, "siblings": 0, "skipped": 0, "too_long": 0}
        prompts: list[list[int]] = []
        responses: list[Sequence[int]] = []
        dialogues: dict[int, list[dict[str, Any]]] = {}
        for g, group in enumerate(groups):
            for i, text in enumerate(group.texts):
                other = self._sibling(group, i)
                critique = said.get((g, i), "")
                prompts.append([])
                responses.append([])
                if i in group.refined or not (critique or other):
                    count["skipped"] += 1
                    continue
                tried = Attempt(group.problem, text, group.rewards[i] >= 1)
                asked = self.language.ask_informed(tried, critique, other)
                if len(prompt := encode(asked)) > self.width:
                    count["too_long"] += 1
                    continue
                prompts[-1], responses[-1] = prompt, group.completions[i].tokens
                count["critiques"] += bool(critique)
                count["siblings"] += bool(other)
                dialogues.setdefault(g, []).append(shown(tried, critique, other, asked))
        length = self.width + self.task.response_length
        tokens, mask = pack_rows(prompts, responses, length, self.task.tokenizer.pad_id)
        groups = [dataclasses.replace(g, dialogues=(*g.dialogues, *dialogues.get(i, ()))) for i, g in enumerate(groups)]
        row |= {
            "distillation/rows": float(sum(map(bool, prompts))),
            "distillation/critiques": float(count["critiques"]),
            "distillation/siblings": float(count["siblings"]),
            "distillation/skipped": float(count["skipped"]),
            "distillation/too_long": float(count["too_long"]),
            "distillation/tokens": float(sum(map(len, prompts)) + sum(map(len, responses))),
            "time/distillation": time.perf_counter() - clock,
        }
        return groups, rollout.replace(teacher_tokens=tokens, teacher_mask=mask), row

    def _critiques(self, params, groups, rng, key) -> tuple[dict[tuple[int, int], str], dict[str, float]]:
        """Critiques of failed attempts by group and place, and what is logged."""
        places = []
        for g, group in enumerate(groups):
            wrong = [i for i, reward in enumerate(group.rewards) if reward < 1 and i not in group.refined]
            places += [(g, i) for i in wrong[: self.attempts]]
        if not places:
            return {}, {"critique/attempts": 0.0, "critique/tokens": 0.0}
        tried = [Attempt(groups[g].problem, groups[g].texts[i], False) for g, i in places]
        said, logged, _ = self.criticise(params, tried, rng, key)
        counts = {"critique/attempts": float(len(tried)), "critique/tokens": 0.0}
        leak = {"critique/leak": critics.leak(said, self.language)}
        return {place: s for place, s in zip(places, said, strict=True) if s}, counts | logged | leak

    def _sibling(self, group: Group, i: int) -> str:
        """The first right attempt of the group whose text is not that of attempt i; "": none, or none is shown."""
        if not self.siblings:
            return ""
        right = (text for text, reward in zip(group.texts, group.rewards) if reward >= 1 and text != group.texts[i])
        return next(right, "")


def shown(tried: Attempt, said: str, sibling: str, asked: str) -> dict[str, Any]:
    """A row of samples.jsonl: an attempt, and what its teacher sees."""
    return {
        "kind": "distillation",
        "prompt": tried.problem.prompt,
        "attempt": tried.text,
        "right": tried.right,
        "critique": said or None,
        "sibling": sibling or None,
        "teacher": asked,
    }
