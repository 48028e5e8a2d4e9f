"""README and docs: their commands are ones that run, their links lead somewhere, every logged key is explained."""

from __future__ import annotations

import ast
import configparser
import functools
import importlib.util
import pathlib
import re
import shlex

import pytest
from ml_collections import ConfigDict

from docs import recipes
from experiments.lib import launch

ROOT = pathlib.Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "AGENTS.md", "CONTRIBUTING.md")] + [*(ROOT / "docs").glob("**/*.md")]
)
PAGES = [page for page in PAGES if "_build" not in page.parts]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
OURS = ("experiments", "entropy_rl", "docs", "tests")  # packages whose commands are checked


def code(text: str) -> list[str]:
    """Fenced and indented blocks, and inline code, of a page; lines that a backslash continues are joined."""
    text = re.sub(r"\\\n\s*", " ", text)
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.S | re.M)
    rest = re.sub(r"^```[^\n]*\n.*?^```", "", text, flags=re.S | re.M)
    blocks += ["\n".join(m.splitlines()) for m in re.findall(r"(?:^    [^\n]*\n?)+", rest, re.M)]
    inline = re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"^    [^\n]*", "", rest, flags=re.M))
    return [expanded(block) for block in blocks] + [" ".join(span.split()) for span in inline]


def expanded(block: str) -> str:
    """A block in which variables that it sets (S=value) stand by their values."""
    for name, value in re.findall(r"^\s*([A-Z]+)=(\S+)$", block, re.M):
        block = block.replace(f"${name}", value)
    return block


def commands(page: pathlib.Path) -> list[tuple[str, list[str]]]:
    """(module, arguments) of every `python -m module arguments` of a page."""
    found = []
    for block in code(page.read_text()):
        for line in block.splitlines():
            for module, rest in re.findall(r"(?:python3?|\$P)\s+-m +([\w.<>]+)((?: +[^\n]*)?)", line):
                rest = re.split(r"\s#|&&|;|\||\s2?>", rest)[0]
                found.append((module, words(rest)))
    return found


def words(rest: str) -> list[str]:
    """Arguments of a command; the quote that ends one around the whole command is left out."""
    try:
        return shlex.split(rest)
    except ValueError:
        return shlex.split(rest.rstrip(" \"'"))


@functools.cache
def keys(spec: str) -> frozenset[str]:
    """Dotted keys of a config, those of its parts included."""
    return frozenset(recipes.flat(launch.load_config(spec))) | frozenset(_parts(launch.load_config(spec)))


def _parts(config: ConfigDict, prefix: str = "") -> set[str]:
    return {f"{prefix}{k}" for k in config if isinstance(config[k], ConfigDict)} | {
        x for k in config if isinstance(config[k], ConfigDict) for x in _parts(config[k], f"{prefix}{k}.")
    }


@functools.cache
def all_keys() -> frozenset[str]:
    """Keys of all configs, with those variants that have keys of their own."""
    files = (ROOT / "configs").rglob("*.py")
    specs = [p for p in files if p.stem not in ("common", "base") and "sweeps" not in p.parts]
    variants = [f"{ROOT}/configs/rl/hf.py:task={t}" for t in ("gsm8k", "jsonl", "parquet", "tfds", "countdown", "sums")]
    variants += [f"{ROOT}/configs/bench.py:{v}" for v in ("growth", "sampler", "head", "accelerator")]
    return frozenset().union(*(keys(spec) for spec in [*map(str, specs), *variants]))


def problem(module: str, args: list[str]) -> str | None:
    """What is wrong with a command of ours; None: nothing."""
    if "<" in module or module.split(".")[0] not in OURS:
        return None
    if importlib.util.find_spec(module) is None:
        return f"there is no module {module}"
    there, source = None, pathlib.Path(importlib.util.find_spec(module).origin).read_text()
    source += (ROOT / "experiments/lib/launch.py").read_text()
    for arg in args:
        name, _, value = arg.partition("=")
        if arg == "..." or not arg.startswith("--"):
            continue
        if name == "--config":
            if value in ("...", ""):
                continue
            if "sweeps/" in value:  # a sweep has runs in place of a config
                if not (ROOT / value.split(":")[0]).is_file():
                    return f"there is no file {value}"
                there = frozenset()
            else:
                try:
                    there = keys(str(ROOT / value))
                except Exception as e:
                    return f"{value}: {e}"
        elif name.startswith("--config."):
            if there is not None and name.removeprefix("--config.") not in there:
                return f"the config has no {name}"
        elif f'"{name[2:]}"' not in source:
            return f"there is no flag {name}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_are_ones_that_run(page):
    """Module, config with its argument, and flags exist. A misspelt key, file or module in a page is found here."""
    wrong = [f"{module} {' '.join(args)}: {why}" for module, args in commands(page) if (why := problem(module, args))]
    assert not wrong, "\n".join(wrong)


