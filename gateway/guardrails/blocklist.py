"""Phrases that must not pass in either direction."""

from __future__ import annotations

from msgspec import Struct


class Blocklist(Struct, frozen=True, tag="blocklist", tag_field="type", forbid_unknown_fields=True):
    """``phrases`` are compared without regard to case or spacing."""

    phrases: list[str]
