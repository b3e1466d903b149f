"""What /v1/vector_stores are asked and answer. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.errors import BadRequest
from gateway.retrieval.asking import Asked, Found
from gateway.retrieval.filters import fits_of
from gateway.storage.vector_stores import Attributes, Chunking, FileBatch, VectorFile, VectorStore

_LONGEST_QUESTION, _MOST_QUESTIONS = 32_768, 16
Share = Annotated[float, Meta(ge=0.0, le=1.0)]


class ExpiresAfter(Struct, frozen=True):
    anchor: Literal["last_active_at"]
    days: Annotated[int, Meta(ge=1, le=365)]


class Static(Struct, frozen=True):
    max_chunk_size_tokens: Annotated[int, Meta(ge=100, le=4096)]
    chunk_overlap_tokens: Annotated[int, Meta(ge=0, le=2048)]


class StaticStrategy(Struct, frozen=True, tag="static", tag_field="type"):
    static: Static


class AutoStrategy(Struct, frozen=True, tag="auto", tag_field="type"):
    pass


Strategy = StaticStrategy | AutoStrategy


class NewStore(Struct, frozen=True):
    name: Annotated[str, Meta(max_length=256)] | None = None
    description: Annotated[str, Meta(max_length=1024)] | None = None
    file_ids: Annotated[list[str], Meta(max_length=500)] = []
    expires_after: ExpiresAfter | None = None
    chunking_strategy: Strategy | None = None
    metadata: Any = None


class Changes(Struct, frozen=True):
    name: Annotated[str, Meta(max_length=256)] | None = None
    expires_after: ExpiresAfter | UnsetType | None = UNSET
    metadata: Any = None


class NewFile(Struct, frozen=True):
    file_id: str
    attributes: Attributes | None = None
    chunking_strategy: Strategy | None = None


class NewBatch(Struct, frozen=True):
    file_ids: Annotated[list[str], Meta(max_length=2000)] | None = None
    files: Annotated[list[NewFile], Meta(max_length=2000)] | None = None
    attributes: Attributes | None = None
    chunking_strategy: Strategy | None = None


class NewAttributes(Struct, frozen=True):
    attributes: Attributes | None


class Hybrid(Struct, frozen=True):
    embedding_weight: Annotated[float, Meta(ge=0.0)]
    text_weight: Annotated[float, Meta(ge=0.0)]


class Ranking(Struct, frozen=True):
    ranker: Literal["none", "auto", "default-2024-11-15", "default_2024_08_21"] = "auto"
    score_threshold: Share = 0.0
    hybrid_search: Hybrid | None = None


class Question(Struct, frozen=True):
    query: str | list[str]
    filters: Any = None
    max_num_results: Annotated[int, Meta(ge=1, le=50)] = 10
    ranking_options: Ranking | None = None
    rewrite_query: bool = False
    """We search for what was asked, and ``search_query`` of the answer says so."""


def chunking_of(strategy: Strategy | None) -> Chunking:
    """Raises BadRequest."""
    if not isinstance(strategy, StaticStrategy):
        return Chunking()
    size, overlap = strategy.static.max_chunk_size_tokens, strategy.static.chunk_overlap_tokens
    if overlap > size // 2:
        message = "'chunk_overlap_tokens' may be half of 'max_chunk_size_tokens' at most."
        raise BadRequest(message, param="chunking_strategy.static.chunk_overlap_tokens", code="invalid_value")
    return Chunking(size, overlap)


def attributes_of(value: Attributes | None) -> Attributes:
    """Raises BadRequest."""
    found = value or {}
    long = [one for one in found.values() if isinstance(one, str) and len(one) > 512]
    if len(found) > 16 or any(len(name) > 64 for name in found) or long:
        message = "'attributes' takes at most 16 pairs, keys of at most 64 and texts of at most 512 characters."
        raise BadRequest(message, param="attributes", code="invalid_value")
    return found


def wanted_of(batch: NewBatch) -> list[NewFile]:
    """The files that a batch names. Raises BadRequest."""
    if (batch.files is None) == (batch.file_ids is None):
        raise BadRequest("Send either 'file_ids' or 'files'.", param="file_ids")
    if batch.files is not None:
        found = batch.files
    else:
        found = [NewFile(one, batch.attributes, batch.chunking_strategy) for one in batch.file_ids or ()]
    if not found or len({one.file_id for one in found}) != len(found):
        raise BadRequest("Name at least one file, and each once.", param="file_ids")
    return found


def asked_of(question: Question) -> Asked:
    """Raises BadRequest."""
    texts = [question.query] if isinstance(question.query, str) else question.query
    if not 0 < len(texts) <= _MOST_QUESTIONS or any(not 0 < len(one.strip()) <= _LONGEST_QUESTION for one in texts):
        message = f"'query' must be a text of at most {_LONGEST_QUESTION} characters, or up to {_MOST_QUESTIONS} such."
        raise BadRequest(message, param="query", code="invalid_value")
    ranking = question.ranking_options or Ranking()
    weights = (1.0, 0.0) if ranking.ranker == "none" else (1.0, 1.0)
    if ranking.hybrid_search is not None:
        weights = (ranking.hybrid_search.embedding_weight, ranking.hybrid_search.text_weight)
        if not sum(weights):
            raise BadRequest("One of the weights must be above 0.", param="ranking_options.hybrid_search")
    return Asked(
        tuple(texts), fits_of(question.filters), most=question.max_num_results, weights=weights,
        least=ranking.score_threshold,
    )  # fmt: skip


def _counts(files: Iterable[VectorFile]) -> dict[str, int]:
    found = Counter(one.status for one in files)
    names: tuple[Literal["in_progress", "completed", "failed", "cancelled"], ...] = (
        "in_progress", "completed", "failed", "cancelled",
    )  # fmt: skip
    return {**{name: found[name] for name in names}, "total": found.total()}


def shown_store(store: VectorStore, files: Sequence[VectorFile], now: float) -> dict[str, Any]:
    counts, over = _counts(files), store.expired(now)
    days, at = store.expires_days, store.expires_at
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": int(store.created_at),
        "name": store.name,
        "usage_bytes": sum(one.bytes for one in files),
        "file_counts": counts,
        "status": "expired" if over else "in_progress" if counts["in_progress"] else "completed",
        "expires_after": {"anchor": "last_active_at", "days": days} if days is not None else None,
        "expires_at": int(at) if at is not None else None,
        "last_active_at": int(store.last_active_at),
        "metadata": store.metadata,
        **({"description": store.description} if store.description is not None else {}),
    }


def shown_file(store_id: str, file: VectorFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "vector_store.file",
        "created_at": int(file.created_at),
        "vector_store_id": store_id,
        "status": file.status,
        "usage_bytes": file.bytes,
        "last_error": {"code": file.error[0], "message": file.error[1]} if file.error is not None else None,
        "attributes": file.attributes,
        "chunking_strategy": {
            "type": "static",
            "static": {
                "max_chunk_size_tokens": file.chunking.size,
                "chunk_overlap_tokens": file.chunking.overlap,
            },
        },
    }


def shown_batch(store_id: str, batch: FileBatch, files: Sequence[VectorFile]) -> dict[str, Any]:
    """``files``: those of the batch that are still there as it attached them."""
    counts = _counts(files)
    status = "in_progress" if counts["in_progress"] else "cancelled" if batch.cancelled else "completed"
    if status == "completed" and counts["total"] and counts["failed"] == counts["total"]:
        status = "failed"
    return {
        "id": batch.id,
        "object": "vector_store.files_batch",
        "created_at": int(batch.created_at),
        "vector_store_id": store_id,
        "status": status,
        "file_counts": counts,
    }


def shown_found(found: Found) -> dict[str, Any]:
    return {
        "file_id": found.file_id,
        "filename": found.filename,
        "score": found.score,
        "attributes": found.attributes,
        "content": [{"type": "text", "text": found.text}],
    }
