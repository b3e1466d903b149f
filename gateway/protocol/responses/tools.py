"""What a provider's own tools did, as items of the Responses API: searches of the web and of files, code that was run.
Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from gateway.protocol import mcp
from gateway.protocol.file_search import CALL as FILES
from gateway.protocol.file_search import NAME as FILE_SEARCH
from gateway.protocol.file_search import RESULTS
from gateway.protocol.server_blocks import OURS, is_use

_SEARCH, _CODE, _PICTURE = "web_search_call", "code_interpreter_call", "image_generation_call"
_FORMS = ("png", "webp", "jpeg")
_FAILED = ("_error", "error")


class Doing(Struct):
    """One use of a tool: its item, and at which place of the output that stands."""

    item: dict[str, Any]
    at: int = -1

    @property
    def alone(self) -> bool:
        """Whether nothing comes of it: it is told at once."""
        return self.item["type"] in (mcp.LISTING, mcp.REQUEST)


def begun(block: dict[str, Any], item_id: str) -> Doing | None:
    """The item of a use; None for a tool that no client of this API can ask for."""
    if (called := mcp.begun(block, item_id)) is not None:
        return Doing(called)
    given = block["input"] if isinstance(block.get("input"), dict) else {}
    name = str(block.get("name"))
    if not is_use(block):
        return None
    if name in ("web_search", "web_fetch"):
        action = {"type": "search", "query": str(given.get("query") or "")}
        if name == "web_fetch":
            action = {"type": "open_page", "url": str(given.get("url") or "")}
        return Doing({"id": f"ws_{item_id}", "type": _SEARCH, "status": "in_progress", "action": action})
    if name == FILE_SEARCH:
        queries = given["queries"] if isinstance(given.get("queries"), list) else []
        id_ = str(block.get("id")).removeprefix(OURS) or f"fs_{item_id}"
        return Doing({"id": id_, "type": FILES, "status": "in_progress", "queries": queries, "results": None})
    if name.endswith("code_execution"):
        code = next((given[one] for one in ("code", "command") if isinstance(given.get(one), str)), None)
        told = code if code is not None else msgspec.json.encode(given).decode()
        item = {"id": f"ci_{item_id}", "type": _CODE, "status": "in_progress", "code": told}
        return Doing(item | {"container_id": "", "outputs": None})
    return None


def picture(image: dict[str, Any], item_id: str) -> tuple[Doing, str] | None:
    """(item, base64) of a picture in an answer; None for one that is only an address."""
    where = image.get("image_url")
    url = str(where.get("url") if isinstance(where, dict) else where)
    kind, mark, data = url.partition(";base64,")
    if not mark:
        return None
    item = {"id": f"ig_{item_id}", "type": _PICTURE, "status": "in_progress", "result": None}
    form = kind.removeprefix("data:image/")
    return Doing(item | ({"output_format": form} if form in _FORMS else {})), data


def beginning(doing: Doing) -> Iterator[tuple[str, dict[str, Any]]]:
    """(event, its own fields) behind the item's beginning."""
    kind = f"response.{doing.item['type']}"
    if doing.item["type"] == mcp.REQUEST:
        return
    yield f"{kind}.in_progress", {}
    if doing.item["type"] == _PICTURE:
        yield f"{kind}.generating", {}
        yield f"{kind}.completed", {}
        return
    if doing.item["type"] == mcp.LISTING:
        yield f"{kind}.{'failed' if doing.item['error'] else 'completed'}", {}
        return
    if doing.item["type"] == mcp.CALL:
        yield f"{kind}_arguments.delta", {"delta": doing.item["arguments"]}
        yield f"{kind}_arguments.done", {"arguments": doing.item["arguments"]}
        return
    if doing.item["type"] in (_SEARCH, FILES):
        yield f"{kind}.searching", {}
        return
    yield f"{kind}_code.delta", {"delta": doing.item["code"]}
    yield f"{kind}_code.done", {"code": doing.item["code"]}
    yield f"{kind}.interpreting", {}


def ended(doing: Doing, result: dict[str, Any], include: tuple[str, ...]) -> str:
    """Puts what came of a use into its item. → the event before the item's end; "" where it failed."""
    content, item = result.get("content"), doing.item
    if item["type"] == mcp.CALL:
        mcp.ended(item, result)
        return f"response.{mcp.CALL}.{item['status']}"
    failed = isinstance(content, dict) and str(content.get("type")).endswith(_FAILED)
    item["status"] = "failed" if failed else "completed"
    if item["type"] == _SEARCH and "web_search_call.action.sources" in include and isinstance(content, list):
        urls = [one["url"] for one in content if isinstance(one, dict) and isinstance(one.get("url"), str)]
        item["action"] = {**item["action"], "sources": [{"type": "url", "url": url} for url in urls]}
    elif item["type"] == FILES and RESULTS in include and isinstance(content, list):
        item["results"] = content
    elif item["type"] == _CODE and "code_interpreter_call.outputs" in include and isinstance(content, dict):
        said = "".join(str(content.get(name) or "") for name in ("stdout", "stderr"))
        item["outputs"] = [{"type": "logs", "logs": said}] if said else []
    return "" if failed else f"response.{item['type']}.completed"
