"""embedContent and batchEmbedContents, asked of whoever serves embeddings."""

from __future__ import annotations

from typing import Any

from gateway.api.embeddings import Embeddings
from gateway.api.surface import Wanted
from gateway.live import Live
from gateway.protocol.embeddings import check_request, encode_as, texts_in
from gateway.protocol.gemini.contents import parts_of
from gateway.protocol.gemini.shapes import fields, listed, unsupported

_KNOWN = {"model", "content", "outputDimensionality"}


class GeminiEmbeddings(Embeddings):
    """One model's embeddings in Google's words; ``batch``: a list of requests, answered by a list."""

    def __init__(self, model: str, *, batch: bool) -> None:
        super().__init__()
        self._model, self._batch = model, batch

    def read(self, data: dict[str, Any], live: Live) -> Wanted:
        told = fields(data, "body")
        asked = listed(told.get("requests") or [], "requests") if self._batch else [told]
        texts = [_text(one, f"requests[{at}]." if self._batch else "") for at, one in enumerate(asked)]
        sizes = [one.get("outputDimensionality") for one in asked]
        if any(size != sizes[0] for size in sizes):
            raise unsupported("requests", "must all ask for the same outputDimensionality.")
        body: dict[str, Any] = {"model": self._model, "input": texts}
        if sizes and sizes[0] is not None:
            body["dimensions"] = sizes[0]
        check_request(body)
        form = "gemini batch" if self._batch else "gemini"
        return Wanted(body=body, model=self._model, text=texts_in(texts), tell=self._tell, form=form)

    def _tell(self, answer: dict[str, Any]) -> None:
        encode_as(answer, "float")
        items = sorted(answer["data"], key=lambda item: item.get("index") or 0)
        found = [{"values": item["embedding"]} for item in items]
        answer.clear()
        answer |= {"embeddings": found} if self._batch else {"embedding": found[0]}


def _text(asked: dict[str, Any], where: str) -> str:
    """The text of one request; its parts are joined by newlines. Raises BadRequest."""
    for name in asked:
        if name not in _KNOWN:
            raise unsupported(
                f"{where}{name}", "embeddings have no such setting at this gateway. Leave it out."
            )
    parts = parts_of(fields(asked.get("content"), f"{where}content"), f"{where}content")
    if not all(part["type"] == "text" for part in parts):
        raise unsupported(f"{where}content", "only text can be embedded here.")
    return "\n".join(part["text"] for part in parts)
