"""Azure's Responses API (``api: responses`` at Azure): OpenAI's under Azure's addresses, without what Azure has not
built, and with Azure's content filter, which judges prompts and answers beside the model.

https://learn.microsoft.com/azure/foundry/openai/how-to/responses, …/web-search, …/concepts/content-filter-annotations
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.catalog import Profile
from gateway.protocol.answer import Chunk
from gateway.protocol.foreign_thoughts import AZURE
from gateway.protocol.hints import held_image, openais_tools
from gateway.protocol.lists import dicts
from gateway.providers.azure import addresses as azure_addresses
from gateway.providers.codec import NOTHING, AttemptFailed, UpstreamRequest
from gateway.providers.responses.codec import ResponsesCodec, ResponsesStream
from gateway.providers.responses.said import Said
from gateway.providers.translate_request import Reader

_STATUS = {"content_filter": 400, "rate_limit_exceeded": 429, "too_many_requests": 429}
"""What an error under the status 200 would have had as its status, had it come before the answer began."""
_DRAWS = "image_generation"


class AzureResponsesCodec(ResponsesCodec):
    """Tools that run at OpenAI run at Azure too, over what lies in the operator's own resource."""

    seal = AZURE

    def __init__(self, name: str, base: str, headers: dict[str, str], profile: Profile, version: str) -> None:
        super().__init__(name, f"{base}/v1/chat/completions", headers, profile)
        self._base, self._version = base, version

    def encode(self, body: Mapping[str, Any], model: str, *, stream: bool) -> UpstreamRequest:
        _refuse_what_is_not_built(Reader(self._name, body, drop=False), stream=stream)
        request = super().encode(body, model, stream=stream)
        return msgspec.structs.replace(request, url=azure_addresses.responses(self._base, self._version))

    def located(self, model: str) -> UpstreamRequest:
        request, version = super().located(model), self._version
        v1 = version in azure_addresses.OF_V1
        url = request.url + azure_addresses.query(version) if v1 else azure_addresses.chat(self._base, version, model)
        return msgspec.structs.replace(request, url=url)

    def stream(self, asked: Mapping[str, Any] = NOTHING) -> AzureResponsesStream:
        return AzureResponsesStream(self, self._name, asked)

    def reason(self, data: Mapping[str, Any], said: Said) -> str:
        """An answer that was cut by the filter says so in ``content_filters`` too, and there even as a complete one."""
        reason = super().reason(data, said)
        blocked = any(_cut_here(one) for one in dicts(data.get("content_filters")))
        return "content_filter" if reason == "stop" and blocked else reason

    def broken(self, data: Mapping[str, Any]) -> AttemptFailed:
        """A prompt that the filter stopped is its sender's to change, and a limit passes, also after a stream began."""
        error = data.get("error")
        words = (str(error.get("code")), str(error.get("type"))) if isinstance(error, dict) else ()
        status = next((_STATUS[one] for one in words if one in _STATUS), None)
        if status is None or error is None:
            return super().broken(data)
        told = {name: value for name, value in error.items() if (name, value) != ("type", "error")}
        if status == 429:
            told["code"] = "rate_limit_exceeded"  # as clients know it
        return self.refuse(status, {}, msgspec.json.encode({"error": told}), now=0.0)


class AzureResponsesStream(ResponsesStream):
    def _event(self, event: dict[str, Any]) -> list[Chunk]:
        """Where Azure's own front stops an answer, a failure without a reason comes first and the reason after it; a
        stream that ends there was cut."""
        answer = event.get("response")
        if event.get("type") == "response.failed" and isinstance(answer, dict) and not answer.get("error"):
            return []
        return super()._event(event)


def _cut_here(judged: Mapping[str, Any]) -> bool:
    return judged.get("blocked") is True and judged.get("source_type") == "completion"


def _refuse_what_is_not_built(reader: Reader, *, stream: bool) -> None:
    """Raises AttemptFailed by the name of what OpenAI has and Azure has not."""
    for turn in reader.turns():
        for at, part in reader.parts(turn):
            if held_image(part):
                raise reader.refused(f"{at}.file_id", "Azure takes no image by a file's id. Send the image itself.")
    if not stream:
        return
    tools = [*dicts(reader.body.get("tools")), *(tool for _, tool in openais_tools(reader.body))]
    if any(tool.get("type") == _DRAWS for tool in tools):
        raise reader.refused("stream", f"Azure streams no answer with the tool '{_DRAWS}'. Ask without 'stream'.")
