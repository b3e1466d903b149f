"""One answer as each of six provider dialects writes it, whole and as a stream: the rows of the matrix."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Literal

End = Literal["stop", "length", "stop_sequence", "calls", "filter"]
URL, TITLE = "https://bonn.example/a", "Bonn"
PROMPT, CACHED, COMPLETION, REASONING = 30, 10, 12, 4
"""Tokens of every answer; what was cached is inside the prompt, what was thought inside the completion."""


@dataclass(frozen=True)
class Said:
    """``text`` in the pieces in which it is streamed; ``cited``: the whole text rests on one page."""

    text: tuple[str, ...] = ()
    thought: str = ""
    signature: str = ""
    calls: tuple[tuple[str, str, dict[str, Any]], ...] = ()
    end: End = "stop"
    cited: bool = False
    tells: bool = True
    """Whether usage is told."""

    @property
    def whole(self) -> str:
        return "".join(self.text)


def dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def events(*found: dict[str, Any]) -> bytes:
    return "".join(f"event: {one['type']}\ndata: {dumped(one)}\n\n" for one in found).encode()


def frames(*found: dict[str, Any], end: str = "") -> bytes:
    return ("".join(f"data: {dumped(one)}\n\n" for one in found) + end).encode()


# ---------------------------------------------------------------- OpenAI, chat
_FINISH = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "calls": "tool_calls",
    "filter": "content_filter",
}
_CHAT_USAGE = {
    "prompt_tokens": PROMPT, "completion_tokens": COMPLETION, "total_tokens": PROMPT + COMPLETION,
    "prompt_tokens_details": {"cached_tokens": CACHED}, "completion_tokens_details": {"reasoning_tokens": REASONING},
}  # fmt: skip


def _notes(said: Said) -> list[dict[str, Any]]:
    note = {"start_index": 0, "end_index": len(said.whole), "url": URL, "title": TITLE}
    return [{"type": "url_citation", "url_citation": note}] if said.cited else []


def openai_whole(said: Said) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": said.whole or None,
        "refusal": None,
        "annotations": _notes(said),
    }
    if said.thought:
        message["reasoning_content"] = said.thought
    if said.calls:
        message["tool_calls"] = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": dumped(args)}}
            for id_, name, args in said.calls
        ]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _FINISH[said.end]}
    return {
        "id": "up",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": _CHAT_USAGE,
    }


def openai_stream(said: Said) -> bytes:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {
            "id": "up",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
        }

    made = [chunk({"role": "assistant", "content": "", "refusal": None})]
    made += [chunk({"reasoning_content": one}) for one in halves(said.thought) if one]
    made += [chunk({"content": one}) for one in said.text]
    if said.cited:
        made.append(chunk({"annotations": _notes(said)}))
    for at, (id_, name, _) in enumerate(said.calls):
        call = {"index": at, "id": id_, "type": "function", "function": {"name": name, "arguments": ""}}
        made.append(chunk({"tool_calls": [call]}))
    for half in (0, 1):  # interleaved, as OpenAI may
        for at, (_, _, args) in enumerate(said.calls):
            made.append(
                chunk({"tool_calls": [{"index": at, "function": {"arguments": halves(dumped(args))[half]}}]})
            )
    made.append(chunk({}, _FINISH[said.end]))
    made.append({**chunk({}), "choices": [], "usage": _CHAT_USAGE})
    return frames(*made, end="data: [DONE]\n\n")


# ---------------------------------------------------------------- OpenAI, responses
def _response(said: Said) -> dict[str, Any]:
    output: list[dict[str, Any]] = []
    if said.thought or said.signature:
        summary = [{"type": "summary_text", "text": said.thought}] if said.thought else []
        output.append(
            {"id": "rs_1", "type": "reasoning", "summary": summary, "encrypted_content": said.signature}
        )
    if said.text:
        notes = [
            {
                "type": "url_citation",
                "start_index": 0,
                "end_index": len(said.whole),
                "url": URL,
                "title": TITLE,
            }
        ]
        part = {
            "type": "output_text",
            "text": said.whole,
            "annotations": notes if said.cited else [],
            "logprobs": [],
        }
        output.append(
            {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
        )
    for at, (id_, name, args) in enumerate(said.calls):
        call = {
            "id": f"fc_{at}",
            "type": "function_call",
            "status": "completed",
            "call_id": id_,
            "name": name,
        }
        output.append({**call, "arguments": dumped(args)})
    reason = {"length": "max_output_tokens", "filter": "content_filter"}.get(said.end)
    usage = {
        "input_tokens": PROMPT, "input_tokens_details": {"cached_tokens": CACHED}, "output_tokens": COMPLETION,
        "output_tokens_details": {"reasoning_tokens": REASONING}, "total_tokens": PROMPT + COMPLETION,
    }  # fmt: skip
    return {
        "id": "resp_up", "object": "response", "created_at": 1, "model": "m", "error": None, "output": output, "usage": usage,
        "status": "incomplete" if reason else "completed", "incomplete_details": {"reason": reason} if reason else None,
    }  # fmt: skip


def responses_stream(said: Said) -> bytes:
    response = _response(said)
    made: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**response, "output": [], "usage": None}}
    ]
    for index, item in enumerate(response["output"]):
        place = {"output_index": index, "item_id": item["id"]}
        begun = {**item, "content": [], "summary": [], "arguments": ""}
        made.append({"type": "response.output_item.added", "output_index": index, "item": begun})
        if item["type"] == "reasoning":
            made += [{"type": "response.reasoning_summary_text.delta", **place, "summary_index": 0, "delta": one}
                     for one in halves(said.thought) if one]  # fmt: skip
        elif item["type"] == "message":
            made += [{"type": "response.output_text.delta", **place, "content_index": 0, "delta": one, "logprobs": []}
                     for one in said.text]  # fmt: skip
            made += [{"type": "response.output_text.annotation.added", **place, "content_index": 0, "annotation_index": 0,
                      "annotation": note} for note in item["content"][0]["annotations"]]  # fmt: skip
        else:
            made += [{"type": "response.function_call_arguments.delta", **place, "delta": one}
                     for one in halves(item["arguments"])]  # fmt: skip
        made.append({"type": "response.output_item.done", "output_index": index, "item": item})
    made.append({"type": f"response.{response['status']}", "response": response})
    return events(*({**one, "sequence_number": at} for at, one in enumerate(made)))


# ---------------------------------------------------------------- Anthropic
_STOPS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "calls": "tool_use",
    "filter": "refusal",
}
_CITATION = {
    "type": "web_search_result_location",
    "cited_text": "…",
    "encrypted_index": "e",
    "title": TITLE,
    "url": URL,
}
_CLAUDE_USAGE = {
    "input_tokens": PROMPT - CACHED, "cache_read_input_tokens": CACHED, "cache_creation_input_tokens": 0,
    "output_tokens": COMPLETION,
}  # fmt: skip


def anthropic_whole(said: Said) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    if said.thought:
        blocks.append({"type": "thinking", "thinking": said.thought, "signature": said.signature})
    if said.text:
        blocks.append({"type": "text", "text": said.whole, "citations": [_CITATION] if said.cited else None})
    blocks += [{"type": "tool_use", "id": id_, "name": name, "input": args} for id_, name, args in said.calls]
    return {
        "id": "m", "type": "message", "role": "assistant", "model": "c", "content": blocks,
        "stop_reason": _STOPS[said.end], "stop_sequence": "END" if said.end == "stop_sequence" else None,
        "usage": _CLAUDE_USAGE,
    }  # fmt: skip


def anthropic_stream(said: Said) -> bytes:
    whole = anthropic_whole(said)
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**_CLAUDE_USAGE, "output_tokens": 1}}
    made: list[dict[str, Any]] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, block in enumerate(whole["content"]):
        empty = {
            "text": {"text": ""},
            "thinking": {"thinking": "", "signature": ""},
            "tool_use": {"input": {}},
        }
        start = {name: value for name, value in block.items() if name != "citations"} | empty[block["type"]]
        made.append({"type": "content_block_start", "index": index, "content_block": start})
        deltas: list[dict[str, Any]] = []
        if block["type"] == "thinking":
            deltas = [{"type": "thinking_delta", "thinking": one} for one in halves(said.thought)]
            deltas.append({"type": "signature_delta", "signature": said.signature})
        elif block["type"] == "text":
            deltas = [{"type": "text_delta", "text": one} for one in said.text]
            deltas += [{"type": "citations_delta", "citation": _CITATION}] if said.cited else []
        else:
            deltas = [
                {"type": "input_json_delta", "partial_json": one} for one in halves(dumped(block["input"]))
            ]
        made += [{"type": "content_block_delta", "index": index, "delta": one} for one in deltas]
        made.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": whole["stop_sequence"]}
    made += [
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": COMPLETION}},
        {"type": "message_stop"},
    ]
    return events(*made)


# ---------------------------------------------------------------- Gemini
_GEMINI_ENDS = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "stop_sequence": "STOP",
    "calls": "STOP",
    "filter": "SAFETY",
}


def _gemini(parts: list[dict[str, Any]], said: Said, *, last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if last:
        candidate["finishReason"] = _GEMINI_ENDS[said.end]
    if last and said.cited:
        segment = {"startIndex": 0, "endIndex": len(said.whole.encode()), "text": said.whole}
        candidate["groundingMetadata"] = {
            "groundingChunks": [{"web": {"uri": URL, "title": TITLE}}],
            "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
        }
    usage = {
        "promptTokenCount": PROMPT, "cachedContentTokenCount": CACHED, "thoughtsTokenCount": REASONING,
        "candidatesTokenCount": COMPLETION - REASONING, "totalTokenCount": PROMPT + COMPLETION,
    }  # fmt: skip
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "g", "responseId": "r"}


def _gemini_calls(said: Said) -> list[dict[str, Any]]:
    """A signature stands on the first call of a round, or on the text when there is none."""
    made = []
    for at, (id_, name, args) in enumerate(said.calls):
        signed = {"thoughtSignature": said.signature} if said.signature and at == 0 else {}
        made.append({"functionCall": {"id": id_, "name": name, "args": args}, **signed})
    return made


def gemini_whole(said: Said) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"text": said.thought, "thought": True}] if said.thought else []
    parts += [{"text": said.whole}] if said.text else []
    return _gemini(parts + _gemini_calls(said), said, last=True)


def gemini_stream(said: Said) -> bytes:
    parts: list[dict[str, Any]] = [{"text": one, "thought": True} for one in halves(said.thought) if one]
    parts += [{"text": one} for one in said.text] + _gemini_calls(said)
    made = [_gemini([part], said, last=at == len(parts) - 1) for at, part in enumerate(parts)]
    return frames(*(made or [_gemini([], said, last=True)]))


# ---------------------------------------------------------------- Bedrock
_CONVERSE = {**_STOPS, "filter": "content_filtered"}
_AWS_USAGE = {
    "inputTokens": PROMPT - CACHED, "cacheReadInputTokens": CACHED, "cacheWriteInputTokens": 0,
    "outputTokens": COMPLETION, "totalTokens": PROMPT + COMPLETION,
}  # fmt: skip


_AWS_PAGE = {"title": "Bonn", "location": {"web": {"url": URL, "domain": "a.example"}}}


def bedrock_whole(said: Said) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    if said.thought:
        thought = {"reasoningText": {"text": said.thought, "signature": said.signature}}
        blocks.append({"reasoningContent": thought})
    cited = {"citationsContent": {"content": [{"text": said.whole}], "citations": [_AWS_PAGE]}}
    blocks += [cited if said.cited else {"text": said.whole}] if said.text else []
    blocks += [{"toolUse": {"toolUseId": id_, "name": name, "input": args}} for id_, name, args in said.calls]
    message = {"role": "assistant", "content": blocks}
    return {
        "output": {"message": message},
        "usage": _AWS_USAGE,
        "metrics": {"latencyMs": 1},
        **_stopped(said),
    }


def _stopped(said: Said) -> dict[str, Any]:
    """The gateway asks Claude's host which stop sequence was met."""
    met = {"additionalModelResponseFields": {"stop_sequence": "END"}} if said.end == "stop_sequence" else {}
    return {"stopReason": _CONVERSE[said.end], **met}


