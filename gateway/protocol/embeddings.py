"""Embeddings on the wire: what a client may ask, and vectors as numbers or as base64 of little-endian float32."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Any, Literal, cast

from gateway.errors import BadRequest

Encoding = Literal["float", "base64"]
MOST_INPUTS = 2048


def check_request(data: dict[str, Any]) -> Encoding:
    """The encoding the client wants; takes an ``encoding_format`` of null out of ``data``. Raises BadRequest."""
    if data.get("encoding_format", "") is None:
        del data["encoding_format"]
    asked = data.get("encoding_format", "float")
    if asked not in ("float", "base64"):
        raise BadRequest("'encoding_format' must be 'float' or 'base64'.", param="encoding_format")
    dimensions = data.get("dimensions")
    if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
        raise BadRequest("'dimensions' must be a positive whole number.", param="dimensions")
    _check_input(data.get("input"))
    return cast(Encoding, asked)


def _check_input(given: Any) -> None:
    if given is None:
        raise BadRequest(
            "Missing required parameter: 'input'.", param="input", code="missing_required_parameter"
        )
    if isinstance(given, str):
        items: list[Any] = [given]
    elif isinstance(given, list) and all(type(one) is int for one in given):
        items = [given]
    elif isinstance(given, list) and all(_is_item(one) for one in given):
        items = given
    else:
        raise BadRequest(
            "'input' must be a text, a list of texts, tokens, or a list of token lists.", param="input"
        )
    if not given or any(not one for one in items):
        raise BadRequest("'input' cannot be empty, nor hold an empty text.", param="input")
    if len(items) > MOST_INPUTS:
        raise BadRequest(f"'input' takes at most {MOST_INPUTS} items.", param="input")


def _is_item(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(type(one) is int for one in value))


def texts_in(given: Any) -> str:
    """The text of an input; tokens count four characters each, as words do not come back from them."""
    if isinstance(given, str):
        return given
    if all(isinstance(one, str) for one in given):
        return "\n".join(given)
    tokens = sum(len(one) if isinstance(one, list) else 1 for one in given)
    return " " * (4 * tokens)


def encode_as(data: dict[str, Any], asked: Encoding) -> None:
    """Rewrites the vectors of an answer in place as ``asked``. Raises ValueError for one that is no vector."""
    items = data.get("data")
    if not isinstance(items, list):
        raise ValueError("an answer without a list of embeddings")  # noqa: TRY004 - the provider's junk
    for item in items:
        vector = item.get("embedding") if isinstance(item, dict) else None
        if isinstance(vector, list) and asked == "base64":
            item["embedding"] = to_base64(vector)
        elif isinstance(vector, str) and asked == "float":
            item["embedding"] = from_base64(vector)
        elif not isinstance(vector, list | str):
            raise ValueError("an embedding that is neither numbers nor base64")


def to_base64(vector: list[float]) -> str:
    """Raises ValueError for what is no list of numbers that float32 can hold."""
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (struct.error, OverflowError, TypeError):
        raise ValueError("an embedding with something else than numbers") from None


def from_base64(text: str) -> list[float]:
    """Raises ValueError."""
    try:
        raw = base64.b64decode(text, validate=True)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    except (binascii.Error, struct.error):
        raise ValueError("an embedding that is not base64 of float32") from None
