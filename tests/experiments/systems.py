"""Every system that takes a Hugging Face folder, each with its command: script, config, and what is small about it.

tests/experiments/test_any_policy.py runs them on a folder and on adapters, tests/eight_devices/test_systems.py on a
mesh; docs/systems.md has the table.
"""

import importlib

import pytest
from flax.traverse_util import flatten_dict

from entropy_rl.methods.critique import chat, dataset
from experiments import tiny_model
from experiments.lib import launch

TASK = "chain_sum,max_terms=2,min_digits=2,max_digits=2"
CRITIQUES = {"lessons.path": "said"}
# name: (script, config, what it says after the colon besides smoke, path and task, changes)
SYSTEMS = {
    "make_critiques": ("make_critiques", "critique/make", "", {"filter.tries": 0}),
    "critique_scores": ("critique_scores", "critique/scores", "", {"critique.model": "folder"}),
    "lessons": ("train_sft", "sft/lessons", "", CRITIQUES | {"lessons.solve": 0.0}),
    "critique_model": ("train_sft", "sft/critique_model", "", CRITIQUES | {"lessons.solve": 0.0}),
    "cft": ("train_sft", "sft/cft", "", CRITIQUES | {"lessons.problem": "p"}),
    "self_train": (
        "self_train",
        "self_train",
        "",
        {"critique.source": "self", "refine.revisions": True, "original": 4},
    ),
    "test_time": ("test_time", "critique/test_time", "", {}),
    "rlsf": ("self_feedback", "rlsf", "", {"rounds": 1}),
    "reward_model": ("self_feedback", "rlsf", "reward_model,", {}),
    "rlp": ("rlp", "rlp", "", {}),
    "cpt": ("rlp", "rlp", "cpt,", {}),
    "elicit": ("elicit", "elicit", "", {"layers": (1,), "vector.steps": 1}),
    "dual": ("dual", "dual", "", {"eval.problems": 4}),
    "calibrate": ("calibrate", "calibrate", "", {}),
    "tokens": ("tokens", "tokens", "", {}),
}
TRAINERS = ("lessons", "critique_model", "cft", "self_train", "rlsf", "reward_model", "rlp", "cpt")


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What systems are given: the folder of a tiny model, a critique dataset in natural language, a text file."""
    root = tmp_path_factory.mktemp("given")
    config = launch.load_config(f"configs/tiny_model.py:smoke,task={TASK}")
    folder = str(tiny_model.run(config, str(root / "tiny")))
    steps = (chat.Step("12 + 34 = 47", False, "12 + 34 is 46."),)
    critique = chat.write(chat.ChatCritique(False, steps))
    rows = [dataset.Row("p", 0, "What is 12 + 34?", "12 + 34 = 47", critique, "12 + 34 = 46", "rg1")]
    dataset.write(root / "said", rows, about="a test", counts={})
    (root / "book.txt").write_text("".join(f"{i} + {i % 7} = {i + i % 7}\n" for i in range(2000)))
    return {"folder": folder, "said": str(root / "said"), "text": str(root / "book.txt")}


def run(name, given, workdir, mesh=None, **changes):
    """Runs a system on `given`; `mesh`: rows are cut in as many parts."""
    script, path, arg, small = SYSTEMS[name]
    of = f"text={given['text']}" if path == "rlp" else f"task={TASK}"
    config = launch.load_config(f"configs/{path}.py:smoke,{arg}path={given['folder']},{of}")
    changes = small | changes
    if mesh:
        sizes = {"batch": 8, "documents": 16, "rollout.prompts": 16, "eval.problems": 8, "rollout.slots": 8}
        sizes |= {"eval.last.problems": 8, "reward_model.batch": 8, "questions": 16}
        flat = flatten_dict(config.to_dict(), sep=".")
        changes |= {key: n for key, n in sizes.items() if key in flat}
        config.mesh.update(mesh)
    config.update_from_flattened_dict({k: given.get(v, v) if isinstance(v, str) else v for k, v in changes.items()})
    importlib.import_module(f"experiments.{script}").run(config, str(workdir))
    return config
