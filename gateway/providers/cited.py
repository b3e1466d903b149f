"""The text of an answer with what it rests on, as it arrives."""

from __future__ import annotations

from typing import Any

from gateway.providers.translate_answer import url_citation


class Cited:
    """``annotations`` are sources with an address, which have a place in OpenAI's shape; ``citations`` are others, as
    Claude tells them, each with the characters of the answer that rest on it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.length = 0
        self.annotations: list[dict[str, Any]] = []
        self.citations: list[dict[str, Any]] = []

    def add_text(self, text: str) -> None:
        self.texts.append(text)
        self.length += len(text)

    def cite(self, citation: dict[str, Any], start: int) -> None:
        """What was said since ``start`` rests on this."""
        url = citation.get("url")
        if isinstance(url, str) and url:
            title = str(citation.get("title") or url)
            self.annotations.append(url_citation(start, self.length, url, title))
        else:
            self.citations.append({"start_index": start, "end_index": self.length, "citation": citation})
