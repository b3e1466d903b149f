"""``file_search`` over vector stores that are not this gateway's: OpenAI searches its own, where it is asked at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.context import Principal
from gateway.errors import NotFound
from gateway.protocol.body import typed
from gateway.protocol.chat import ChatRequest
from gateway.protocol.file_search import FileSearch
from gateway.retrieval.asking import Library
from gateway.runtime import Runtime
from gateway.stages.assign import may_answer, task_of


async def elsewhere(library: Library | None, who: Principal | None, search: FileSearch | None) -> Sequence[str]:
    """The stores of a search that are not the caller's project's; whose they are is not said. Raises Forbidden."""
    if search is None or who is None:
        return ()
    return search.store_ids if library is None else await library.unknown(who, search.store_ids)


def check_elsewhere(
    runtime: Runtime, body: Mapping[str, Any], project: str, search: FileSearch, unknown: Sequence[str]
) -> None:
    """Raises NotFound for a store that nobody who may answer ``body`` can be asked about."""
    missing = f"Vector store with id '{unknown[0][:200]}' not found. It is not one of this gateway's, and"
    if len(unknown) < len(search.store_ids):
        mixed = f"{missing} stores of this gateway and of a provider cannot be searched by one tool."
        raise NotFound(mixed, param="vector_store_id")
    request = typed(dict(body), ChatRequest)
    candidates = may_answer(runtime, task_of(runtime, request)[0], request.model, project)
    if not any(getattr(runtime.codecs.get(one.provider), "searches_stores", False) for one in candidates):
        alone = "no provider that may answer searches stores of its own (OpenAI and Azure do, with 'api: responses')."
        raise NotFound(f"{missing} {alone}", param="vector_store_id")
