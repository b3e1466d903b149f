"""What stands in a request where no prose belongs: in names of fields, in the protocol's own words, and in what says
who is calling. None of it can be changed, so it is left or stopped. Pure but for the notes on the call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.context import Exchange
from gateway.guardrails import Place
from gateway.stages.guarding.request import Guards, judged, settle
from gateway.stages.guarding.texts import Said, place_in
from gateway.texts.masking import is_word_field, texts_of
from gateway.texts.media import is_media

_STOPS = ("block", "flag")


def odd_in(prose: Mapping[str, Any]) -> list[Said]:
    """Names of fields that are no identifiers, and the protocol's own words that are several, each once."""
    found: dict[Said, None] = {}
    for name, value in prose.items():
        place = place_in(name)
        if not name.isidentifier():
            found[place, name] = None
        for text in _odd(name, value):
            found[place, text] = None
    return list(found)


def _odd(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner, item in value.items():
            if not inner.isidentifier():
                yield inner
            if isinstance(item, dict | list) or (isinstance(item, str) and is_word_field(inner)):
                yield from _odd(inner, item)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict | list):
                yield from _odd(name, item)
    elif isinstance(value, str) and is_word_field(name) and len(value.split(None, 1)) > 1 and not is_media(value):
        yield value


def judge_labels(exchange: Exchange, guards: Guards, labels: Mapping[str, Any]) -> None:
    """What says who is calling goes out as it is, so what would be masked or rewritten in it stays. Raises BadRequest
    for what is blocked."""
    texts = [*texts_of(dict(labels)), *(text for _, text in odd_in(labels))] if labels else []
    place: Place = "input"
    for name, guard in guards.items() if texts else ():
        if guard.reads(place) and guard.reads_labels:
            said = [(place, text, judged(exchange, name, guard, text, "in")) for text in texts]
            settle(exchange, name, guard, [one for one in said if one[2].action in _STOPS], "in", {})
