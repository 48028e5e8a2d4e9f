import pytest

from experiments import tiny_model
from tests.data.tokenizer_folders import TINY


@pytest.fixture
def folder(tmp_path):
    """A tokenizer like Qwen's: two tokens end a response, and a text begins with nothing."""
    tiny_model.write_tokenizer(tmp_path, TINY)
    return tmp_path
