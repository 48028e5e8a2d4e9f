"""What several files of tests start from."""

import pytest


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The folder of a tiny model with a tokenizer."""
    from experiments import tiny_model
    from experiments.lib import launch

    config = launch.load_config("configs/tiny_model.py:smoke")
    return tiny_model.run(config, str(tmp_path_factory.mktemp("tiny")))
