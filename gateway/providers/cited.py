"""The text of an answer with what it rests on, as it arrives."""

from __future__ import annotations

from typing import Any

from gateway.providers.translate_answer import url_citation


class Cited:
    """``annotations`` are sources with an address, which have a place in OpenAI's shape; ``citations`` are others, and
    pages that Claude wants back, as Claude tells them, each with the characters of the answer that rest on it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.length = 0
        self.annotations: list[dict[str, Any]] = []
        self.citations: list[dict[str, Any]] = []
        self._told = 0

    def add_text(self, text: str) -> None:
        self.texts.append(text)
        self.length += len(text)

    def told(self) -> list[dict[str, Any]]:
        """The citations since the last time, with the index by which OpenAI's clients add lists up."""
        fresh = [{"index": at, **self.citations[at]} for at in range(self._told, len(self.citations))]
        self._told = len(self.citations)
        return fresh

    def cite(self, citation: dict[str, Any], start: int) -> None:
        """What was said since ``start`` rests on this."""
        url = citation.get("url")
        if isinstance(url, str) and url:
            title = str(citation.get("title") or url)
            self.annotations.append(url_citation(start, self.length, url, title))
        if not url or citation.get("encrypted_index"):  # which Claude wants back with the page
            self.citations.append({"start_index": start, "end_index": self.length, "citation": citation})
