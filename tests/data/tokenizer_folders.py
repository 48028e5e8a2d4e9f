"""Folders of a tokenizer, made on the spot by `tokenizers`."""

import json

from experiments import tiny_model

TEXTS = ["Is 3 + 4 = 7? Yes, it is: 3 + 4 = 7.\n", "user\nassistant\nsystem\n"] * 5
TINY = tiny_model.train(TEXTS, 400)


def write(folder, name, value):
    (folder / name).write_text(value if isinstance(value, str) else json.dumps(value))


def about(folder, **changes):
    """tokenizer_config.json with other values; None: without the key."""
    path = folder / "tokenizer_config.json"
    value = json.loads(path.read_text()) | changes
    write(folder, path.name, {k: v for k, v in value.items() if v is not None})
    return folder
