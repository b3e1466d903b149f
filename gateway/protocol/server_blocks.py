"""What a provider's own tools did for an answer: searches, pages that were read, code that was run. Pure.

Chat has no place for it. It travels as ``server_blocks`` of a message, in Claude's words: ``server_tool_use``, and a
block with what came of it. Each says where it stands: after ``start_index`` characters of the text (``parts`` of it,
where its client wrote it in parts) and ``thoughts`` signed thoughts. In a stream each is told once, with the ``index``
by which OpenAI's clients add lists up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAME = "server_blocks"
OURS = "srvtoolu_understudy_"
"""Begins the ids of what others than Claude did: Claude itself is never sent those."""
_USES = ("server_tool_use", "mcp_tool_use")


def is_server_block(block: Mapping[str, Any]) -> bool:
    """Whether a block of Anthropic's is the provider's own work: neither a client's, nor said or thought."""
    kind = str(block.get("type"))
    if kind in (*_USES, "container_upload", "mcp_tool_listing"):
        return True
    return kind.endswith("_tool_result") and kind != "tool_result"


def is_use(block: Mapping[str, Any]) -> bool:
    """Whether a block is what was asked of a tool, and not what came of it."""
    return block.get("type") in _USES


def placed(block: Mapping[str, Any], start_index: int, thoughts: int) -> dict[str, Any]:
    return {"start_index": start_index, "thoughts": thoughts, "block": dict(block)}


def of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A message's, junk left out: clients send them back."""
    value = message.get(NAME)
    found = value if isinstance(value, list) else []
    return [one for one in found if isinstance(one, dict) and isinstance(one.get("block"), dict)]


def of_claude(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that Claude wants back; it refuses what it did not do."""
    return [one for one in of(message) if is_server_block(one["block"]) and not is_ours(one["block"])]


def is_ours(block: Mapping[str, Any]) -> bool:
    """Whether another than Claude did it."""
    return str(block.get("id") or block.get("tool_use_id") or "").startswith(OURS)


def result_of(use: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """What came of a use, if it is there."""
    return next((one for one in blocks if not is_use(one) and one.get("tool_use_id") == use.get("id")), None)


def place(entry: Mapping[str, Any], name: str) -> int:
    """A number of what stands before a block; 0 for junk."""
    value = entry.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def woven(
    own: Sequence[Mapping[str, Any]], thoughts: Sequence[dict[str, Any]], said: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Claude's blocks of a turn in the order in which they were: what it thought, said (blocks of text, cut where need
    be) and did."""
    found: list[dict[str, Any]] = []
    left, told, at, number = list(said), 0, 0, 0
    for entry in own:
        before = max(told, min(len(thoughts), place(entry, "thoughts")))
        found += thoughts[told:before]
        while left and (number < place(entry, "parts") if "parts" in entry else at < place(entry, "start_index")):
            block = left.pop(0)
            room = len(block["text"]) if "parts" in entry else place(entry, "start_index") - at
            head, rest = block["text"][:room], block["text"][room:]
            found.append({**block, "text": head})
            left[:0] = [{**block, "text": rest}] if rest else []
            at, number = at + len(head), number + 1
        found.append(dict(entry["block"]))
        told = before
    return [one for one in [*found, *thoughts[told:], *left] if one.get("type") != "text" or one["text"].strip()]


# ------------------------------------------------------------------------------------------------ made by the gateway
def search(id_: str, queries: Sequence[str], pages: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A search of a provider that tells it in other words. ``pages``: (address, title)."""
    use = {"type": "server_tool_use", "id": OURS + id_, "name": "web_search", "input": {"query": "; ".join(queries)}}
    found = [
        {"type": "web_search_result", "url": url, "title": title, "encrypted_content": "", "page_age": None}
        for url, title in pages
    ]
    return [use, {"type": "web_search_tool_result", "tool_use_id": OURS + id_, "content": found}]


def files_searched(
    id_: str, queries: Sequence[str], found: Sequence[Mapping[str, Any]] | None, *, failed: bool
) -> list[dict[str, Any]]:
    """A search of vector stores that lie at the provider. ``found``: None where it was not asked to tell."""
    use = {"type": "server_tool_use", "id": OURS + id_, "name": "file_search", "input": {"queries": list(queries)}}
    told = {"type": "file_search_tool_result_error"} if failed else list(found) if found is not None else None
    return [use, {"type": "file_search_tool_result", "tool_use_id": OURS + id_, "content": told}]


def code(id_: str, text: str) -> dict[str, Any]:
    """Code that a provider ran."""
    return {"type": "server_tool_use", "id": OURS + id_, "name": "code_execution", "input": {"code": text}}


def code_result(id_: str, output: str, *, failed: bool) -> dict[str, Any]:
    """What the code said."""
    told = {"stdout": "" if failed else output, "stderr": output if failed else "", "return_code": int(failed)}
    return {"type": "code_execution_tool_result", "tool_use_id": OURS + id_,
            "content": {"type": "code_execution_result", "content": [], **told}}  # fmt: skip


def queries_of(block: Mapping[str, Any]) -> list[str]:
    """What was searched for; [] where nothing was."""
    if not is_use(block) or block.get("name") != "web_search":
        return []
    given = block.get("input")
    query = given.get("query") if isinstance(given, dict) else None
    return [query] if isinstance(query, str) and query else []
