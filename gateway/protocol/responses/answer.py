"""OpenAI's Responses API, the answer: the response object and its events in their order. Pure.

Every event carries ``sequence_number``, from 0 without gaps; one item is open at a time.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.errors import GatewayError
from gateway.protocol.blocks import Block, Blocks, Close, More, Open, Step, as_chunks, choice_at
from gateway.protocol.chat import Usage
from gateway.protocol.client_tools import ClientTool, call_item
from gateway.protocol.lists import dicts
from gateway.protocol.offered import SEARCH_CALL
from gateway.protocol.phases import begins, phase_of
from gateway.protocol.responses.asked import Asked
from gateway.protocol.responses.items import REDACTED
from gateway.protocol.responses.parts import asked_for, broken_off, likely, note_of, one_result, part_of
from gateway.protocol.responses.tools import Doing, beginning, begun, ended, picture

_encode = msgspec.json.encode
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
_FUNCTION_CALL = ("function_call", "arguments", "fc", "response.function_call_arguments")
_CUSTOM_CALL = ("custom_tool_call", "input", "ctc", "response.custom_tool_call_input")
"""Of a call: its item's type, the field of its text, how its id begins, its events."""
Event = dict[str, Any]


class ResponseWriter:
    """One response, from created to its end."""

    def __init__(self, asked: Asked) -> None:
        self._response = asked.shown()
        self._seed = asked.response_id.removeprefix("resp_")
        self._blocks = Blocks()
        self._sequence = 0
        self._items: list[dict[str, Any]] = []
        self._notes: dict[int, int] = {}
        self._call_ids: set[str] = set()
        self._message_open = self._begun = False
        self._phase: dict[str, Any] = {}
        self._doing: dict[str, Doing] = {}
        self._images: list[dict[str, Any]] = []
        self._origins = asked.origins
        self._include = tuple(asked.request.include or ())
        self._length = self._base = 0
        """Characters of the text by now, and of what stood before the message that is open."""

    def whole(self, completion: dict[str, Any], usage: Usage) -> dict[str, Any]:
        """The response that a chat completion is."""
        self._told_of_all(completion)
        for chunk in as_chunks(completion):
            self.chunk(chunk)
        self.finish(usage)
        return self._response

    def queued(self) -> list[Event]:
        """The first events of a response that is made later."""
        self._response["status"] = "queued"
        return [self._lifecycle("response.created"), self._lifecycle("response.queued")]

    def cancelled(self) -> list[Event]:
        """The end of a response whose client thought better of it; what was said stands in its output."""
        self._break_off("cancelled")
        return [self._lifecycle("response.cancelled")]

    def chunk(self, data: dict[str, Any]) -> list[Event]:
        events = self._begin()
        self._told_of_all(data)
        delta = (choice_at(data) or {}).get("delta")
        self._images += dicts(delta.get("images")) if isinstance(delta, dict) else []
        return events + [event for step in self._blocks.feed(data) for event in self._events(step)]

    def finish(self, usage: Usage) -> list[Event]:
        """The last events. :attr:`response` is complete afterwards."""
        events = self._begin()
        events += [event for step in self._blocks.finish() for event in self._events(step)]
        events += [event for doing in self._doing.values() for event in self._did(doing, "incomplete")]
        reason = _REASONS.get(self._blocks.finish_reason)
        status = "incomplete" if reason else "completed"
        events += self._close_message(status) + self._drawn()
        self._response |= {
            "status": status,
            "incomplete_details": {"reason": reason} if reason else None,
            "output": self._items,
            "usage": usage_shown(usage),
        }
        return [*events, self._lifecycle(f"response.{status}")]

    def failed(self, error: GatewayError) -> list[Event]:
        """The end of a response that broke off; what was said stands in its output."""
        events = self._begin()
        self._break_off("failed")
        self._response["error"] = {"code": error.code or "server_error", "message": error.message}
        return [*events, self._lifecycle("response.failed")]

    def _break_off(self, status: str) -> None:
        if self._items:
            self._items[-1] = broken_off(self._items[-1], *self._blocks.begun)
        for item in self._items:
            if item.get("status") == "in_progress":
                item["status"] = "incomplete"
        self._response |= {"status": status, "output": self._items}

    @property
    def response(self) -> dict[str, Any]:
        return self._response

    def _told_of_all(self, data: dict[str, Any]) -> None:
        """The tier that answered, which may be another than was asked for, and what moderation found: chat tells a list
        of results for input and for output, a response one each."""
        if isinstance(tier := data.get("service_tier"), str) and tier:
            self._response["service_tier"] = tier
        if isinstance(found := data.get("moderation"), dict):
            self._response["moderation"] = {name: one_result(side) for name, side in found.items()}

    # ------------------------------------------------------------------ events
    def _begin(self) -> list[Event]:
        """The two events before all others, once."""
        if self._begun:
            return []
        self._begun = True
        first = [] if self._response["status"] == "queued" else [self._lifecycle("response.created")]
        self._response["status"] = "in_progress"
        return [*first, self._lifecycle("response.in_progress")]

    def _event(self, kind: str, **fields: Any) -> Event:
        number = self._sequence
        self._sequence += 1
        return {"type": kind, "sequence_number": number, **fields}

    def _lifecycle(self, kind: str) -> Event:
        return self._event(kind, response=dict(self._response))

    def _events(self, step: Step) -> list[Event]:
        kind = step.block.kind
        if kind == "call":
            return self._call(step)
        if kind == "redacted":
            return self._redacted(step)
        if kind == "server":
            return self._server(step.block.done) if isinstance(step, Open) else []
        return self._reasoning(step) if kind == "reasoning" else self._part(step)

    def _new_id(self, prefix: str) -> str:
        """It says in which response the item stands, for whoever refers to it (``api/item_references.py``)."""
        return f"{prefix}_{self._seed}o{len(self._items):03d}"

    def _add(self, item: dict[str, Any]) -> Event:
        self._items.append(item)
        return self._event("response.output_item.added", output_index=len(self._items) - 1, item=dict(item))

    def _place(self) -> dict[str, Any]:
        at = len(self._items) - 1
        return {"item_id": self._items[at]["id"], "output_index": at}

    # ------------------------------------------------------------------ messages
    def _part(self, step: Step) -> list[Event]:
        """Text and refusal are two parts of one message."""
        kind = "refusal" if step.block.kind == "refusal" else "output_text"
        match step:
            case Open():
                self._length += len(step.block.left_out)
                return self._open_part(kind)
            case More():
                return self._grow_part(kind, step)
            case Close():
                return self._close_part(kind, step)

    def _open_part(self, kind: str) -> list[Event]:
        events: list[Event] = []
        if not self._message_open:
            self._message_open, self._base = True, self._length
            item = {
                "id": self._new_id("msg"), "type": "message", "status": "in_progress", "role": "assistant",
                "content": [], **self._phase,
            }  # fmt: skip
            self._phase = {}
            events.append(self._add(item))
        content = self._items[-1]["content"]
        part = part_of(kind, "")
        self._items[-1]["content"] = [*content, part]
        return [
            *events,
            self._event(
                "response.content_part.added", **self._place(), content_index=len(content), part=dict(part)
            ),
        ]

    def _grow_part(self, kind: str, step: More) -> list[Event]:
        place = {**self._place(), "content_index": len(self._items[-1]["content"]) - 1}
        if kind == "refusal":
            return [self._event("response.refusal.delta", **place, delta=step.text)]
        events: list[Event] = []
        self._length += len(step.text)
        if step.text:
            events.append(
                self._event(
                    "response.output_text.delta", **place, delta=step.text, logprobs=likely(step.logprobs)
                )
            )
        for note in step.annotations:
            count = self._notes.get(step.block.number, 0)
            self._notes[step.block.number] = count + 1
            events.append(
                self._event(
                    "response.output_text.annotation.added",
                    **place,
                    annotation_index=count,
                    annotation=note_of(note, self._base),
                )
            )
        return events

    def _close_part(self, kind: str, step: Close) -> list[Event]:
        item = self._items[-1]
        part = part_of(kind, step.text)
        if kind == "output_text":
            part |= {"annotations": [note_of(note, self._base) for note in step.annotations], "logprobs": step.logprobs}
        at = len(item["content"]) - 1
        item["content"] = [*item["content"][:at], part]
        place = {**self._place(), "content_index": at}
        if kind == "refusal":
            done = self._event("response.refusal.done", **place, refusal=step.text)
        else:
            done = self._event("response.output_text.done", **place, text=step.text, logprobs=likely(step.logprobs))
        return [done, self._event("response.content_part.done", **place, part=dict(part))]

    def _close_message(self, status: str = "completed") -> list[Event]:
        """A message ends when another item begins, or with the answer."""
        if not self._message_open:
            return []
        self._message_open = False
        return self._item_done(status)

    def _item_done(self, status: str | None = "completed") -> list[Event]:
        at = len(self._items) - 1
        if status is not None:
            self._items[at] = {**self._items[at], "status": status}
        return [self._event("response.output_item.done", output_index=at, item=dict(self._items[at]))]

    # ------------------------------------------------------------------ reasoning and calls
    def _reasoning(self, step: Step) -> list[Event]:
        name = "response.reasoning_summary_text"
        match step:
            case Open():
                events = self._close_message()
                item = {"id": self._new_id("rs"), "type": "reasoning", "summary": []}
                events.append(self._add(item))
                part = {"type": "summary_text", "text": ""}
                added = "response.reasoning_summary_part.added"
                return [*events, self._event(added, **self._place(), summary_index=0, part=part)]
            case More():
                if step.signature:
                    return []
                return [self._event(f"{name}.delta", **self._place(), summary_index=0, delta=step.text)]
            case Close():
                part = {"type": "summary_text", "text": step.text}
                self._items[-1]["summary"] = [part]
                if step.signature:
                    self._items[-1]["encrypted_content"] = step.signature
                place = {**self._place(), "summary_index": 0}
                return [
                    self._event(f"{name}.done", **place, text=step.text),
                    self._event("response.reasoning_summary_part.done", **place, part=part),
                    *self._item_done(None),
                ]

    def _server(self, block: dict[str, Any]) -> list[Event]:
        """What the provider's own tools did: an item begins with its use and ends with what came of it."""
        if begins(block):
            self._phase = phase_of(block)
            return self._close_message()
        doing = self._doing.pop(str(block.get("tool_use_id")), None)
        if doing is not None:
            last = ended(doing, block, self._include)
            events = [self._of_item(last, doing)] if last else []
            return events + self._did(doing, doing.item["status"])
        begin = begun(block, self._new_id("do").removeprefix("do_"))
        if begin is None:
            return []
        events = [*self._close_message(), self._add(begin.item)]
        begin.at = len(self._items) - 1
        events += [self._of_item(kind, begin, **fields) for kind, fields in beginning(begin)]
        if begin.alone:
            return [*events, *self._item_done(None)]
        self._doing[str(block.get("id"))] = begin
        return events

    def _drawn(self) -> list[Event]:
        """The pictures of an answer, which are told with its end."""
        events: list[Event] = []
        for image in self._images:
            found = picture(image, self._new_id("do").removeprefix("do_"))
            if found is not None:
                doing, result = found
                events.append(self._add(doing.item))
                doing.at = len(self._items) - 1
                events += [self._of_item(kind, doing, **fields) for kind, fields in beginning(doing)]
                doing.item["result"] = result
                events += self._did(doing, "completed")
        return events

    def _of_item(self, kind: str, doing: Doing, **fields: Any) -> Event:
        return self._event(kind, item_id=doing.item["id"], output_index=doing.at, **fields)

    def _did(self, doing: Doing, status: str) -> list[Event]:
        doing.item["status"] = status
        return [self._event("response.output_item.done", output_index=doing.at, item=dict(doing.item))]

    def _redacted(self, step: Step) -> list[Event]:
        """Thoughts that nobody may read: an item that holds what the provider wants back."""
        if isinstance(step, Open):
            secret = REDACTED + step.block.signature
            item = {"id": self._new_id("rs"), "type": "reasoning", "summary": [], "encrypted_content": secret}
            return [*self._close_message(), self._add(item)]
        return self._item_done(None) if isinstance(step, Close) else []

    def _call(self, step: Step) -> list[Event]:
        block = step.block
        origin = self._origins.get(block.name)
        if origin is not None and origin.searches:
            return self._tool_search(step)
        if origin is not None and origin.own is not None:
            return self._by_client(step, origin.own)
        kind, field, prefix, name = _CUSTOM_CALL if block.custom else _FUNCTION_CALL
        called = {"name": origin.name, "namespace": origin.namespace} if origin is not None else {"name": block.name}
        match step:
            case Open():
                events = self._close_message()
                item = {"id": self._new_id(prefix), "type": kind, "status": "in_progress",
                        "call_id": self._call_id(block), **called, field: ""}  # fmt: skip
                return [*events, self._add(item)]
            case More():
                return [self._event(f"{name}.delta", **self._place(), delta=step.text)]
            case Close():
                self._items[-1][field] = step.text
                named = {} if block.custom else {"name": called["name"]}
                done = self._event(f"{name}.done", **self._place(), **named, **{field: step.text})
                cut = self._blocks.finish_reason in _REASONS
                return [done, *self._item_done("incomplete" if cut else "completed")]

    def _tool_search(self, step: Step) -> list[Event]:
        """A search for tools that the client makes: its question is an object, and is told when it is whole."""
        match step:
            case Open():
                item = {"id": self._new_id("tsc"), "type": SEARCH_CALL, "status": "in_progress", "execution": "client",
                        "call_id": self._call_id(step.block), "arguments": {}}  # fmt: skip
                return [*self._close_message(), self._add(item)]
            case More():
                return []
            case Close():
                self._items[-1]["arguments"] = asked_for(step.text)
                cut = self._blocks.finish_reason in _REASONS
                return self._item_done("incomplete" if cut else "completed")

    def _by_client(self, step: Step, tool: ClientTool) -> list[Event]:
        """A call of a tool that OpenAI's models have learnt: what it asks for is an object, and is told when whole."""
        if isinstance(step, More):
            return []
        if isinstance(step, Open):
            return self._close_message()
        cut = self._blocks.finish_reason in _REASONS
        item = call_item(tool, self._call_id(step.block), step.text, self._new_id(tool.prefix), "in_progress")
        return [self._add(item), *self._commands(item), *self._item_done(tool.unfinished if cut else "completed")]

    def _commands(self, item: dict[str, Any]) -> list[Event]:
        """A shell's commands one by one, as OpenAI tells them; other tools have no events of their own."""
        place = {"output_index": len(self._items) - 1}
        return [
            self._event(f"response.shell_call_command.{kind}", **place, command_index=at, **told)
            for at, command in enumerate(item["action"]["commands"] if item["type"] == "shell_call" else ())
            for kind, told in (
                ("added", {"command": ""}), ("delta", {"delta": command}), ("done", {"command": command}),
            )
        ]

    def _call_id(self, block: Block) -> str:
        """The provider's id; one of our own where it gave none, or gave it twice."""
        found = block.id if block.id and block.id not in self._call_ids else self._new_id("call")
        self._call_ids.add(found)
        return found


def usage_shown(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.written},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


def frames(events: list[Event]) -> bytes:
    """Events as server-sent events, each under its own name."""
    return b"".join(b"event: " + one["type"].encode() + b"\ndata: " + _encode(one) + b"\n\n" for one in events)
