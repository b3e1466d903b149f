"""The Chromium of the tests of pages. Where it, or playwright, is missing they are left out; in CI they are not."""

from __future__ import annotations

import os
import shutil
from typing import Any

import pytest

try:
    from playwright import async_api, sync_api
except ImportError:  # pragma: no cover
    async_api = sync_api = None  # type: ignore[assignment]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = CHROMIUM is None or async_api is None
in_chromium = pytest.mark.skipif(
    MISSING and not os.environ.get("CI"), reason="the page's tests need playwright and a Chromium"
)


def launching(*more: str) -> dict[str, Any]:
    """What ``playwright.chromium.launch`` takes, with ``more`` flags."""
    assert not MISSING, "CI must have playwright and a Chromium"
    quiet = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    return {"executable_path": CHROMIUM, "args": [*quiet, *more]}


__all__ = ["async_api", "in_chromium", "launching", "sync_api"]
