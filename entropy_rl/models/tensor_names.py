"""Where our parameters lie in a Hugging Face folder: the names of its tensors, fused layers, stacked experts."""

from __future__ import annotations

from typing import NamedTuple

from entropy_rl.models.config import Config
from entropy_rl.models.families import FAMILIES


class Place(NamedTuple):
    """Where a parameter lies in the file.

    A linear layer of torch holds [out, in] where our kernel is [in, out].
    """

    name: str  # of the tensor; of kernels [experts, in, out] that are a tensor each, with {} for the expert's number
    transposed: bool  # the last two axes
    first: int | None = None  # row of the tensor where the parameter begins; None: it is all of it

    def tensors(self, experts: int) -> list[str]:
        """Names of all tensors that the parameter lies in."""
        return [self.name.format(e) for e in range(experts)] if self.each else [self.name]

    @property
    def each(self) -> bool:
        """Whether an expert's kernel is a tensor of its own."""
        return "{}" in self.name


def tensor_names(m: Config, architecture: str | None = None, *, stacked: bool = False) -> dict[str, Place]:
    """Path of each of our parameters -> where it lies in a folder of this architecture (None: one that fuses none).

    With `stacked` the experts of a layer are two tensors, gate_up_proj [experts, 2 f, d] and down_proj [experts, d, f],
    as transformers 5 holds them; else three an expert, as it and transformers 4 write them.
    """
    names = {"embed/embedding": Place("model.embed_tokens.weight", False)}
    names["final_norm/scale"] = Place("model.norm.weight", False)
    fused = architecture is not None and FAMILIES[architecture].fused
    norms = {
        "before": {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"},
        "after": {"attention_post_norm": "post_attention_layernorm", "mlp_post_norm": "post_feedforward_layernorm"},
        "both": {
            "attention_norm": "input_layernorm",
            "attention_post_norm": "post_attention_layernorm",
            "mlp_norm": "pre_feedforward_layernorm",
            "mlp_post_norm": "post_feedforward_layernorm",
        },
    }[m.norms]
    rows = {"q": m.heads * m.head_dim, "k": m.kv_heads * m.head_dim, "v": m.kv_heads * m.head_dim, "gate": m.d_ff}
    for i in range(m.layers):
        ours, theirs = f"layer_{i}", f"model.layers.{i}"
        for mine, name in norms.items():
            names[f"{ours}/{mine}/scale"] = Place(f"{theirs}.{name}.weight", False)
        if m.has_experts(i):
            at = f"{theirs}.mlp.experts"
            names[f"{ours}/experts/router/kernel"] = Place(f"{theirs}.mlp.gate.weight", True)
            for x in ("gate", "up", "down"):
                names[f"{ours}/experts/{x}/kernel"] = Place(f"{at}.{{}}.{x}_proj.weight", True)
            if stacked:
                names[f"{ours}/experts/gate/kernel"] = Place(f"{at}.gate_up_proj", True, 0)
                names[f"{ours}/experts/up/kernel"] = Place(f"{at}.gate_up_proj", True, m.d_expert)
                names[f"{ours}/experts/down/kernel"] = Place(f"{at}.down_proj", True)
        for part, folder, biases in (
            ("q k v", "self_attn", m.qkv_bias),
            ("o", "self_attn", m.o_bias),
            ("gate up", "mlp", m.mlp_bias),
            ("down", "mlp", m.mlp_bias),
        ):
            if folder == "mlp" and m.has_experts(i):
                continue
            first = 0
            for x in part.split():
                path = f"{ours}/attention/{x}" if folder == "self_attn" else f"{ours}/{x}"
                if fused and " " in part:
                    both = {"q k v": "qkv_proj", "gate up": "gate_up_proj"}[part]
                    names[f"{path}/kernel"] = Place(f"{theirs}.{folder}.{both}.weight", True, first)
                    first += rows.get(x, 0)
                    continue
                names[f"{path}/kernel"] = Place(f"{theirs}.{folder}.{x}_proj.weight", True)
                if biases:
                    names[f"{path}/bias"] = Place(f"{theirs}.{folder}.{x}_proj.bias", False)
        if m.qk_norm:
            for x in "qk":
                names[f"{ours}/attention/{x}_norm/scale"] = Place(f"{theirs}.self_attn.{x}_norm.weight", False)
    if not m.tied:
        names["lm_head/kernel"] = Place("lm_head.weight", True)
    return names
