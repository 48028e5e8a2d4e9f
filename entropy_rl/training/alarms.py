"""What shows while a run goes on and means that it learns nothing: said once, with the remedy, and nothing is changed.

The entropy has an alarm of its own (entropy/controllers.EntropyAlarm).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

SOON, LATE = 3, 10  # steps one after the other until it is said: of what no step is likely to show, and of what some do


@dataclasses.dataclass
class LearningAlarm:
    """Watches rows of metrics.jsonl for what stops the learning.

    | name | steps | what it is | keys |
    |---|---|---|---|
    | truncated | SOON | every response was cut off | rollout/truncated = 1 |
    | empty | SOON | every response is its end alone, and none is right | rollout/length <= 1, rollout/solved = 0 |
    | alike | LATE | the rewards of every group are equal | rollout/zero_variance = 1 |
    | gradient | LATE | the gradient is 0 | update/grad_norm = 0 |

    Each is said once, and not while one above it holds, from which it follows.

    Attributes:
      grouped: whether a group whose rewards are equal gives no advantage, whatever other groups have.
      shaped: whether what is learnt from is more than these rewards (refinements, diversity, penalties): then equal
        rewards stop nothing.
      state: `counts`, by name the steps in a row in which it held, and `raised`, names that were said; json.
    """

    grouped: bool = True
    shaped: bool = False
    state: dict[str, Any] = dataclasses.field(default_factory=lambda: {"counts": {}, "raised": []})

    def observe(self, step: int, row: Mapping[str, float]) -> str | None:
        """A message when one of them has held long enough, the first time, else None."""
        solved = row["rollout/solved"]
        same = row["rollout/zero_variance"] >= 1 and (self.grouped or solved in (0.0, 1.0))
        holds = {
            "truncated": row["rollout/truncated"] >= 1,
            "empty": row["rollout/length"] <= 1 and solved <= 0,
            "alike": same and not self.shaped,
            "gradient": row.get("update/grad_norm", 1.0) == 0,
        }
        counts, raised = self.state["counts"], self.state["raised"]
        counts = {name: counts.get(name, 0) + 1 if now else 0 for name, now in holds.items()}
        self.state = {"counts": counts, "raised": raised}
        for name, count in counts.items():
            if not count:
                continue
            if name in raised:
                return None
            if count >= (SOON if name in ("truncated", "empty") else LATE):
                raised.append(name)
                return f"nothing is learnt in steps {step - count + 1} to {step}: {_message(name, row)}"
        return None


def _message(name: str, row: Mapping[str, float]) -> str:
    if name == "truncated":
        return (
            "every response was cut off at the longest length, which makes it wrong: raise prompt.response_length, or "
            "see in samples.jsonl whether the model ends its turns at all (eos_token_id of generation_config.json)"
        )
    if name == "empty":
        return (
            "every response ends with its first token, and none is right: see in samples.jsonl whether the prompt is "
            "one that the model knows (prompt.style, the chat template)"
        )
    if name == "gradient":
        return (
            "the gradient is 0, as all advantages or all weights of tokens are: see rollout/reward, the weight and the "
            "loss's clip"
        )
    if row["rollout/solved"] <= 0:
        return (
            "every response is wrong, so that no group's rewards differ: begin with a policy that is right now and "
            "then (config.init, after imitation), give easier problems, more rollout.samples, or a reward in parts"
        )
    what = f"no group's rewards differ (mean reward {row['rollout/reward']:.3g})"
    if row["rollout/solved"] >= 1:
        return f"every group is solved, and {what}: give harder problems, or end here"
    return f"{what}: give problems of middle difficulty, more rollout.samples, or filter_rounds (dynamic sampling)"