def _aws(kind: str, **payload: Any) -> bytes:
    raw = dumped(payload).encode()
    told = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    head = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in told.items()
    )
    prelude = struct.pack(">II", 16 + len(head) + len(raw), len(head))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + raw
    return body + struct.pack(">I", zlib.crc32(body))


def bedrock_stream(said: Said) -> bytes:
    made = [_aws("messageStart", role="assistant")]
    index = 0

    def deltas(*pieces: dict[str, Any]) -> None:
        nonlocal index
        made.extend(_aws("contentBlockDelta", contentBlockIndex=index, delta=one) for one in pieces)
        made.append(_aws("contentBlockStop", contentBlockIndex=index))
        index += 1

    if said.thought:
        signed = {"reasoningContent": {"signature": said.signature}}
        deltas(*({"reasoningContent": {"text": one}} for one in halves(said.thought)), signed)
    if said.text:
        deltas(*({"text": one} for one in said.text), *([{"citation": _AWS_PAGE}] if said.cited else []))
    for id_, name, args in said.calls:
        made.append(
            _aws(
                "contentBlockStart",
                contentBlockIndex=index,
                start={"toolUse": {"toolUseId": id_, "name": name}},
            )
        )
        deltas(*({"toolUse": {"input": one}} for one in halves(dumped(args))))
    made += [
        _aws("messageStop", **_stopped(said)),
        _aws("metadata", usage=_AWS_USAGE, metrics={"latencyMs": 1}),
    ]
    return b"".join(made)


