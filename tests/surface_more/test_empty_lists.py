"""PHP writes an empty map as ``[]``: taken for one where a request need say nothing, and refused everywhere else."""

from __future__ import annotations

import httpx
import pytest

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(("path", "kind"), [("/v1/conversations", "conversation"), ("/v1/vector_stores", "vector_store")])
@pytest.mark.parametrize("body", [b"[]", b" [ ]\n", b"{}"])
async def test_an_empty_list_is_an_empty_request(http: httpx.AsyncClient, path: str, kind: str, body: bytes) -> None:
    answer = await http.post(path, content=body, headers=JSON)
    assert answer.status_code == 200 and answer.json()["object"] == kind, answer.text


@pytest.mark.parametrize(("path", "body"), [
    ("/v1/conversations", b"[1]"), ("/v1/conversations", b"[{}]"), ("/v1/conversations", b"null"), ("/v1/conversations", b"[[]]"),
    ("/v1/chat/completions", b"[]"), ("/v1/responses", b"[]"), ("/v1/embeddings", b"[]"),
])  # fmt: skip
async def test_every_other_list_is_refused(http: httpx.AsyncClient, path: str, body: bytes) -> None:
    answer = await http.post(path, content=body, headers=JSON)
    assert answer.status_code == 400 and "must be one JSON object" in answer.json()["error"]["message"]
