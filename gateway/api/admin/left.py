"""What the trainer leaves in a file of the data directory for people to see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec


def left_in(path: Path) -> dict[str, Any]:
    """The JSON object in a file; {} while there is none, or none that can be read. Blocking."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return {}
