"""/v1/responses/compact: a long conversation as its user's messages and one item that stands for all the rest.

The model that the client names writes the summary, as a call like any other: limited, guarded, priced, recorded, never
captured. The item is sealed for the project: the client sends it back as it got it, and the model reads it as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway import errors
from gateway.api.ingress import Rendering, encode
from gateway.client_data.client_state import ClientStates
from gateway.context import Exchange, Principal
from gateway.protocol.assemble import answer_text
from gateway.protocol.chat import Usage
from gateway.protocol.responses.answer import usage_shown
from gateway.protocol.responses.items import chat_messages, with_ids
from gateway.protocol.responses.request import ResponsesRequest

KIND = "compaction"
_ORDER = (
    "You shorten a conversation so that it can go on without its beginning. Write down everything that the assistant "
    "will need: what is asked for, what was decided and found out, what tools were called with what result, "
    "names, numbers, addresses and code word by word, and what is still to be done. Do not answer the "
    "conversation and add nothing. What the user said is kept elsewhere as it is: do not repeat it."
)
_BEFORE = "[What was said and done before, in short]"


def opened(
    states: ClientStates, project: str, items: Sequence[dict[str, Any]], name: str
) -> list[dict[str, Any]]:
    """The items, each compaction as the text it stands for. Raises BadRequest for one that is not this project's."""
    found = []
    for at, item in enumerate(items):
        if item.get("type") != KIND:
            found.append(item)
            continue
        text = states.unsealed(project, str(item.get("encrypted_content")))
        if text is None:
            raise errors.BadRequest(
                "This compaction was not made here for this project, or it was changed. Send it as it was returned.",
                param=f"{name}[{at}].encrypted_content",
                code="invalid_encrypted_content",
            )
        found.append({"type": "message", "role": "user", "content": f"{_BEFORE}\n{text}"})
    return found


def compact_body(
    data: Mapping[str, Any],
    request: ResponsesRequest,
    earlier: Sequence[dict[str, Any]],
    items: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The chat request that asks for the summary. The conversation is written out as text: whichever provider answers
    needs to know none of its tools. Raises BadRequest for a conversation without anything in it."""
    if request.stream or request.background:
        raise errors.BadRequest(
            "A compaction is answered whole. Leave 'stream' and 'background' out.",
            param="stream" if request.stream else "background",
            code="unsupported_parameter",
        )
    turns = chat_messages(request.instructions, earlier, items)
    if not any(turn["role"] != "system" for turn in turns):
        raise errors.BadRequest(
            "Missing required parameter: 'input'.", param="input", code="missing_required_parameter"
        )
    said = "\n\n".join(_written(turn) for turn in turns)
    messages = [{"role": "system", "content": _ORDER}, {"role": "user", "content": said}]
    kept = (
        "user",
        "safety_identifier",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "metadata",
    )
    passed = {name: data[name] for name in kept if data.get(name) is not None}
    return {"model": request.model, "messages": messages, "store": False, **passed}


def _written(turn: Mapping[str, Any]) -> str:
    """One turn as text, under the name of whoever's it is."""
    content = turn.get("content")
    parts = [content] if isinstance(content, str) else [_part(one) for one in content or ()]
    for call in turn.get("tool_calls") or ():
        called = call.get("function") or call.get("custom") or {}
        parts.append(f"calls {called.get('name')} with {called.get('arguments', called.get('input'))}")
    return f"{str(turn.get('role')).upper()}: " + "\n".join(part for part in parts if part)


def _part(part: Mapping[str, Any]) -> str:
    kind = str(part.get("type"))
    return str(part.get("text") or part.get("refusal") or "") if kind in ("text", "refusal") else f"[{kind}]"


class CompactRendering(Rendering):
    """``items`` is the whole conversation, as the client knows it."""

    def __init__(
        self,
        body: dict[str, Any],
        principal: Principal,
        states: ClientStates,
        items: Sequence[dict[str, Any]],
    ) -> None:
        super().__init__(body)
        self.principal, self._states, self._items = principal, states, items

    async def whole(self, exchange: Exchange, data: dict[str, Any]) -> bytes:
        summary = answer_text(data)
        if not summary.strip():
            raise errors.UpstreamFailed("The model wrote no summary.", code="empty_compaction")
        seed = exchange.call_id.removeprefix("resp_")
        users = [
            one
            for one in self._items
            if one.get("type", "message") == "message" and one.get("role") == "user"
        ]
        assert self.principal is not None
        sealed = self._states.sealed(self.principal.project, summary)
        item = {"id": f"cmp_{seed}", "type": KIND, "encrypted_content": sealed}
        return encode({
            "id": exchange.call_id, "object": "response.compaction", "created_at": int(exchange.received_at),
            "output": [*with_ids(users, seed), item], "usage": usage_shown(exchange.usage or Usage()),
        })  # fmt: skip
