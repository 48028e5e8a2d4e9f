"""Coefficients that change from step to step: plain floats on the host, so that nothing is compiled anew.

    controller = CONTROLLERS["target"](target=0.3, kp=0.1, ki=0.01, high=0.1)
    state = controller.init()
    coef, state = controller.step(state, entropy)     # once a step, before its updates

`step` n takes the entropy observed before the updates of step n and gives the coefficient of these updates, which thus
depends on what was observed up to and including step n. The state is a dict of floats: it goes into a checkpoint as
json, and a restored one continues with the same numbers.

`EntropyAlarm` says once when the entropy has collapsed or exploded, and changes nothing.

To add one: a function of keyword hyper-parameters that gives a Controller, and a row in CONTROLLERS.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

from entropy_rl.errors import InputError, lookup

State = dict[str, float]


class Controller(NamedTuple):
    """A coefficient's rule.

    Attributes:
      init: () -> state.
      step: (state, observed) -> (coefficient, new state); changes nothing in place.
    """

    init: Callable[[], State]
    step: Callable[[State, float], tuple[float, State]]


def constant(*, value: float) -> Controller:
    """c_n = value."""
    return Controller(dict, lambda state, observed: (float(value), state))


SHAPES = {
    "linear": lambda x: x,
    "cosine": lambda x: (1.0 - math.cos(math.pi * x)) / 2.0,
}


def schedule(*, start: float, end: float, steps: int, shape: str = "linear") -> Controller:
    """c_n = start + (end - start) f(min(n / steps, 1)), f(x) = x or (1 - cos(pi x)) / 2; n counts calls from 0.

    Args:
      start, end: coefficients.
      steps: above 0; from that step on it is `end`.
      shape: "linear" or "cosine".

    Raises:
      InputError: steps is not above 0, or there is no such shape.
    """
    if not steps > 0:
        raise InputError(f"steps={steps}: the length of a schedule must be above 0")
    curve = lookup(SHAPES, shape, "shape of a schedule")

    def step(state, observed):
        n = state["step"]
        return start + (end - start) * curve(min(n / steps, 1.0)), {"step": n + 1.0}

    return Controller(lambda: {"step": 0.0}, step)


def adaptive(
    *, target: float = 0.2, delta: float = 1e-4, start: float = 0.0, low: float = 0.0, high: float = 0.005
) -> Controller:
    """Skywork-OR1's adaptive entropy bonus (arXiv:2505.22312), with the constants of its scripts:

        c_n = alpha_n if H_n < target else 0
        alpha_{n+1} = clip(alpha_n + delta if H_n < target else alpha_n - delta, low, high),   alpha_0 = start

    alpha is changed after it was used, so at the defaults the first coefficient is 0.

    Args:
      target: nats.
      delta: change of alpha per step, above 0.
      start, low, high: alpha's first value and its bounds.

    Raises:
      InputError: delta is not above 0, or not low <= start <= high.
    """
    if not delta > 0:
        raise InputError(f"delta={delta}: the change per step must be above 0")
    _bounds(low, high)
    if not low <= start <= high:
        raise InputError(f"start={start}: must be from low={low} to high={high}")

    def step(state, observed):
        alpha, below = state["alpha"], observed < target
        changed = alpha + delta if below else alpha - delta
        return (alpha if below else 0.0), {"alpha": min(max(changed, low), high)}

    return Controller(lambda: {"alpha": float(start)}, step)


def target(*, target: float, kp: float, ki: float, high: float, low: float = 0.0) -> Controller:
    """A proportional-integral controller that holds the entropy at `target` (in the spirit of EntroPIC,
    arXiv:2511.15248, which controls the weights of positive and negative samples and not a bonus):

        e_n = target - H_n,   u_n = kp e_n + I_{n-1} + ki e_n,   c_n = clip(u_n, low, high)
        I_n = I_{n-1} + ki e_n, except where u_n is past a bound and ki e_n would drive it further

    The exception is what keeps the integral from winding up while the bound holds the coefficient. A coefficient that
    must fall when the observed value is too low, as that of a KL, has kp and ki below 0.

    Args:
      target: nats.
      kp, ki: gains, coefficient per nat, and per nat and step; of the same sign.
      high, low: bounds of the coefficient.

    Raises:
      InputError: gains of different signs or both 0, or bounds in the wrong order.
    """
    if kp * ki < 0 or kp == ki == 0:
        raise InputError(f"kp={kp}, ki={ki}: the gains must be of the same sign and not both 0")
    _bounds(low, high)

    def step(state, observed):
        error = target - float(observed)  # a numpy scalar in the state would be no json
        integral = state["integral"] + ki * error
        wanted = kp * error + integral
        if (wanted > high and ki * error > 0) or (wanted < low and ki * error < 0):
            integral = state["integral"]
        return min(max(wanted, low), high), {"integral": integral}

    return Controller(lambda: {"integral": float(min(max(0.0, low), high))}, step)


def _bounds(low: float, high: float) -> None:
    if not low <= high:
        raise InputError(f"low={low}, high={high}: the lower bound must not be above the upper one")


CONTROLLERS = {
    "adaptive": adaptive,
    "constant": constant,
    "schedule": schedule,
    "target": target,
}


@dataclasses.dataclass
class EntropyAlarm:
    """Watches the law's H (`policy/entropy_sequence`) against its value at the first step.

    Attributes:
      collapse: share of the first value below which the entropy counts as collapsed.
      explosion: multiple of the first value above which it counts as exploded.
      first: the first value, nats; None before any.
      raised: names of alarms that went off already.
    """

    collapse: float
    explosion: float
    first: float | None = None
    raised: list[str] = dataclasses.field(default_factory=list)

    def observe(self, step: int, entropy: float, reward: float) -> str | None:
        """A message the first time a bound is passed, else None."""
        if self.first is None:
            self.first = entropy
        share = entropy / self.first if self.first else float("inf") if entropy else 1.0
        kind = "collapse" if share < self.collapse else "explosion" if share > self.explosion else None
        if kind is None or kind in self.raised:
            return None
        self.raised.append(kind)
        return (
            f"entropy {kind} at step {step}: {entropy:.4g} nats a token, {share:.0%} of the {self.first:.4g} at the "
            f"start; reward {reward:.3g}"
        )
