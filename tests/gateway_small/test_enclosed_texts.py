from __future__ import annotations

import base64
from typing import Any

import pytest

from gateway.texts.enclosed import closed_again, opened, read_of, saying

SAID = "Write to jane@example.org.\n"


def coded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def asked(data: str) -> dict[str, Any]:
    file = {"type": "file", "file": {"filename": "a", "file_data": data}}
    return {"messages": [{"role": "user", "content": "hi"}, {"role": "user", "content": [{"type": "text", "text": "x"}, file]}]}


def data_of(prose: dict[str, Any]) -> str:
    found: str = prose["messages"][1]["content"][1]["file"]["file_data"]
    return found


@pytest.mark.parametrize("data", [
    f"data:text/plain;base64,{coded(SAID.encode())}", f"data:application/json;base64,{coded(SAID.encode())}",
    coded(SAID.encode()), coded(SAID.encode()).rstrip("="), coded(b"\xef\xbb\xbf" + SAID.encode()),
    f"data:application/pdf;base64,{coded(SAID.encode('utf-16'))}", f"DATA:image/png;charset=x;BASE64,{coded(SAID.encode())}",
    coded(SAID.encode() * 500 + b"\xff\x00"), "\r\n".join(coded(SAID.encode() * 9)[at : at + 76] for at in range(0, 400, 76)),
])  # fmt: skip
def test_words_are_read_and_changed_where_they_are_enclosed(data: str) -> None:
    prose = asked(data)
    words = opened(prose)
    assert "jane@example.org" in data_of(words)
    assert data_of(closed_again(prose, words, words)) == data, "what nobody changed goes as it came"
    masked = asked(data_of(words).replace("jane@example.org", "[EMAIL_1]"))
    again = data_of(closed_again(prose, words, masked))
    assert again.rpartition(",")[0] == data.rpartition(",")[0]
    assert b"Write to [EMAIL_1]." in base64.b64decode(again.rpartition(",")[2])


@pytest.mark.parametrize("data", [
    "", "not base64!", "data:text/plain,as it stands", f"data:application/pdf;base64,{coded(b'%PDF-1.7 ' + SAID.encode())}",
    coded(bytes(range(256)) * 20), coded(b"PK\x03\x04" + SAID.encode()), "\N{SNOWMAN}",
])  # fmt: skip
def test_bytes_stay_bytes(data: str) -> None:
    prose = asked(data)
    assert opened(prose) is prose
    assert closed_again(prose, prose, prose) is prose


LETTERS = coded(SAID.encode() * 400)


@pytest.mark.parametrize("broken", [
    *(LETTERS[:at] + odd + LETTERS[at:] for at in (0, 9, 8000) for odd in ("!", "\N{SNOWMAN}", "=")), LETTERS + "!!", LETTERS[:-3],
])  # fmt: skip
@pytest.mark.parametrize("head", ["data:text/plain;base64,", "data:application/octet-stream;base64,", ""])
def test_base64_in_which_others_read_on_is_for_somebody_to_decide_about(head: str, broken: str) -> None:
    found: list[str] = []
    prose = asked(head + broken)
    assert opened(prose, found) is prose and found == [head + broken]


@pytest.mark.parametrize("data", [
    f"data:text/plain;name={'n' * 5000};base64,{LETTERS}", f"data:text/plain;base64,{LETTERS[:4]}\n\n\n{LETTERS[4:]}",
    "data:text/plain;base64," + "\t\n".join(LETTERS[at : at + 61] for at in range(0, len(LETTERS), 61)),
])  # fmt: skip
def test_neither_a_long_head_nor_white_space_hides_words(data: str) -> None:
    found: list[str] = []
    assert data_of(opened(asked(data), found)).count("jane@example.org") == 400 and not found


def test_what_is_sent_as_a_picture_and_is_none_is_read_too() -> None:
    """Gemini reads whatever a data: address holds."""
    url = f"data:text/plain;base64,{coded(SAID.encode())}"
    for image in ({"url": url}, url):
        prose: dict[str, Any] = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": image}]}]}
        words = opened(prose)
        assert "jane@example.org" in words["messages"][0]["content"][0]["file"]["file_data"]
        assert closed_again(prose, words, words) == prose, "what nobody changed goes as it came"
    for beside in ("junk", {"file_data": coded(b"harmless, all of it")}):  # whoever reads pictures reads no file there
        prose = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}, "file": beside}]}]}
        assert "jane@example.org" in str(opened(prose))
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{coded(SAID.encode())}"}}
    prose = {"messages": [{"role": "user", "content": [picture]}]}
    assert opened(prose) is prose


def test_documents_are_told_apart_from_texts() -> None:
    document = f"data:application/pdf;base64,{coded(b'%PDF-1.7 ' + SAID.encode())}"
    prose, found = asked(document), list[str]()
    assert opened(prose, found) is prose and found == [document]
    words = saying(prose, {document: read_of(document, "what it says")})
    assert closed_again(prose, words, words) == prose
    changed = asked(data_of(words).replace("says", "[X]"))
    part = closed_again(prose, words, changed)["messages"][1]["content"][1]
    assert part == {"type": "text", "text": "a:\n\nwhat it [X]", "document": {"title": "a"}}
