"""Check digits by which identifiers know themselves. Pure; each takes a text and says whether its digits fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.texts.known_numbers import iban_valid, luhn

_NIF = "TRWAGMYFPDXBNJZSQVHLCKE"
_CF_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_VERHOEFF_D = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_P = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def _digits(text: str) -> list[int]:
    return [int(letter) for letter in text if letter.isascii() and letter.isdigit()]


def _weighted(digits: list[int], weights: tuple[int, ...]) -> int:
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=True))


def _luhn(text: str) -> bool:
    digits = _digits(text)
    return len(digits) > 1 and luhn("".join(map(str, digits)))


def _mod97(text: str) -> bool:
    """ISO 7064 MOD 97-10, as IBANs and many registers use it."""
    letters = "".join(letter for letter in text.upper() if letter.isascii() and letter.isalnum())
    return len(letters) > 4 and iban_valid(letters)


def _mod11_10(text: str) -> bool:
    """ISO 7064 MOD 11,10: German tax numbers for persons (Steuer-ID)."""
    digits, product = _digits(text), 10
    for digit in digits[:-1]:
        total = (digit + product) % 10 or 10
        product = total * 2 % 11
    return len(digits) > 1 and (11 - product) % 10 == digits[-1]


def _nhs(text: str) -> bool:
    digits = _digits(text)
    if len(digits) != 10:
        return False
    check = 11 - _weighted(digits[:9], (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return check % 11 == digits[9] and check != 10


def _nir(text: str) -> bool:
    """French social security: 13 digits, Corsica's letters among them, and 97 less their remainder."""
    letters = "".join(letter for letter in text.upper() if letter.isalnum())
    body = letters[:13].replace("2A", "19").replace("2B", "18")
    return len(letters) == 15 and body.isdigit() and 97 - int(body) % 97 == int(letters[13:])


def _nif(text: str) -> bool:
    letters = "".join(letter for letter in text.upper() if letter.isalnum())
    body = {"X": "0", "Y": "1", "Z": "2"}.get(letters[:1], letters[:1]) + letters[1:-1]
    return body.isdigit() and _NIF[int(body) % 23] == letters[-1]


def _codice_fiscale(text: str) -> bool:
    if len(text) != 16 or not (text.isascii() and text.isalnum()):
        return False
    total = 0
    for place, letter in enumerate(text.upper()[:15]):
        value = int(letter) if letter.isdigit() else ord(letter) - 65
        total += value if place % 2 else _CF_ODD[value]
    return chr(65 + total % 26) == text[15].upper()


def _bsn(text: str) -> bool:
    digits = _digits(text)
    return len(digits) == 9 and _weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and any(digits)


def _pesel(text: str) -> bool:
    digits = _digits(text)
    return len(digits) == 11 and _weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0 and any(digits)


def _cpf(text: str) -> bool:
    digits = _digits(text)
    if len(digits) != 11 or len(set(digits)) == 1:
        return False
    first = _weighted(digits[:9], (10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    second = _weighted(digits[:10], (11, 10, 9, 8, 7, 6, 5, 4, 3, 2)) * 10 % 11 % 10
    return [first, second] == digits[9:]


def _verhoeff(text: str) -> bool:
    """Verhoeff's check (1969), which Indian Aadhaar numbers use."""
    digits, check = _digits(text), 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_VERHOEFF_D[check][int(_VERHOEFF_P[place % 8][digit])])
    return len(digits) > 1 and check == 0


def _tfn(text: str) -> bool:
    digits = _digits(text)
    return len(digits) == 9 and _weighted(digits, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0 and any(digits)


def _none(text: str) -> bool:
    return True


CHECKSUMS: Mapping[str, Callable[[str], bool]] = {
    "none": _none, "luhn": _luhn, "mod97": _mod97, "mod11_10": _mod11_10, "verhoeff": _verhoeff, "nhs": _nhs,
    "nir": _nir, "nif": _nif, "codice_fiscale": _codice_fiscale, "bsn": _bsn, "pesel": _pesel, "cpf": _cpf, "tfn": _tfn,
}  # fmt: skip
