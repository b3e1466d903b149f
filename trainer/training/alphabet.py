"""A tokenizer's tokens as bytes, which is what two tokenizers have in common."""

from __future__ import annotations

import re
from typing import Any

_BYTE = re.compile(r"^<0x([0-9A-Fa-f]{2})>$")


class Alphabet:
    """Translates between token numbers and bytes, for byte-level and sentencepiece tokenizers."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._letters = _letters() if "ByteLevel" in str(tokenizer.backend_tokenizer.decoder) else None
        self._numbers: dict[bytes, int] | None = None

    def bytes_of(self, token: int) -> bytes:
        """The bytes a token stands for."""
        return self._bytes(str(self._tokenizer.convert_ids_to_tokens(token)))

    def token_of(self, name: bytes) -> int | None:
        """The token that stands for exactly these bytes; None when there is none."""
        if self._numbers is None:
            special = set(self._tokenizer.all_special_ids)
            table = self._tokenizer.get_vocab()
            self._numbers = {
                self._bytes(text): number for text, number in table.items() if number not in special
            }
        return self._numbers.get(name)

    def _bytes(self, text: str) -> bytes:
        if self._letters is not None:
            if all(letter in self._letters for letter in text):
                return bytes(self._letters[letter] for letter in text)
            return text.encode()
        byte = _BYTE.match(text)
        return bytes([int(byte[1], 16)]) if byte else text.replace("▁", " ").encode()


def _letters() -> dict[str, int]:
    """The printable letter that byte-level tokenizers write for each byte (Radford et al., GPT-2, 2019)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(256 + number): byte for number, byte in enumerate(others)
    }
