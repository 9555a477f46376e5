"""Hugging Face's transformers, where they are installed and work."""

import pytest


def transformers_for_torch():
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'skclamp[test]'")
    if not transformers.is_torch_available():
        pytest.skip("this transformers needs a newer torch")
    return transformers
