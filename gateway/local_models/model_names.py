"""Models by name: where the hub's own tools keep what they have downloaded. Nothing is fetched here. A leaf."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def folder_of(name: str, env: Mapping[str, str] = os.environ) -> Path:
    """The folder ``name``, or the newest download of the model that the hub calls so (``owner/model``). What is
    neither is told as the folder it would be, which is not there."""
    folder = Path(name)
    if folder.is_dir() or not _NAME.fullmatch(name):
        return folder
    kept = _cache(env) / f"models--{name.replace('/', '--')}"
    try:
        revision = (kept / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return folder
    return kept / "snapshots" / Path(revision).name


def _cache(env: Mapping[str, str]) -> Path:
    """Where the hub's tools look (huggingface_hub's documentation, "Environment variables")."""
    if place := env.get("HF_HUB_CACHE"):
        return Path(place)
    home = env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(home) / "hub"
