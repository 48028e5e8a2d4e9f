"""The sampling half of an RL step: problems are attempted, verified, laid out as a rollout."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from entropy_rl.data import packing
from entropy_rl.data.order import problem_at
from entropy_rl.data.problem import Problem, Task
from entropy_rl.errors import InputError
from entropy_rl.models.transformer import Transformer
from entropy_rl.parallel.processes import shared_out
from entropy_rl.sampling import warp
from entropy_rl.sampling.engine import Completion, generate
from entropy_rl.streams import stream
from entropy_rl.training.rollouts import Rollout, pack


@dataclasses.dataclass(frozen=True)
class Turn:
    """A retry that is learnt under its context: a row of its own, whose prompt is all that was said before."""

    prompt: list[int]
    completion: Completion
    reward: float
    number: int  # of the retry in its context, from 1


@dataclasses.dataclass(frozen=True)
class Group:
    """The attempts at one problem, parallel lists; `refined` has the places of those that are refinements.

    `turns` are rows besides them. `dialogues` are rows of samples.jsonl about critiques of its attempts
    (methods/critique/refine.dialogue).
    """

    problem: Problem
    prompt: list[int]
    completions: list[Completion]
    texts: list[str]
    rewards: list[float]
    refined: tuple[int, ...] = ()
    dialogues: tuple[dict[str, Any], ...] = ()
    turns: tuple[Turn, ...] = ()


class Collector:
    """(params, step) -> rollout, pure in (seed, key, step), and with dynamic sampling in `places`.

    Attributes:
      places: place in the order of problems at which a step begins, by the step's number, of the latest step and the
        one after it; to be put into checkpoints and back, as a dict. Filled by dynamic sampling alone, whose steps take
        as many problems as they need, so that an epoch still has all of them once; a step that is not in it begins
        where it would if all steps before had needed all `rounds`.

    Args:
      model: the policy's.
      task: gives problems, verifies responses, and has the tokenizer and the lengths.
      prompts, samples: problems a step, and responses to each: the group.
      key: random key; a step folds its number in.
      seed: of the order of problems.
      slots: responses that are sampled at a time; None: all.
      temperature: of sampling.
      mesh: over which slots are spread.
      rounds: of dynamic sampling, at most (`informative`); 0: groups are taken as they are.
      penalty: lengths i32[B] -> f32[B], added to the rewards (advantages.overlong).
      refiner: (params, groups, generator, key) -> (groups, what is logged): methods/critique/refine.Refiner.
      refine_until: the step from which on nothing is refined; 0: always.
      distiller: (params, groups, rollout, generator, key, withdrawn=) -> (groups, rollout with what teachers see, what
        is logged): methods/critique/distil.Distiller; from step `refine_until` on critiques are withdrawn there too.
      turns: (most `turns` of a group, tokens of a row with the longest of them); these rows are there at every step,
        empty where there is no turn.
      widths: numbers of columns that a rollout may have (data/packing.room): the learner then runs the longest response
        that was sampled and not the longest that there could be, and compiles its programs for each number that comes
        up. 1, or with `turns`: always the same.
      routes: whether the rollout has the experts that its tokens went to.
      diversity: groups -> (rewards, what is logged), in place of the verifier's: methods/diversity/darling.Diversity.
    """

    def __init__(
        self,
        model: Transformer,
        task: Task,
        *,
        prompts: int,
        samples: int,
        key: jax.Array,
        seed: int = 0,
        slots: int | None = None,
        temperature: float = 1.0,
        mesh: jax.sharding.Mesh | None = None,
        rounds: int = 0,
        penalty: Callable[[np.ndarray], np.ndarray] | None = None,
        refiner: Callable[..., tuple[list[Group], dict[str, float]]] | None = None,
        refine_until: int = 0,
        turns: tuple[int, int] = (0, 0),
        diversity: Callable[[list[Group]], tuple[list[list[float]], dict[str, float]]] | None = None,
        distiller: Callable[..., tuple[list[Group], Rollout, dict[str, float]]] | None = None,
        widths: int = 1,
        routes: bool = False,
    ):
        self._model, self._task, self._prompts, self._key, self._seed = model, task, prompts, key, seed
        self._rounds, self._penalty, self._diversity = rounds, penalty, diversity
        self.places: dict[int, int] = {}
        self._refiner, self._refine_until, self._turns = refiner, refine_until, turns
        self._distiller, self._widths = distiller, 1 if turns[0] else widths
        self._sampling = {
            "samples": samples,
            "slots": slots,
            "max_new": task.response_length,
            "prompt_length": task.prompt_length,
            "warp": partial(warp.temperature, value=temperature),
            "mesh": mesh,
            "routes": routes,
        }

    def __call__(self, params: Any, step: int) -> tuple[Rollout, list[Group], dict[str, float]]:
        """(rollout, its groups, what is logged of all groups that were sampled).

        Raises:
          InputError: dynamic sampling found too few groups whose rewards differ.
        """
        task, rounds = self._task, self._rounds
        key = jax.random.fold_in(self._key, step)
        place = self.places.get(step, step * max(rounds, 1) * self._prompts)

        def sample(number):
            first = place + number * self._prompts
            problems = [problem_at(task, self._seed, first + i) for i in range(self._prompts)]
            noise = jax.random.fold_in(stream(key, "rollout"), number)
            return attempt(self._model, params, task, problems, noise, **self._sampling)

        row = {}
        if rounds:
            groups, sampled = informative(sample, count=self._prompts, rounds=rounds)
            row["rollout/groups_sampled"] = float(len(sampled))
            self.places = {step: place, step + 1: place + len(sampled)}
        else:
            groups = sampled = sample(0)
        row["rollout/tokens"] = float(sum(len(c.tokens) for g in sampled for c in g.completions))
        if self._refiner and not 0 < self._refine_until <= step:
            rng = np.random.default_rng((self._seed, step, 1))
            groups, refined = self._refiner(params, groups, rng, stream(key, "critique"))
            row |= refined
        rewards = None
        if self._diversity:
            rewards, measured = self._diversity(groups)
            row |= measured
        longest = max(len(c.tokens) for g in groups for c in g.completions)
        responses = packing.room(longest, task.response_length, self._widths)
        rollout = to_rollout(
            groups,
            length=max(task.prompt_length + responses, self._turns[1]),
            pad_id=task.tokenizer.pad_id,
            penalty=self._penalty,
            rewards=rewards,
            turns=self._turns[0],
        )
        if self._distiller:
            rng, noise = np.random.default_rng((self._seed, step, 1)), stream(key, "critique")
            withdrawn = 0 < self._refine_until <= step
            groups, rollout, taught = self._distiller(params, groups, rollout, rng, noise, withdrawn=withdrawn)
            row |= taught
        return rollout, groups, row | summary(task, sampled)


def attempt(
    model: Transformer, params, task: Task, problems: Sequence[Problem], key: jax.Array, *, max_new: int, **sampling
) -> list[Group]:
    """Samples and verifies responses to problems.

    Args:
      model, params: the policy.
      task: verifies, and has the tokenizer.
      problems: to be attempted.
      key: random key of this call.
      max_new: longest response, in tokens.
      **sampling: samples, slots, warp, prompt_length, mesh, routes of sampling/engine.generate.
    """
    tokenizer = task.tokenizer
    prompts = [tokenizer.encode(p.prompt) for p in problems]
    completions = generate(model, params, prompts, key, max_new=max_new, eos=tokenizer.eos_ids, **sampling)
    texts = [[tokenizer.decode(c.tokens) for c in group] for group in completions]
    flat = [(p, text, c) for p, *group in zip(problems, texts, completions) for text, c in zip(*group)]
    made = iter(verify_completions(task, *map(list, zip(*flat)))) if flat else iter(())
    rewards = [[next(made) for _ in group] for group in completions]
    return [Group(*parts) for parts in zip(problems, prompts, completions, texts, rewards)]


def verify_completions(
    task: Task, problems: Sequence[Problem], texts: Sequence[str], completions: Sequence[Completion]
) -> list[float]:
    """Rewards of responses, each to its problem; 0 for one that is truncated, whatever its text says.

    A response that ran out of room is wrong even where its text happens to reach the answer: nothing ended it. The
    others are verified together (`verify_all`), and of several processes each verifies its part.
    """
    rewards = [0.0] * len(texts)
    whole = [i for i, c in enumerate(completions) if not c.truncated]
    if whole:
        pairs = [(problems[i], texts[i]) for i in whole]
        for i, reward in zip(whole, shared_out(pairs, partial(verify_all, task)), strict=True):
            rewards[i] = reward
    return rewards


def verify_all(task: Task, pairs: Sequence[tuple[Problem, str]]) -> list[float]:
    """Rewards of (problem, response) pairs; all at once where the task has a `verify_all` (worker processes)."""
    if hasattr(task, "verify_all"):
        return task.verify_all([problem for problem, _ in pairs], [response for _, response in pairs])
    return [task.verify(problem, response) for problem, response in pairs]


def informative(sample: Callable[[int], list[Group]], *, count: int, rounds: int) -> tuple[list[Group], list[Group]]:
    """Dynamic sampling: samples until `count` groups have rewards that differ (DAPO, arXiv:2503.14476, section 3.2).

    A group whose attempts are all right or all wrong has no advantage and teaches nothing. As in verl, groups are added
    up over rounds and the surplus of the last round is cut off.

    Args:
      sample: number of the round -> groups.
      count: of groups that are wanted.
      rounds: at most this many.

    Returns:
      (the first `count` groups whose rewards differ, all groups sampled).

    Raises:
      InputError: `rounds` rounds did not give enough of them.
    """
    kept: list[Group] = []
    sampled: list[Group] = []
    for number in range(rounds):
        new = sample(number)
        sampled += new
        kept += [g for g in new if np.ptp(g.rewards) > 0]
        if len(kept) >= count:
            return kept[:count], sampled
    raise InputError(
        f"dynamic sampling: {len(sampled)} prompts in {rounds} rounds gave {len(kept)} of the {count} groups whose "
        "rewards differ: raise filter_rounds or rollout.samples, or end here, where most problems are always or never "
        "solved"
    )


def to_rollout(
    groups: Sequence[Group],
    *,
    length: int,
    pad_id: int,
    penalty: Callable[[np.ndarray], np.ndarray] | None = None,
    rewards: Sequence[Sequence[float]] | None = None,
    turns: int = 0,
) -> Rollout:
    """Groups as arrays of T = `length` columns; `penalty` of the lengths of responses is added to their rewards.

    `rewards`, like the groups' own, take their place in the rollout (methods/diversity/darling.py); the groups keep
    theirs. With `turns` every group's responses are followed by so many rows of `Group.turns`, the last of them empty
    where it has fewer; they stay in the group, so that a mini-batch has a group's rows next to each other.
    """
    # of each row: number of its group, prompt, completion, reward, turn, whether it is refined
    rows: list[tuple[int, Sequence[int], Completion, float, int, bool]] = []
    rewards = [g.rewards for g in groups] if rewards is None else rewards
    for n, (g, own) in enumerate(zip(groups, rewards, strict=True)):
        for i, (c, r) in enumerate(zip(g.completions, own, strict=True)):
            rows.append((n, g.prompt, c, r, 0, i in g.refined))
        if turns:
            rows += [(n, t.prompt, t.completion, t.reward, t.number, False) for t in g.turns]
            rows += [(n, (), NOTHING, 0.0, -1, False)] * (turns - len(g.turns))
    group, prompts, completions, reward, turn, refined = zip(*rows)
    rollout = pack(prompts, [[c] for c in completions], [[r] for r in reward], length=length, pad_id=pad_id)
    turn = np.array(turn, np.int32) if turns else None
    rollout = rollout.replace(group=np.array(group, np.int32), turn=turn, refined=np.array(refined, bool))
    if penalty is None:
        return rollout
    shaped = rollout.reward + penalty(rollout.mask.sum(axis=1))
    return rollout.replace(reward=np.asarray(shaped, np.float32))


NOTHING = Completion(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32), False)


def summary(task: Task, groups: Sequence[Group]) -> dict[str, float]:
    """What is logged of a rollout besides entropy and learning.

    `rollout/zero_variance` is the share of groups whose rewards are all equal: they teach nothing to a group advantage.
    `rollout/answer_entropy` is the third of the three entropies: over the final answers of a group (`answer_entropy`).
    """
    rewards = np.array([g.rewards for g in groups])
    completions = [c for g in groups for c in g.completions]
    return {
        "rollout/reward": rewards.mean(),
        "rollout/zero_variance": np.mean(np.ptp(rewards, axis=1) == 0),
        "rollout/solved": np.mean(rewards.max(axis=1) > 0),
        "rollout/answer_entropy": np.mean([answer_entropy(task.final_answer(t) for t in g.texts) for g in groups]),
        "rollout/length": np.mean([len(c.tokens) for c in completions]),
        "rollout/truncated": np.mean([c.truncated for c in completions]),
    }


def answer_entropy(answers: Iterable[str]) -> float:
    """-sum_a (n_a / n) ln(n_a / n) over the distinct answers of one group, in nats; "" (no answer) counts as one."""
    counts = np.array(list(collections.Counter(answers).values()), float)
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum()) + 0.0  # no -0.0


def texts(groups: Sequence[Group], count: int) -> list[dict]:
    """A few texts as rows of samples.jsonl: the first response of each of the first groups, and the first dialogues."""
    rows = [
        {
            "prompt": g.problem.prompt,
            "response": g.texts[0],
            "reward": g.rewards[0],
            "entropy": float(g.completions[0].entropy.mean()),
        }
        for g in groups[:count]
    ]
    return rows + [row for g in groups for row in g.dialogues][:count]
