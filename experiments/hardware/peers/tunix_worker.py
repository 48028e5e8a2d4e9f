"""tunix' GRPOLearner on a CPU with its own sampler, a step for each line: `python tunix_worker.py SPEC.json`, in an
environment of its own."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import sys

import pace

pace.begin()

os.environ["JAX_PLATFORMS"] = "cpu"
logging.disable(logging.WARNING)

import jax
import numpy as np
import optax
import transformers
from flax import nnx
from tunix.models.qwen3 import model as qwen3
from tunix.models.qwen3 import params as qwen3_params
from tunix.rl import common, rl_cluster
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rollout import base_rollout


def parity(prompts, completions, **kwargs):
    """1 for an odd sum of tokens, whose words are t0, t1, ..."""
    words = [[w for w in c.split() if w[1:].isdigit()] for c in completions]
    return [float(sum(int(w[1:]) for w in ws) % 2) for ws in words]


def main(spec: dict) -> None:
    """Trains until there are no more lines."""
    with open(os.path.join(spec["folder"], "config.json")) as file:
        raw = json.load(file)
    rope = raw.get("rope_parameters") or {}
    config = qwen3.ModelConfig(
        num_layers=raw["num_hidden_layers"],
        vocab_size=raw["vocab_size"],
        embed_dim=raw["hidden_size"],
        hidden_dim=raw["intermediate_size"],
        num_heads=raw["num_attention_heads"],
        head_dim=raw["head_dim"],
        num_kv_heads=raw["num_key_value_heads"],
        rope_theta=int(raw.get("rope_theta") or rope["rope_theta"]),
        norm_eps=raw["rms_norm_eps"],
        use_tied_embedding=raw["tie_word_embeddings"],
    )
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"))
    with mesh:
        model = qwen3_params.create_model_from_safe_tensors(spec["folder"], config, mesh, dtype=jax.numpy.float32)
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(spec["folder"])
    prompts = [tokenizer.decode(p) for p in spec["prompts"]]
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(spec["learning_rate"], b1=0.9, b2=0.95, weight_decay=0.0)
    )
    length = len(spec["prompts"][0])
    cluster = rl_cluster.RLCluster(
        actor=model,
        reference=None,
        tokenizer=tokenizer,
        cluster_config=rl_cluster.ClusterConfig(
            role_to_mesh={role: mesh for role in (rl_cluster.Role.ACTOR, rl_cluster.Role.ROLLOUT)},
            rollout_engine="vanilla",
            training_config=rl_cluster.RLTrainingConfig(
                actor_optimizer=optimizer,
                eval_every_n_steps=1_000_000,
                max_steps=spec["most_steps"],
                mini_batch_size=len(prompts),
                train_micro_batch_size=len(prompts) // spec["parts"],
            ),
            rollout_config=base_rollout.RolloutConfig(
                max_tokens_to_generate=spec["new"],
                max_prompt_length=length,
                kv_cache_size=2 * length + spec["new"] + 8,  # it pads prompts to powers of two, and one more
                temperature=1.0,
                top_p=1.0,
                eos_tokens=[spec["unused_token"]],
            ),
        ),
    )
    learner = GRPOLearner(
        rl_cluster=cluster,
        reward_fns=parity,
        algo_config=GRPOConfig(num_generations=spec["samples"], num_iterations=1, beta=0.0, epsilon=0.2),
    )
    versions = {name: importlib.metadata.version(name) for name in ("google-tunix", "jax", "flax")}
    size = sum(x.size for x in jax.tree.leaves(model))
    score = logp(model, np.array(spec["prompts"]), tokenizer)
    pace.answer({"ready": versions, "parameters": int(size), "logp": score})
    batches = ({"prompts": np.array(prompts)} for _ in range(spec["most_steps"]))
    learner.train(pace.paced(batches))


def logp(model: qwen3.Qwen3, prompts: np.ndarray, tokenizer) -> float:
    """Mean log-probability of the prompts' tokens after their first: whether this is the model that the others have."""
    scores = common.compute_per_token_logps(
        *nnx.split(model),
        prompt_tokens=jax.numpy.asarray(prompts[:, :1]),
        completion_tokens=jax.numpy.asarray(prompts[:, 1:]),
        pad_id=tokenizer.pad_token_id,
        eos_id=tokenizer.eos_token_id,
    )
    return float(scores.mean())


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        main(json.load(file))
