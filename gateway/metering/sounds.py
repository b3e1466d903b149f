"""How long an upload may sound, before anybody has heard it: what a price by the minute is reserved by."""

from __future__ import annotations

HEAD = 32
"""Bytes of a file that are looked at."""
_LEAST_PER_SECOND = 2_000
"""Bytes: 16 kbit/s, which recordings of speech seldom go below. MP3 at 128 kbit/s is an eighth as long as this says."""


def seconds_at_most(head: bytes, size: int) -> float:
    """``head``: the first :data:`HEAD` bytes of a file of ``size`` bytes. WAV and FLAC say how long they are. What they
    say is for a reservation alone: in the end a call costs what the provider counted."""
    if head[:4] == b"RIFF" and head[8:16] == b"WAVEfmt ":
        per_second = int.from_bytes(head[28:32], "little")
        return size / (per_second or _LEAST_PER_SECOND)
    if head[:4] == b"fLaC":
        told = int.from_bytes(head[18:26], "big")
        rate, samples = told >> 44, told & (1 << 36) - 1
        if rate and samples:
            return samples / rate
    return size / _LEAST_PER_SECOND
