"""What a file says, as text, and that text in chunks. Pure but for the file that is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

_PIECE = re.compile(r"\s*(?:[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_]{1,6}|\d{1,3}|\S)")
"""About a token: a sign of Chinese, Japanese or Korean, up to six letters or three digits, or another sign, with the
white space before it."""
_MARKS = ((b"\xff\xfe\x00\x00", "utf-32"), (b"\x00\x00\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"),
          (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))  # fmt: skip
_UNSEEN = frozenset({"script", "style", "template", "noscript"})
_BLOCKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "pre"})


class NotRead(Exception):
    """``code``: OpenAI's ``invalid_file`` or ``unsupported_file``; the text is for its owner. ``lasting``: it lies in
    the file, so that reading it again would end alike."""

    def __init__(self, code: str, message: str, *, lasting: bool = True) -> None:
        super().__init__(message)
        self.code, self.lasting = code, lasting


def text_of(path: Path, filename: str, most: int) -> str:
    """A text file's text; of a page its words. Raises NotRead, and FileNotFoundError. Blocking."""
    if path.stat().st_size > most:
        raise NotRead("invalid_file", f"The file has more than {most} bytes, the most that is taken in here.")
    raw = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:
        raise NotRead("unsupported_file", "The file is no text in UTF-8, UTF-16 or UTF-32. Upload its text.")
    if filename.lower().endswith((".html", ".htm", ".xhtml")):
        text = _words_of(text)
    if not text.strip():
        raise NotRead("invalid_file", "The file holds no text.")
    return text


def chunks_of(text: str, size: int, overlap: int) -> Iterator[str]:
    """Chunks of at most ``size`` tokens, of which each repeats the last ``overlap`` of the one before."""
    starts: list[int] = []
    end, fresh = 0, False
    for piece in _PIECE.finditer(text):
        if len(starts) == size:
            yield text[starts[0] : end].strip()
            starts, fresh = starts[size - overlap :], False
        starts.append(piece.start())
        end, fresh = piece.end(), True
    if fresh:
        yield text[starts[0] : end].strip()


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in _UNSEEN
        if tag in _BLOCKS:
            self.words.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._unseen = max(0, self._unseen - (tag in _UNSEEN))
        if tag in _BLOCKS:
            self.words.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.words.append(data)


def _words_of(text: str) -> str:
    page = _Page()
    page.feed(text)
    page.close()
    return re.sub(r"[ \t]*\n\s*", "\n", "".join(page.words)).strip()
