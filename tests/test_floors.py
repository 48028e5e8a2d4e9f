"""Who may import whom: a total order, so that no cycle can be written, and two floors without jax."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Every module of entropy_rl; each imports only what stands above it. A new one gets its line here.
ORDER = """
    errors files streams tables masking parallel.sharding models.attention models.layers models.tiles models.tiled_head
    models.tiled_change models.logprobs
    entropy.theory entropy.record entropy.controllers
    advantages
    losses.selection losses.ratio losses.kl losses.trust_region losses.policy losses.weights losses.importance
    losses.value losses.preference losses.distillation
    laws.curves laws.fit laws.bootstrap laws.paired laws.compare laws.pool laws.diagnose laws.scaling
    laws.decay laws.forecast laws.backtest laws.analyse laws.together laws.report laws.html
    logs.archive logs.trainers logs.columns logs.tables logs.records logs.lengths logs.wire logs.csv_formats
    logs.text_formats
    logs.consoles logs.tracker_formats logs.formats logs.points logs.read logs.alarms
    logs.live logs.trl_hook logs.verl_hook
    parallel.processes parallel.preemption answers.workers data.tokenizers data.chat_template
    data.subwords data.packing data.gguf
    answers.last_number answers.latex answers.extract answers.units answers.algebra answers.expressions
    answers.numbers answers.values answers.exact
    answers.symbolic answers.grade answers.trees answers.countdown
    models.rope models.products models.experts models.config models.transformer models.presets models.rope_config
    models.families models.tensor_names models.tensor_files models.hf models.gguf
    models.lora models.peft models.steering models.scoring
    data.problem data.splits data.gym data.order data.drawn data.rows data.dumps data.records data.examples data.frozen
    tasks.base tasks.countdown tasks.jsonl tasks.parquet tasks.gsm8k tasks.tfds tasks.reasoning_gym tasks.grid
    data.prompts
    methods.critique.sentences methods.critique.chat methods.critique.oracle methods.critique.flaws
    methods.critique.arithmetic methods.critique.language methods.critique.countdown_words tasks.countdown_words
    tasks.mixture
    methods.critique.dataset methods.critique.lessons
    sampling.warp sampling.decode sampling.engine
    training.rollouts training.objectives training.optimizer training.learner training.state
    training.checksums training.stored training.checkpoints training.alarms trackers metrics training.collect
    training.change training.step training.loop evaluate figures
    methods.diversity.predicates methods.diversity.darling
    methods.critique.critics methods.critique.refine methods.critique.distil methods.critique.api
    methods.critique.self_train methods.critique.test_time
    methods.rlp.worked methods.rlp.documents methods.rlp.thoughts
    methods.confidence.cot_decoding methods.confidence.self_feedback methods.confidence.calibration
    methods.elicit.activations methods.elicit.sae
    methods.budget.dilution methods.budget.budget
""".split()

# Floors that know strings and numpy only; what is on one imports nothing of entropy_rl that is not on it.
TEXT = ("errors", "files", "answers.", "tasks.", "data.", "methods.rlp.worked", "methods.rlp.documents") + tuple(
    f"methods.critique.{name}"
    for name in "sentences chat oracle flaws arithmetic language countdown_words dataset lessons".split()
)
LAW = ("errors", "files", "tables", "laws.", "logs.")
ARRAYS = {"jax", "jaxlib", "flax", "optax", "orbax", "tensorflow", "torch"}
NOWHERE = {"ml_collections", "absl.flags", "absl.app", "experiments", "configs", "torch", "transformers", "tensorflow"}


def module_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(p): p for p in (ROOT / "entropy_rl").rglob("*.py")}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def imports(text):
    """Full names of all that a module's text imports, anywhere in it: `a.b` for `import a.b` and `from a import b`."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: give the whole name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(names):
    """The modules of entropy_rl among full names; `entropy_rl.errors.InputError` is of `errors`."""
    found = set()
    for name in names:
        if name.split(".")[0] == "entropy_rl":
            module = name if name in MODULES else name.rpartition(".")[0]
            assert module in MODULES, f"{name} is nowhere"
            found.add(module.removeprefix("entropy_rl").removeprefix("."))
    return found


def within(name, prefixes):
    """Whether a dotted name is one of the prefixes, or below one (`laws.fit` is below `laws.` and `laws`)."""
    return any((name + ".").startswith(p.removesuffix(".") + ".") for p in prefixes)


IMPORTS = {name: imports(path.read_text()) for name, path in MODULES.items()}


def test_every_module_has_its_place():
    assert {f"entropy_rl.{name}" for name in ORDER} == MODULES.keys() - PACKAGES
    assert len(ORDER) == len(set(ORDER))


def test_a_module_imports_only_what_stands_above_it():
    """Mutation: `from entropy_rl.training.learner import TrainState` in objectives.py, even inside a function."""
    below = {name: ours(IMPORTS[f"entropy_rl.{name}"]) - set(ORDER[:i]) for i, name in enumerate(ORDER)}
    assert {name: found for name, found in below.items() if found} == {}


def test_packages_import_nothing():
    """`entropy_rl.training` loads what it exports when it is asked for."""
    allowed = {"entropy_rl.training": {"importlib"}}
    assert {name: IMPORTS[name] for name in PACKAGES if IMPORTS[name] - allowed.get(name, set())} == {}


@pytest.mark.parametrize("floor", [TEXT, LAW], ids=["text", "law"])
def test_the_floors_stand_without_arrays(floor):
    """Mutation: `import jax` in laws/fit.py, or `from entropy_rl import masking` in tasks/countdown.py."""
    members = [name for name in ORDER if within(name, floor)]
    assert len(members) > 2
    for name in members:
        names = IMPORTS[f"entropy_rl.{name}"]
        assert not {n for n in names if within(n, ARRAYS)}, name
        assert all(within(n, floor) for n in ours(names)), name


def test_the_floors_do_not_load_jax():
    """At run time too: nothing that they import does it for them."""
    members = [f"entropy_rl.{name}" for name in ORDER if within(name, TEXT + LAW)]
    code = f"import sys, {', '.join(members)}; print(sorted(set({sorted(ARRAYS)}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_flags_scripts_and_other_frameworks_stay_outside():
    found = {name: {n for n in IMPORTS[name] if within(n, NOWHERE)} for name in MODULES}
    assert {name: names for name, names in found.items() if names} == {}


def test_losses_see_arrays_only():
    for name in ORDER:
        if within(name, ("losses",)):
            of_ours = ours(IMPORTS[f"entropy_rl.{name}"])
            assert all(within(n, ("errors", "masking", "models.logprobs", "entropy", "losses")) for n in of_ours), name


def test_imports_are_found_wherever_they_stand():
    text = "import a.b\nif x:\n    from c import d, e\ndef f():\n    from g.h import i as j\n"
    assert imports(text) == {"a.b", "c.d", "c.e", "g.h.i"}
    with pytest.raises(AssertionError, match="line 1"):
        imports("from . import x")
    assert within("absl.flags.FLAGS", NOWHERE) and not within("absl.logging", NOWHERE)
    assert within("laws.fit", ("laws.",)) and not within("lawson", ("laws.",)) and within("jax.numpy", ARRAYS)
