"""What a request encloses as a file is masked before it is stored, where it is words."""

from __future__ import annotations

import base64
import json

import msgspec
from storage_samples import call, text

from gateway.storage.writing.capture import capture_row


def test_words_in_files_are_masked_before_they_are_stored() -> None:
    data = "data:text/plain;base64," + base64.b64encode(b"Write to jane@example.org.").decode()
    picture = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.7 jane@example.org").decode()
    parts = [{"type": "file", "file": {"file_data": one}} for one in (data, picture)]
    request = {"model": "triage", "messages": [{"role": "user", "content": parts}]}
    for mask in (True, False):
        body = msgspec.structs.replace(text("q", "a", mask=mask), request=msgspec.json.encode(request))
        stored = json.loads(capture_row(call("c", body=body), body)["request"])["messages"][0]["content"]
        words = base64.b64decode(stored[0]["file"]["file_data"].partition(",")[2])
        assert words == (b"Write to [EMAIL_1]." if mask else b"Write to jane@example.org.")
        assert stored[1] == parts[1], "no placeholder fits into bytes"
