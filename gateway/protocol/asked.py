"""What a student reads of a conversation: the last user's text, then what was called since and what came of it.

::

    where is my order A-7?

    -> [{"name":"track","arguments":{"order_id":"A-7"}}]
    <- {"status":"shipped","eta":"2024-05-03"}

Results stand in the order of their calls, whatever order they were sent in; ids are left out, because they differ
from call to call. Words that were said beside calls stand before them.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.protocol.called import calls_in, calls_text
from gateway.protocol.chat import Message, last_user_text, text_of

_CALLED, _GAVE = "-> ", "<- "


def asked_of(messages: Sequence[Message]) -> str:
    """The text that stands for a request; "" when there is no user's turn."""
    asked = last_user_text(messages)
    since = _since(messages)
    return f"{asked}\n\n{since}" if since else asked


def rounds_in(text: str) -> int:
    """How often somebody called in what :func:`asked_of` wrote."""
    return text.count(f"\n{_CALLED}")


def _since(messages: Sequence[Message]) -> str:
    last = next((at for at in range(len(messages) - 1, -1, -1) if messages[at].role == "user"), len(messages))
    return "\n".join(line for turn in _ordered(messages[last + 1 :]) if (line := _line(turn)))


def _ordered(turns: Sequence[Message]) -> list[Message]:
    """The turns with each round's results in the order of its calls."""
    place: dict[str, int] = {}
    keyed: list[tuple[int, int, Message]] = []
    rounds = 0
    for turn in turns:
        if turn.role != "tool":
            rounds += 1
            place = {str(call.get("id")): at for at, call in enumerate(turn.tool_calls or (), 1)}
        keyed.append(
            (rounds, place.get(turn.tool_call_id or "", len(place) + 1) if turn.role == "tool" else 0, turn)
        )
    return [turn for _, _, turn in sorted(keyed, key=lambda one: one[:2])]


def _line(turn: Message) -> str:
    """A call, a result, or words; "" for a turn that an author wrote."""
    if turn.role == "tool":
        return _GAVE + text_of(turn)
    if turn.role != "assistant":
        return ""
    calls = calls_in(turn.tool_calls)
    return "\n".join(part for part in (text_of(turn), _CALLED + calls_text(calls) if calls else "") if part)
