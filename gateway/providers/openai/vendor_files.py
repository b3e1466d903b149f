"""Files in chat, in the words of compatible vendors that have their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from gateway.providers.translate_request import Reader, data_url, is_web_url

FilesAs = Literal["", "address", "document_url", "file_url"]
_PDF = "data:application/pdf;base64,"


def part_as(form: FilesAs, part: dict[str, Any], reader: Reader) -> dict[str, Any]:
    """A part as a vendor has files: by their ``address`` too where OpenAI has their data (OpenRouter), as a
    ``document_url`` (Mistral) or a ``file_url`` (Perplexity), each an address or the data. Raises AttemptFailed for
    what has no place there."""
    file = part.get("file")
    if part.get("type") != "file" or not isinstance(file, dict):
        return part
    address, data, name = (file.get(one) for one in ("file_url", "file_data", "filename"))
    if address and not is_web_url(str(address)):
        raise reader.refused("file_url", "A file's address must begin with https://.", code="invalid_value")
    if form == "address":
        return {**part, "file": _by_address(file)} if address else part
    where = address or data
    if not isinstance(where, str) or not where:
        raise reader.refused("file_id", "Files by their id are not supported here. Send 'file_data'.")
    named = str(name) if name else ""
    if form == "document_url":
        told = where if address or data_url(where) else _PDF + where
        return {"type": form, form: told, **({"document_name": named} if named else {})}
    found = None if address else data_url(where)
    return {"type": form, form: {"url": found[1] if found else where}, **({"file_name": named} if named else {})}


def _by_address(file: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: value for name, value in file.items() if name != "file_url"}
    return {**known, "file_data": file["file_url"]}
