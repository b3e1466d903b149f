"""Groups untagged calls by the shape of their prompts. Pure.

Two calls belong together when their model, tools, response schema and kinds of turns are equal and the texts their
authors wrote (system and developer turns) are the same template: nearly the same words, or most of them in order.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from difflib import SequenceMatcher

import msgspec
from msgspec import Struct

from gateway.protocol.chat import ChatRequest, text_of
from gateway.protocol.fingerprint import fingerprint
from gateway.storage.reading.discovery import UntaggedCall
from trainer.datasets.curate import silent
from trainer.datasets.near import clusters

HOLE = "{…}"
_AUTHORS = frozenset({"system", "developer"})
_COMMON_WORDS, _COMMON_SHARE = 8, 0.6
"""Of two author texts that are one template with different things filled in."""
_MOST_TEMPLATES = 200
_ALIGNED = 12
_WORD = re.compile(r"[^\W\d_]{3,}")
_EMPTY = """
you are your the and for with that this from into their they will one any only please must should always never not
helpful assistant given following text message user answer reply respond response return output write customer every
each exactly about when what which who its our can may all use using
"""
_EMPTY_WORDS = frozenset(_EMPTY.split())


class Shaped(Struct, frozen=True):
    call: UntaggedCall
    frame: str
    """Everything about the shape but the author's text, as a hash."""
    author: str
    fingerprint: str
    """Of the request as the gateway saw it, before masking."""


class Group(Struct, frozen=True):
    """Calls of one prompt template in one project, oldest first. ``template``: the author's text, ``HOLE`` where it
    differs from call to call. ``prefix``: how every author text begins."""

    name: str
    project: str
    model: str
    template: str
    prefix: str
    tools: tuple[str, ...]
    json: bool
    calls: tuple[Shaped, ...]

    def fingerprints(self) -> Counter[str]:
        return Counter(shaped.fingerprint for shaped in self.calls)


def groups_of(calls: Sequence[UntaggedCall]) -> list[Group]:
    """The groups, largest first. A call whose request is not a chat request any more is left out."""
    frames: dict[tuple[str, str, str], list[Shaped]] = defaultdict(list)
    for call in calls:
        if (shaped := _shaped(call)) is not None:
            frames[call.project, call.model, shaped.frame].append(shaped)
    found: list[list[Shaped]] = []
    for members in frames.values():
        found += _same_template(members)
    taken: Counter[tuple[str, str]] = Counter()
    groups = []
    for members in sorted(found, key=lambda members: (-len(members), members[0].call.created_at)):
        group = _group(members)
        taken[group.project, group.name] += 1
        if taken[group.project, group.name] > 1:  # stable: by what it looks like, not by its rank
            mark = hashlib.sha256((members[0].frame + group.template).encode()).hexdigest()[:4]
            group = msgspec.structs.replace(group, name=f"{group.name}-{mark}")
        groups.append(group)
    return groups


def _shaped(call: UntaggedCall) -> Shaped | None:
    try:
        request = msgspec.convert(call.request, ChatRequest)
    except msgspec.ValidationError:
        return None
    author = "\n".join(text_of(message) for message in request.messages if message.role in _AUTHORS)
    bare = [message for message in request.messages if message.role not in _AUTHORS]
    frame = fingerprint(msgspec.structs.replace(request, messages=bare))
    return Shaped(call, frame, author, call.fingerprint or fingerprint(request))


def _same_template(members: list[Shaped]) -> list[list[Shaped]]:
    """Near-identical texts first, by machine; then those that share most of their words in the same order."""
    texts = sorted({shaped.author for shaped in members})
    near: dict[int, list[str]] = defaultdict(list)
    for text, cluster in zip(texts, clusters(texts, silent), strict=True):
        near[int(cluster)].append(text)
    templates: list[list[str]] = []
    for alike in sorted(near.values(), key=lambda alike: (-len(alike), alike[0])):
        home = next((one for one in templates[:_MOST_TEMPLATES] if _akin(one[0], alike[0])), None)
        if home is None:
            templates.append(alike)
        else:
            home.extend(alike)
    number = {text: place for place, texts in enumerate(templates) for text in texts}
    parts: dict[int, list[Shaped]] = defaultdict(list)
    for shaped in members:
        parts[number[shaped.author]].append(shaped)
    return list(parts.values())


def _akin(text: str, other: str) -> bool:
    words, others = text.split(), other.split()
    blocks = SequenceMatcher(None, words, others, autojunk=False).get_matching_blocks()
    common = sum(block.size for block in blocks)
    return common >= _COMMON_WORDS and 2 * common >= _COMMON_SHARE * (len(words) + len(others))


def _group(members: list[Shaped]) -> Group:
    first = members[0].call
    texts = list(dict.fromkeys(shaped.author for shaped in members))
    template = _template(texts[:_ALIGNED])
    prefix = _beginning(texts).partition("[")[0]  # a masked value is not what the gateway will see
    form = first.request.get("response_format")
    as_json = isinstance(form, dict) and str(form.get("type", "")).startswith("json")
    tools = tuple(sorted(_tool_names(first.request)))
    return Group(
        name=_name(template, tools, as_json), project=first.project, model=first.model, template=template,
        prefix=prefix, tools=tools, json=as_json, calls=tuple(members),
    )  # fmt: skip


def _beginning(texts: Sequence[str]) -> str:
    """The characters that all texts begin with: those of the first and the last in order."""
    first, last = min(texts), max(texts)
    same = next(
        (place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other),
        len(first),
    )
    return first[:same]


def _tool_names(request: dict[str, object]) -> list[str]:
    tools = request.get("tools")
    found = (
        [tool.get("function") for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    )
    return [str(function.get("name", "")) for function in found if isinstance(function, dict)]


def _template(texts: Sequence[str]) -> str:
    """What all texts have in common, word by word, with one hole for whatever stands between."""
    common: list[str] = texts[0].split()
    for text in texts[1:]:
        words, kept = text.split(), list[str]()
        end = other_end = 0
        for one, other, size in SequenceMatcher(None, common, words, autojunk=False).get_matching_blocks():
            if one > end or other > other_end:
                kept.append(HOLE)
            kept += common[one : one + size]
            end, other_end = one + size, other + size
        common = [
            word for place, word in enumerate(kept) if word != HOLE or kept[place - 1 : place] != [HOLE]
        ]
    return " ".join(common)


def _name(template: str, tools: Sequence[str], as_json: bool) -> str:
    """Up to three telling words of the template, in their order: the same template always has the same name."""
    words = dict.fromkeys(word for word in _WORD.findall(template.casefold()) if word not in _EMPTY_WORDS)
    told = [word.encode("ascii", "ignore").decode() for word in list(words)[:3]]
    told = [word for word in told if word] or [tools[0] if tools else "json" if as_json else "chat"]
    return re.sub(r"[^A-Za-z0-9._-]", "", "-".join(told))[:48].strip("-._") or "chat"
