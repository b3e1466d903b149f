"""The openai client for Python, whichever version is on the path: its daily features, told as one JSON object.

Arguments: base url, key.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai
from pydantic import BaseModel

MODEL = "triage"
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


class City(BaseModel):
    name: str
    people: int


def asked(text: Any) -> Any:
    return [{"role": "user", "content": text}]


def usage_of(usage: Any) -> list[int]:
    return [usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens]


def main(base_url: str, key: str) -> dict[str, Any]:
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    told: dict[str, Any] = {"version": openai.__version__}
    whole = client.chat.completions.create(model=MODEL, messages=asked("hi"))
    told["chat"] = [whole.choices[0].message.content, whole.choices[0].finish_reason, usage_of(whole.usage)]
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=asked("hi"), stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    told["stream"] = [text, usage_of(chunks[-1].usage)]
    with client.chat.completions.stream(model=MODEL, messages=asked("calls"), tools=[TOOL]) as events:
        final = events.get_final_completion()
    told["calls"] = [
        [one.function.name, json.loads(one.function.arguments)]
        for one in final.choices[0].message.tool_calls or []
    ]
    parsed = client.chat.completions.parse(model=MODEL, messages=asked("object"), response_format=City)
    found = parsed.choices[0].message.parsed
    told["object"] = found.model_dump() if found else None
    told["embedding"] = client.embeddings.create(model="openai/embed", input=["a"]).data[0].embedding
    response = client.responses.create(model=MODEL, input="hi")
    told["response"] = [response.output_text, response.status]
    with client.responses.stream(model=MODEL, input="hi") as events:
        deltas = [one.delta for one in events if one.type == "response.output_text.delta"]
        told["response_stream"] = ["".join(deltas), events.get_final_response().output_text]
    image: Any = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    told["image"] = (
        client.chat.completions.create(model=MODEL, messages=asked(image)).choices[0].message.content
    )
    told["store"] = searched(client)
    try:
        client.chat.completions.create(model=MODEL, messages=asked("busy"))
    except openai.RateLimitError as error:
        told["error"] = [error.status_code, error.code, error.response.headers["retry-after"]]
    try:
        client.chat.completions.create(model="nobody", messages=asked("hi"))
    except openai.NotFoundError as error:
        told["lost"] = [error.status_code, error.code]
    return told


def searched(client: openai.OpenAI) -> list[Any]:
    """A vector store from its file to its end."""
    store = client.vector_stores.create(name="help")
    kept = client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=("refunds.txt", b"Refunds take a week."), poll_interval_ms=20
    )
    results = [
        [one.filename, one.content[0].text] for one in client.vector_stores.search(store.id, query="refunds")
    ]
    files = [one.status for one in client.vector_stores.files.list(store.id, limit=1)]
    return [kept.status, results, files, client.vector_stores.delete(store.id).deleted]


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