# ---------------------------------------------------------------- Cohere
_COHERE_ENDS = {
    "stop": "COMPLETE",
    "length": "MAX_TOKENS",
    "stop_sequence": "STOP_SEQUENCE",
    "calls": "TOOL_CALL",
}
"""Cohere has no word for an answer that was filtered."""
_COHERE_USAGE = {"tokens": {"input_tokens": PROMPT, "output_tokens": COMPLETION}, "cached_tokens": CACHED}


def _cohere_citation(said: Said) -> dict[str, Any]:
    source = {"type": "document", "id": "d", "document": {"url": URL, "title": TITLE}}
    return {"start": 0, "end": len(said.whole), "text": said.whole, "sources": [source]}


def cohere_whole(said: Said) -> dict[str, Any]:
    content = [{"type": "thinking", "thinking": said.thought}] if said.thought else []
    content += [{"type": "text", "text": said.whole}] if said.text else []
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if said.calls:
        message["tool_calls"] = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": dumped(args)}}
            for id_, name, args in said.calls
        ]
    if said.cited:
        message["citations"] = [_cohere_citation(said)]
    return {"id": "c", "finish_reason": _COHERE_ENDS[said.end], "message": message, "usage": _COHERE_USAGE}


def cohere_stream(said: Said) -> bytes:
    made: list[dict[str, Any]] = [
        {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}}
    ]

    def spoken(name: str, pieces: tuple[str, ...]) -> None:
        made.append(
            {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": name, name: ""}}}}
        )
        made.extend(
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {name: one}}}}
            for one in pieces
        )
        made.append({"type": "content-end", "index": 0})

    if said.thought:
        spoken("thinking", halves(said.thought))
    if said.text:
        spoken("text", said.text)
    if said.cited:
        made.append(
            {
                "type": "citation-start",
                "index": 0,
                "delta": {"message": {"citations": _cohere_citation(said)}},
            }
        )
        made.append({"type": "citation-end", "index": 0})
    for at, (id_, name, args) in enumerate(said.calls):
        call = {"id": id_, "type": "function", "function": {"name": name, "arguments": ""}}
        made.append({"type": "tool-call-start", "index": at, "delta": {"message": {"tool_calls": call}}})
        for one in halves(dumped(args)):
            delta = {"message": {"tool_calls": {"function": {"arguments": one}}}}
            made.append({"type": "tool-call-delta", "index": at, "delta": delta})
        made.append({"type": "tool-call-end", "index": at})
    made.append(
        {"type": "message-end", "delta": {"finish_reason": _COHERE_ENDS[said.end], "usage": _COHERE_USAGE}}
    )
    return events(*made)


DIALECTS = {
    "openai": (openai_whole, openai_stream),
    "responses": (_response, responses_stream),
    "anthropic": (anthropic_whole, anthropic_stream),
    "gemini": (gemini_whole, gemini_stream),
    "bedrock": (bedrock_whole, bedrock_stream),
    "cohere": (cohere_whole, cohere_stream),
}
"""Writers of a whole answer and of a stream, by provider dialect."""
