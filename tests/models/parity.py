"""Compares our models with transformers itself, on tiny random folders that it makes on the spot.

    make parity

Prints a table, family by check: the largest differences of logits, log-probabilities and entropies in float32 on short
rows and on a row past the original context, whether greedy continuations are the same, whether transformers loads what
we save with every tensor the same bit for bit, and the largest difference of logits where config.json is made from our
Config alone. tests/models/test_transformers.py asserts the same.

A second table compares what models/gguf.py makes of a GGUF file with transformers' own reading of the same file.
"""

import dataclasses
import pathlib
import sys
import tempfile

import jax
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from entropy_rl.data.subwords import FolderTokenizer
from entropy_rl.models import gguf, hf
from entropy_rl.sampling import warp
from entropy_rl.sampling.engine import generate, score
from tests.models import gguf_files
from tests.models import make_hf_fixtures as fixtures


@dataclasses.dataclass(frozen=True)
class Row:
    """A case: largest absolute differences, and what is the same."""

    case: str
    logits: float
    long_logits: float
    logp: float
    entropy: float
    greedy: bool
    round_trip: bool
    made: float

    def numbers(self) -> tuple[float, ...]:
        """All that are to be small."""
        return self.logits, self.long_logits, self.logp, self.entropy, self.made

    def cells(self) -> list[str]:
        """As a line of the table."""
        *numbers, made = (f"{x:.0e}" for x in self.numbers())
        words = ["same" if x else "OTHER" for x in (self.greedy, self.round_trip)]
        return [self.case, *numbers, *words, made]


HEADS = (
    *("folder", "logits, short", "logits, 200 tokens", "log-prob", "entropy", "greedy", "saved and loaded again"),
    "config.json by us: logits",
)