def test_wrong_commands_are_found():
    assert "no module" in problem("experiments.train", [])
    config = "--config=configs/rl/grpo.py"
    assert "no file" in problem("experiments.sweep", ["--config=configs/sweeps/none.py"])
    assert "none.py" in problem("experiments.train_rl", ["--config=configs/rl/none.py"])
    assert "variant" in problem("experiments.train_rl", ["--config=configs/rl/grpo.py:none"])
    assert "--config.stepps" in problem("experiments.train_rl", [config, "--config.stepps=3"])
    assert "--workdirs" in problem("experiments.train_rl", [config, "--workdirs=out"])
    assert problem("experiments.train_rl", [config, "--config.loss.args.clip_low=0.1", "--workdir=out"]) is None


def test_there_are_commands():
    """The parser sees blocks, fences, continued lines and inline code."""
    text = "    python -m a.b --x=1 \\\n        --y=2\n\n```bash\n$P -m c --z\n```\n\nor `python -m d\n--w=3` here"
    page = type("Page", (), {"read_text": lambda self: text})()
    assert commands(page) == [("c", ["--z"]), ("a.b", ["--x=1", "--y=2"]), ("d", ["--w=3"])]
    assert sum(len(commands(p)) for p in PAGES) > 100


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_flags_targets_and_extras_exist(page):
    """What stands alone: `--config.key=...` is a key of some config, `make x` a target, '.[x]' an extra."""
    blocks = "\n".join(code(page.read_text()))
    flags = set(re.findall(r"--config\.([\w.]+)=", blocks))
    assert not {f for f in flags if f not in all_keys()} - {"key"}
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:^|\n)\s*make ([a-z][a-z0-9-]*)", blocks)) <= targets
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = {x for group in re.findall(r"-e '\.\[([\w,]+)\]'", blocks) for x in group.split(",")}
    assert extras <= set(setup["options.extras_require"])


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=[*NAMES, "CHANGELOG.md"])
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.S | re.M)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[[^\]]+\]: (\S+)$", text, re.M)
    local = [link.split("#")[0] for link in links if not link.startswith(("http", "#", "mailto"))]
    assert not [link for link in local if not (page.parent / link).exists()]


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()
    lines = text.splitlines()
    assert len(lines) <= 180
    assert len(text.split()) <= 1800
    assert not [(i, len(line)) for i, line in enumerate(lines, 1) if len(line) > 120]
    assert len((ROOT / "AGENTS.md").read_text().splitlines()) <= 60


def test_recipes_are_those_of_the_configs():
    assert recipes.PAGE.read_text() == recipes.page(), "it is stale: python -m docs.recipes"


FAMILIES = "branches critic critique data distillation diversity entropy held_out pairs policy preference refine"
FAMILIES += " moe rollout sft text time update"


@functools.cache
def logged() -> set[str]:
    """Keys that the source writes: strings and f-strings with the prefix of a family; what is put in is `*`."""
    found = set()
    folders = (ROOT / "entropy_rl", ROOT / "experiments")
    for path in sorted(p for folder in folders for p in folder.rglob("*.py")):
        if {"logs", "laws", "claims", "figures.py"} & set(path.relative_to(ROOT).parts):  # these read
            continue
        tree = ast.parse(path.read_text())
        inside = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
        for node in ast.walk(tree):
            text = ""
            if isinstance(node, ast.JoinedStr):
                text = "".join(v.value if isinstance(v, ast.Constant) else "*" for v in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                text = node.value
            if re.fullmatch(rf"({FAMILIES.replace(' ', '|')})/[a-z_*0-9/]+", text):
                found.add(text)
    tree = ast.parse((ROOT / "entropy_rl/evaluate.py").read_text())
    measure = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "measure")
    dicts = [n for n in ast.walk(measure) if isinstance(n, ast.Dict)]
    return found | {k.value for d in dicts for k in d.keys}


def explained() -> set[str]:
    """Keys of the page, `<...>` as `*`."""
    text = (ROOT / "docs/instruments.md").read_text()
    found = {re.sub(r"<[^>]+>", "*", key) for key in re.findall(r"`([^`\n]+)`", text)}
    return {key for key in found if not key.endswith(("/", "..."))}  # these are families


def matches(key: str, pattern: str) -> bool:
    """Whether the `*` of the one or the other can stand for what the other has there."""
    as_pattern = lambda p: re.escape(p).replace(r"\*", "[a-z_0-9.*]+")  # noqa: E731
    return bool(re.fullmatch(as_pattern(pattern), key) or re.fullmatch(as_pattern(key), pattern))


def test_every_logged_key_is_explained():
    """A key that is new in the source must be in docs/instruments.md."""
    there = explained()
    missing = {key for key in logged() if not any(matches(key, pattern) for pattern in there)}
    assert not missing


def test_every_explained_key_is_logged():
    """A key that the source no longer writes must go from docs/instruments.md; those of `critic/` are renamed ones."""
    families, keys_ = tuple(f"{name}/" for name in FAMILIES.split()), logged()
    gone = {key for key in explained() if key.startswith(families) and not any(matches(key, k) for k in keys_)}
    assert gone <= {"critic/loss", "critic/grad_norm", "critic/finite"}
