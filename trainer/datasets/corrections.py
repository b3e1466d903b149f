"""Clients' corrections in the place of the teacher's answers, in all parts of a dataset alike.

A student is compared with its labels in training, calibration and screening, so they must mean the same everywhere:
what the teacher said, or, where a client said that it was wrong, what the client says. The calls that calibrate stay a
random part of the traffic, so what is certified holds for labels that are made like this. The teacher's answer is kept
beside the label.

What keeps it from being a lever: the first correction by the key that made the call counts, each caller may make at
most a tenth of them, and of fewer than 20 callers, where nobody can say who corrects too much, none teaches. Whatever
does not count as a label still takes a point away: the student is not right there, whatever it says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, structs

from gateway.protocol.called import ToolCall, calls_text, read_calls
from gateway.storage.values import TrainingCall
from gateway.storage.writing.truths import same
from gateway.texts.masking import mask
from trainer.datasets.curate import KEY_SHARE, Step, enough
from trainer.datasets.forms import PLACEHOLDER
from trainer.datasets.quality import SOURCES
from trainer.features.values import NoLayout, Style, parsed, style_of

_COMPACT = Style(",", ":", ascii_only=False)
_CHARACTERS_A_TOKEN, _LOOKED_AT = 4, 500


class Corrected(Struct, frozen=True):
    """``teacher``: by call, what the teacher said where a client's correction is the answer now. ``disputed``: calls
    whose correction is no label."""

    calls: Sequence[TrainingCall]
    teacher: Mapping[str, str]
    disputed: frozenset[str]
    step: Step


def corrected(calls: Sequence[TrainingCall], said: Mapping[str, str]) -> Corrected:
    """``said``: the correction of each call that has one. Calls from elsewhere have none. Pure."""
    own = [call for call in calls if not call.source]
    differ = {call.call_id: call for call in own if call.call_id in said and not same(said[call.call_id], call.answer)}
    callers = len({(call.key_id, call.end_user) for call in own})
    most = max(1, int(KEY_SHARE * len(differ))) if enough(callers, KEY_SHARE) else 0
    manner = _manner([call.answer for call in own]) if differ else None
    made: Counter[tuple[str, str]] = Counter()
    labels: dict[str, str] = {}
    for call in differ.values():
        label = _label(said[call.call_id], call.answer, manner) if manner else ""
        caller = call.key_id, call.end_user
        if label and made[caller] < most:
            made[caller] += 1
            labels[call.call_id] = label
    return Corrected(
        [_taught(call, labels[call.call_id]) if call.call_id in labels else call for call in calls],
        {name: differ[name].answer for name in labels},
        frozenset(differ.keys() - labels.keys()),
        Step(
            "corrections", len(calls), len(calls), found=len(labels), in_force=most > 0,
            noted={"that only count against an answer": len(differ) - len(labels)},
        ),
    )  # fmt: skip


def _taught(call: TrainingCall, label: str) -> TrainingCall:
    """The call with its correction as the answer: what was said, thought and voted of the teacher's is not of this."""
    return structs.replace(
        call, answer=label, logprobs=(), label="", label_share=1.0, votes=0, judged=False,
        metadata={name: value for name, value in call.metadata.items() if name not in SOURCES},
        completion_tokens=max(1, -(-len(label) // _CHARACTERS_A_TOKEN)),
    )  # fmt: skip


# ---------------------------------------------------------------- as the teacher would have written it
class _Manner(Struct, frozen=True):
    """How a teacher writes: its answers by what they say, and the styles of its JSON and of its calls' arguments."""

    spelling: Mapping[str, str]
    json: Style
    arguments: Style


def _manner(answers: Sequence[str]) -> _Manner:
    frequent = [answer for answer, _ in Counter(answers).most_common()]
    few = frequent[:_LOOKED_AT]
    arguments = [call.arguments for answer in few for call in read_calls(answer) or ()]
    plain = [answer for answer in few if isinstance(parsed(answer), dict | list)]
    return _Manner({_folded(answer): answer for answer in reversed(frequent)}, _style(plain), _style(arguments))


def _label(said: str, answer: str, manner: _Manner) -> str:
    """A correction as the teacher writes: an answer it gave elsewhere, or JSON or calls in its style; "" for one that
    hides personal data, whose placeholders are counted otherwise than those of the question."""
    if PLACEHOLDER.search(mask(said).text):
        return ""
    known = manner.spelling.get(_folded(said))
    if known is not None:
        return known
    value = parsed(said)
    if read_calls(answer) is not None or read_calls(said) is not None:
        return _calls(value, answer, manner.arguments) or said
    if isinstance(value, dict | list):
        return manner.json.write(_ordered(value, parsed(answer)))
    return said


def _folded(text: str) -> str:
    value = parsed(text)
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    return " ".join(text.casefold().split()).rstrip(".,;:!?… ")


def _calls(value: Any, answer: str, style: Style) -> str:
    """The calls that a list of names with arguments means; "" for anything else."""
    like = read_calls(answer) or []
    found: list[ToolCall] = []
    for one in value if isinstance(value, list) else ():
        name, arguments = (one.get("name"), one.get("arguments")) if isinstance(one, dict) else (None, None)
        if isinstance(arguments, str):
            arguments = parsed(arguments)
        if not isinstance(name, str) or not isinstance(arguments, dict):
            return ""
        before = next((parsed(call.arguments) for call in like if call.name == name), None)
        found.append(ToolCall(name, style.write(_ordered(arguments, before))))
    return calls_text(found) if found else ""


def _style(written: Sequence[str]) -> Style:
    """The teacher's own; compact where it has none, or was never seen to write."""
    try:
        if not written:
            return _COMPACT
        return style_of(written, [parsed(text) for text in written])
    except NoLayout:
        return _COMPACT


def _ordered(value: Any, like: Any) -> Any:
    """An object's members in the order of another one that has them, new ones behind."""
    if not isinstance(value, dict) or not isinstance(like, dict):
        return value
    names = [*(name for name in like if name in value), *(name for name in value if name not in like)]
    return {name: _ordered(value[name], like.get(name)) for name in names}
