"""Tiny models, and the rule for tests that need torch: they skip visibly where the extra is not installed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
TRAIN = all(importlib.util.find_spec(name) for name in ("torch", "transformers", "peft"))


@pytest.fixture(scope="session")
def torch():
    """torch with one thread."""
    if not TRAIN:
        pytest.skip("the extra 'train' is not installed: pip install 'understudy[train]'")
    import torch

    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="session")
def base(torch, tmp_path_factory) -> Path:
    from trainer.training.blank import make

    return make(tmp_path_factory.mktemp("base") / "tiny")
