"""What an answer of Gemini's rests on: searches, and pages that it read.

https://ai.google.dev/gemini-api/docs/google-search, …/url-context
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.protocol import server_blocks
from gateway.protocol.lists import dicts
from gateway.providers.translate_answer import count, url_citation

_KINDS = ("web", "maps", "retrievedContext")


def searched(data: Mapping[str, Any], candidates: Sequence[dict[str, Any]]) -> int:
    """Searches that are billed: each since Gemini 3, before that one for every prompt that was searched for."""
    number = sum(len(_queries(one.get("groundingMetadata"))) for one in candidates)
    return min(1, number) if str(data.get("modelVersion")).startswith(("gemini-1", "gemini-2")) else number


def _queries(grounding: Any) -> list[str]:
    found = grounding.get("webSearchQueries") if isinstance(grounding, dict) else None
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def search_blocks(grounding: Mapping[str, Any], id_: str) -> list[dict[str, Any]]:
    """The search that an answer rests on, in Claude's words; [] without one."""
    queries = _queries(grounding)
    pages = [(str(one["uri"]), str(one.get("title") or one["uri"])) for one in _chunks(grounding) if one.get("uri")]
    return server_blocks.search(id_, queries, list(dict.fromkeys(pages))) if queries else []


# ------------------------------------------------------------------------------------------------ sources
def url_citations(candidate: Mapping[str, Any], text: str, starts: Sequence[int]) -> list[dict[str, Any]]:
    """Search results and pages that were read, as url citations. ``starts``: where in ``text`` its parts begin."""
    grounding = candidate.get("groundingMetadata")
    found = _grounded(grounding, text, starts) if isinstance(grounding, dict) else []
    context = candidate.get("urlContextMetadata")
    known = {one["url_citation"]["url"] for one in found}
    for page in dicts(context.get("urlMetadata")) if isinstance(context, dict) else []:
        url = page.get("retrievedUrl")
        if isinstance(url, str) and url not in known and str(page.get("urlRetrievalStatus")).endswith("SUCCESS"):
            found.append(url_citation(0, len(text), url, url))
    return found


def _chunks(grounding: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One map for each chunk, since they are cited by their number; an empty one for junk."""
    found = []
    for one in dicts(grounding.get("groundingChunks")):
        page = next((one[kind] for kind in _KINDS if one.get(kind)), None)
        found.append(page if isinstance(page, dict) else {})
    return found


def _grounded(grounding: Mapping[str, Any], text: str, starts: Sequence[int]) -> list[dict[str, Any]]:
    pages, found = _chunks(grounding), []
    for support in dicts(grounding.get("groundingSupports")):
        told = support.get("segment")
        start, end = _place(told if isinstance(told, dict) else {}, text, starts)
        for at in support.get("groundingChunkIndices") or []:
            page = pages[at] if isinstance(at, int) and 0 <= at < len(pages) else {}
            if page.get("uri"):
                found.append(url_citation(start, end, str(page["uri"]), str(page.get("title") or page["uri"])))
    return found


def _place(segment: Mapping[str, Any], text: str, starts: Sequence[int]) -> tuple[int, int]:
    """Google's positions count bytes, from the beginning of one of several parts; OpenAI's count characters of the
    whole. The words themselves decide which part is meant."""
    said, first = segment.get("text"), (0, 0)
    for base in dict.fromkeys((0, *starts)):
        raw = text[base:].encode()
        start, end = (
            base + len(raw[: count(segment.get(name))].decode(errors="ignore")) for name in ("startIndex", "endIndex")
        )
        if not isinstance(said, str) or text[start:end] == said:
            return start, end
        if not base:
            first = start, end
    at = text.find(said) if isinstance(said, str) and said else -1
    if at >= 0:
        return at, at + len(str(said))
    return first
