"""What strangers wrote does not steer the terminal of who looks at it."""

from __future__ import annotations

import pytest

from gateway.commands import common
from gateway.protocol.visible import visible

STEERING = "\x1b]0;owned\x07\x1b[2Jsorted\r\x9b31m \u202egnp.exe\u2066"


def test_escape_sequences_are_spelt_and_lines_stay(capsys: pytest.CaptureFixture[str]) -> None:
    common.say(f"one\n\ttwo {STEERING}")
    common.fail(STEERING)
    told = capsys.readouterr()
    assert told.out == "one\n\ttwo \\x1b]0;owned\\x07\\x1b[2Jsorted\\r\\x9b31m \\u202egnp.exe\\u2066\n"
    assert not set(told.err) & set("\x1b\x07\r\x9b\u202e\u2066")
    assert visible("größe — 3 €\n日本語\u200d") == "größe — 3 €\n日本語\u200d"
