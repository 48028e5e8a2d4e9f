"""A GGUF file (llama, qwen2 or qwen3) as a Hugging Face folder, to train from.

    python -m experiments.convert_gguf --config=configs/convert_gguf.py --config.gguf=MODEL.gguf --workdir=runs/mine

The folder is `workdir`/model: config.json, safetensors with the weights dequantised, tokenizer.json rebuilt,
tokenizer_config.json with the chat template, and generation_config.json; see entropy_rl/models/gguf.py.
"""

from __future__ import annotations

from pathlib import Path

from ml_collections import ConfigDict

from entropy_rl.errors import InputError
from entropy_rl.models import families, gguf
from experiments.convert_hf import FOLDER
from experiments.lib import checks, launch, workdirs


def run(config: ConfigDict, workdir: str) -> Path:
    """Writes the folder and gives its path.

    Raises:
      InputError: a file that is none or not supported, as gguf.convert says; a folder that is there already.
    """
    checks.positive(config, "shard_bytes")
    checks.one_of(config, "dtype", families.DTYPES)
    if config.gguf is None:
        raise InputError("config.gguf is missing: give the path of a GGUF file")
    if not Path(config.gguf).is_file():  # before there is a workdir
        raise InputError(f"config.gguf={config.gguf} is no file: give the path of a GGUF file")
    folder = workdirs.open_workdir(config, workdir) / FOLDER
    made = gguf.convert(config.gguf, folder, dtype=config.dtype, shard_bytes=config.shard_bytes)
    print(f"wrote {folder}: {made.layers} layers of width {made.d_model}, {made.vocab_size} tokens", flush=True)
    return folder


if __name__ == "__main__":
    launch.main(run)
