"""Writes verl-0.9.1.jsonl and verl-0.9.1.out with verl's own loggers: FileLogger, and LocalLogger on the console.

    pip download --no-deps verl==0.9.1 && unzip verl-0.9.1-py3-none-any.whl -d verl && pip install orjson numpy
    python make_verl.py verl .

torch, which the logger's module imports and these two do not use, is replaced by an empty module; verl itself and what
it needs are several gigabytes, so the files are kept here, and tests/logs/test_formats.py reads them.
"""

import contextlib
import importlib.util
import os
import pathlib
import re
import sys
import types

import numpy as np


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(package, out):
    sys.modules["torch"] = types.ModuleType("torch")
    loggers = load(package / "verl/utils/logger/aggregate_logger.py", "aggregate_logger")
    # the class alone, as its module imports all of verl
    source = (package / "verl/utils/tracking.py").read_text()
    source = re.search(r"^class FileLogger:.*?(?=^class |\Z)", source, re.S | re.M).group(0)
    names = {"os": os, "orjson": __import__("orjson")}
    exec(source, names)
    os.environ["VERL_FILE_LOGGER_PATH"] = str(out / "verl-0.9.1.jsonl")
    console = (out / "verl-0.9.1.out").open("w")
    with contextlib.redirect_stdout(console):
        to_file, to_console = names["FileLogger"]("project", "run"), loggers.LocalLogger()
        for step in range(60):
            H = np.float32(0.6 * 0.95**step)
            metrics = {"actor/entropy": H, "critic/score/mean": 0.5 + step / 200}
            metrics |= {"prompt_length/clip_ratio": np.int64(3), "actor/lr": 1e-6, "actor/pg_loss": np.float64(-0.01)}
            if step % 5 == 0:
                metrics["val-core/openai/gsm8k/acc/mean@8"] = np.float64(0.9 - 0.3 * np.exp(np.float64(H)))
            to_file.log(metrics, step)
            to_console.log(metrics, step)
        to_file.finish()
    console.close()


main(*map(pathlib.Path, sys.argv[1:]))