def compare(case: str, folder: pathlib.Path, seed: int = 100) -> Row:
    """Makes the case's folder in `folder`, with other weights than the fixtures', and compares."""
    fixtures.make(folder / "theirs", *fixtures.CASES[case], seed=seed)
    said = np.load(folder / "theirs" / "reference.npz")
    model, params = hf.load(folder / "theirs", param_dtype="float32")
    gaps, greedy = {}, True
    for rows in ("short", "long"):
        tokens = said[f"{rows}_tokens"]
        logits, _ = model.apply(params, tokens)
        logp, entropy = score(model, params, tokens)
        ours = {"logits": logits[:, -fixtures.LAST :], "logp": logp[:, 1:], "entropy": entropy[:, 1:]}
        gaps |= {f"{rows}_{k}": np.abs(np.asarray(x) - said[f"{rows}_{k}"]).max() for k, x in ours.items()}
        prompt, want = tokens[0][: len(tokens[0]) // 2].tolist(), said[f"{rows}_greedy"].tolist()
        [[got]] = generate(model, params, [prompt], jax.random.key(0), max_new=len(want), eos=-1, warp=warp.greedy)
        greedy &= got.tokens.tolist() == want
    return Row(
        case,
        gaps["short_logits"],
        gaps["long_logits"],
        max(gaps["short_logp"], gaps["long_logp"]),
        max(gaps["short_entropy"], gaps["long_entropy"]),
        greedy,
        round_trip(folder),
        of_made(folder, model, params, said),
    )


def of_made(folder: pathlib.Path, model, params, said) -> float:
    """Largest difference of logits, both kinds of rows, of what transformers loads where we had no folder to go by."""
    hf.save(folder / "made", model, params)
    theirs = AutoModelForCausalLM.from_pretrained(folder / "made", dtype=torch.float32, attn_implementation="eager")
    gaps = []
    for rows in ("short", "long"):
        with torch.no_grad():
            got = theirs.eval()(torch.tensor(said[f"{rows}_tokens"]).long()).logits[:, -fixtures.LAST :].numpy()
        gaps.append(np.abs(got - said[f"{rows}_logits"]).max())
    return float(max(gaps))


def round_trip(folder: pathlib.Path) -> bool:
    """Whether transformers finds in what we save, in the folder's own type, each of its tensors bit for bit."""
    model, params = hf.load(folder / "theirs")
    hf.save(folder / "ours", model, params, like=folder / "theirs")
    old, new = (AutoModelForCausalLM.from_pretrained(folder / x, dtype="auto").state_dict() for x in ("theirs", "ours"))
    same = (x.dtype == new[k].dtype and torch.equal(bits(x), bits(new[k])) for k, x in old.items())
    return old.keys() == new.keys() and all(same)


@dataclasses.dataclass(frozen=True)
class GgufRow:
    """A file: what is the same, and the largest difference of logits."""

    case: str
    weights: bool
    logits: float
    ids: int  # texts whose token ids are not those of the tokenizer that the file was made from
    theirs: int  # texts whose token ids transformers' reading has otherwise than we
    texts: int
    round_trip: bool

    def cells(self) -> list[str]:
        """As a line of the table."""
        words = ["same" if x else "OTHER" for x in (self.weights, self.round_trip)]
        counts = [f"{x} of {self.texts}" for x in (self.ids, self.theirs)]
        return [self.case, words[0], f"{self.logits:.0e}", *counts, words[1]]


GGUF_HEADS = (
    *("GGUF file", "weights", "logits", "other ids than the original's"),
    *("than transformers'", "saved and loaded again"),
)
# architecture, type of the matrices, pre-tokenizer
GGUF_CASES = (
    ("llama", "F32", "llama-bpe"),
    ("llama", "Q4_1", "smollm"),
    ("qwen2", "F16", "qwen2"),
    ("qwen3", "Q8_0", "qwen2"),
)


def compare_gguf(architecture: str, kind: str, pre: str, folder: pathlib.Path) -> GgufRow:
    """Makes a file in `folder`, and compares what we and transformers make of it.

    Token ids are held against the tokenizer that the file was made from: transformers 5.24 reads smollm without its
    single digits, and qwen2 without Unicode's form C.
    """
    original = gguf_files.original(pre)
    keys = {"tokenizer.ggml.bos_token_id": original.token_to_id(gguf_files.BEGIN)}
    shape = {"head_dim": 128} if architecture == "qwen3" else {}  # transformers takes it for granted
    path = gguf_files.tiny(folder, architecture, tokenizer=original, kind=kind, pre=pre, keys=keys, shape=shape)
    gguf.convert(path, folder / "ours")
    said = AutoModelForCausalLM.from_pretrained(folder, gguf_file=path.name, dtype=torch.float32).eval()
    ours = AutoModelForCausalLM.from_pretrained(folder / "ours", dtype="auto")
    old, new = said.state_dict(), ours.state_dict()
    weights = old.keys() == new.keys() and all(torch.equal(bits(x), bits(new[k])) for k, x in old.items())
    tokens = np.random.default_rng(0).integers(0, original.get_vocab_size(), (2, 40)).astype(np.int32)
    with torch.no_grad():
        want = said(torch.tensor(tokens).long()).logits.numpy()
    model, params = hf.load(folder / "ours")
    logits, _ = model.apply(params, tokens)
    theirs, mine = AutoTokenizer.from_pretrained(folder, gguf_file=path.name), FolderTokenizer(folder / "ours")
    texts = gguf_files.sentences()
    ids = [mine.encode(x) for x in texts]
    wrong = sum(original.encode(x, add_special_tokens=False).ids != i for x, i in zip(texts, ids))
    other = sum(theirs(x, add_special_tokens=False).input_ids != i for x, i in zip(texts, ids))
    hf.save(folder / "again", model, params, like=folder / "ours")
    again = AutoModelForCausalLM.from_pretrained(folder / "again", dtype="auto").state_dict()
    same = all(torch.equal(bits(x), bits(again[k])) for k, x in new.items())
    gap = float(np.abs(np.asarray(logits) - want).max())
    return GgufRow(f"{architecture}, {kind}, {pre}", weights, gap, wrong, other, len(texts), same)


def bits(x: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor."""
    return x.contiguous().view(torch.uint8)


def table(rows: list[Row] | list[GgufRow], heads: tuple[str, ...] = HEADS) -> str:
    """Markdown."""
    lines = [list(heads), ["---"] * len(heads), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    found = []
    for name in fixtures.CASES:
        with tempfile.TemporaryDirectory() as place:
            found.append(compare(name, pathlib.Path(place)))
    print(table(found))
    read = []
    for case in GGUF_CASES:
        with tempfile.TemporaryDirectory() as place:
            read.append(compare_gguf(*case, pathlib.Path(place)))
    print(table(read, GGUF_HEADS))
    right = [r.greedy and r.round_trip and max(r.numbers()) <= 1e-4 for r in found]
    right += [r.weights and r.round_trip and r.logits <= 1e-4 and r.ids == 0 for r in read]
    sys.exit(not all(right))
