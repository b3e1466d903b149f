"""What an operator's own examples taught about attacks: linear heads over hashed features, in numpy.

A folder holds ``manifest.json`` and ``model.safetensors``: numbers and names, nothing that is executed. Features of a
text, taken from its :func:`~gateway.guardrails.plain.plain` form so that disguises change little: single words and
pairs, character 3-5-grams (both hashed, Weinberger et al., Feature Hashing, 2009; sublinear counts, each of length
one), the same of how the text begins and how it ends, which of the written rules fit, and the text's
:mod:`~gateway.guardrails.injection.shape`. Each stands there once for all texts and once for texts of about the same
length: "write a guide to a burglary" is a plain request in a line, and part of a jailbreak in a page of role play.
``fitting`` makes such a folder.
"""

from __future__ import annotations

import hashlib
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
from msgspec import Struct

from gateway.guardrails.injection.rules import RULES, matches, structure
from gateway.guardrails.injection.shape import NAMES, shape
from gateway.guardrails.plain import hidden, plain, variants

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

FORMAT = 4
MANIFEST, MODEL = "manifest.json", "model.safetensors"
_LARGEST = 64 * 1024 * 1024
_BITS = 18
_MASK = (1 << _BITS) - 1
_WINDOW = 8000
"""Characters that are read together."""
_WINDOWS = 8
_TOKEN = re.compile(r"\w+|[^\w\s]")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio (Knuth, volume 3, 6.4)
_SIGNS = [*(rule.name for rule in RULES), "row-of-marks", "adversarial-suffix", "mixed-alphabets"]
_COLUMN = {name: at for at, name in enumerate(_SIGNS)}
_SIGN_WEIGHT, _SHAPE_WEIGHT = 0.5, 1.0  # numbers beside whole blocks of length one
_DENSE = len(_SIGNS) + 2 + len(NAMES)
_FIRST, _STEP, _ROOMS = 3.0, 0.75, 8
"""Lengths, as logarithms of characters: 20 characters, a little more than twice as many each time, 3,800 and more."""
_BEGINNING, _END = 200, 250  # characters: who is cast there, and what is asked or glued on in the end
_PART = 0.5**0.5  # the weight of either beside the whole text
_SHARED = 0.5  # the weight of what stands there for texts of all lengths
COLUMNS = (2 << _BITS) + (1 + _ROOMS) * _DENSE


class HeadFacts(Struct, frozen=True, forbid_unknown_fields=True):
    """A text whose log-odds are above ``threshold`` is an attack of this head's kind."""

    name: str
    bias: float
    threshold: float


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """``vocabulary``: digest of the features' definition; another release's features would mean something else.
    ``by_length``: whether what stands in a text is told apart by the text's length."""

    format: int
    vocabulary: str
    heads: list[HeadFacts]
    attacks: int
    benign: int
    false_positives: float
    by_length: bool
    model_sha256: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """``weights`` has one row of :data:`COLUMNS` numbers for each head."""

    manifest: Manifest
    weights: Mapping[str, Floats]

    def scores(self, text: str) -> list[float]:
        """Log-odds by head, the highest of any window."""
        found = [features(window, by_length=self.manifest.by_length) for window in windows(text)]
        return [
            head.bias + max(float(self.weights[head.name][where] @ value) for where, value in found)
            for head in self.manifest.heads
        ]

    def attacks(self, text: str) -> bool:
        """Whether any head reads ``text`` as an attack."""
        return any(
            score > head.threshold for head, score in zip(self.manifest.heads, self.scores(text), strict=True)
        )


def vocabulary() -> str:
    """Digest of what the columns mean."""
    meaning = (
        FORMAT, _BITS, _WINDOW, _SIGN_WEIGHT, _SHAPE_WEIGHT, _SIGNS, NAMES, _FIRST, _STEP, _ROOMS, _SHARED,
        _BEGINNING, _END, _PART,
    )  # fmt: skip
    return hashlib.sha256(repr(meaning).encode()).hexdigest()[:16]


def windows(text: str) -> list[str]:
    """``text`` in the pieces that are judged; what follows the last of them is left to the rules."""
    last = min(max(len(text), 1), _WINDOW * _WINDOWS)
    return [text[at : at + _WINDOW] for at in range(0, last, _WINDOW)]


def features(text: str, *, by_length: bool = True) -> tuple[Indices, Floats]:
    """Columns of ``text`` (at most one window is meant) that are not zero, and their values. Two terms that share a
    column count there together."""
    folded = " ".join(plain(text).split())
    blocks = _blocks(folded, parts=by_length)
    numbers = _numbers(text, folded)
    where, value = [], []
    for room, weight in _rooms(len(text)) if by_length else [(0, np.float32(1))]:
        for number, (hashed, counted) in enumerate(blocks):
            where.append((hashed ^ _salt(room)) + (number % 2 << _BITS))
            value.append(counted * weight)
        where.append(np.arange(_DENSE) + ((2 << _BITS) + room * _DENSE))
        value.append(numbers * weight)
    return np.concatenate(where), np.concatenate(value)


def _blocks(folded: str, *, parts: bool) -> list[tuple[Indices, Floats]]:
    """Words and characters in turn: of the whole text, and with ``parts`` of its beginning and of its end, whose terms
    have columns of their own."""
    found = [_block(_words(folded)), _block(_characters(folded))]
    for part, said in enumerate((folded[:_BEGINNING], folded[-_END:]) if parts else (), 1):
        for where, value in (_block(_words(said)), _block(_characters(said))):
            found.append((where ^ _salt(_ROOMS + part), value * np.float32(_PART)))
    return found


def _rooms(characters: int) -> list[tuple[int, np.float32]]:
    """Where a text of so many characters stands, and how much of it: room 0 is everybody's, and between two lengths it
    is in the rooms of both, so that a character more changes little."""
    at = (min(max(math.log1p(characters), _FIRST), _FIRST + _STEP * (_ROOMS - 1)) - _FIRST) / _STEP
    room, share = int(at), at - int(at)
    found = [(0, _SHARED), (1 + room, math.sqrt(1 - share)), *([(2 + room, math.sqrt(share))] if share else [])]
    return [(one, np.float32(weight)) for one, weight in found]


def _salt(room: int) -> int:
    """What moves a room's terms to columns of their own."""
    return (room * 0x9E3779B1 >> 7) & _MASK


def _words(folded: str) -> Indices:
    tokens = _TOKEN.findall(folded)
    terms = [*tokens, *(f"{left} {right}" for left, right in pairwise(tokens))]
    coded = (term.encode("utf-8", "surrogatepass") for term in terms)
    return np.fromiter((zlib.crc32(term) >> (32 - _BITS) for term in coded), dtype=np.int64, count=len(terms))


def _characters(folded: str) -> Indices:
    codes = np.frombuffer(f" {folded} ".encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    found = []
    for size in (3, 4, 5):
        count = len(codes) - size + 1
        mixed = np.full(max(count, 0), size, dtype=np.uint64)
        for at in range(size if count > 0 else 0):
            mixed = (mixed ^ codes[at : at + count]) * _MULTIPLIER
            mixed ^= mixed >> np.uint64(29)
        found.append(mixed >> np.uint64(64 - _BITS))
    return np.concatenate(found).astype(np.int64)


def _block(hashed: Indices) -> tuple[Indices, Floats]:
    where, count = np.unique(hashed, return_counts=True)
    value = 1.0 + np.log(count)
    length = float(np.sqrt(value @ value))
    return where, (value / length if length else value).astype(np.float32)


def _numbers(text: str, folded: str) -> Floats:
    """Which rules fit, how much they weigh together, the length and the shape."""
    found = dict([*structure(text), *matches(folded)])
    for reading in [*variants(folded), *hidden(text)]:
        found.update(matches(reading))
    signs = np.zeros(len(_SIGNS) + 2, dtype=np.float32)
    signs[[_COLUMN[name] for name in found if name in _COLUMN]] = 1.0
    signs[-2:] = min(sum(found.values()), 2.0), min(np.log1p(len(text)) / 8, 1.0)
    looks = np.array(shape(text), dtype=np.float32)
    return np.concatenate([signs * np.float32(_SIGN_WEIGHT), looks * np.float32(_SHAPE_WEIGHT)])


def save(folder: Path, fitted: Fitted) -> None:
    """Writes the folder. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    data = safetensors.numpy.save(dict(fitted.weights))
    manifest = msgspec.structs.replace(fitted.manifest, model_sha256=hashlib.sha256(data).hexdigest())
    (folder / MODEL).write_bytes(data)
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")


@lru_cache(maxsize=16)
def load(path: str) -> Fitted:
    """The model in a folder, once a process. Raises ValueError with a sentence for the operator."""
    folder = Path(path)
    try:
        manifest = msgspec.json.decode(_read(folder / MANIFEST), type=Manifest)
        data = _read(folder / MODEL)
    except OSError as problem:
        raise ValueError(f"no fitted model can be read there ({problem.strerror}).") from None
    except msgspec.MsgspecError:
        raise ValueError(f"its {MANIFEST} is not that of a fitted model.") from None
    if manifest.format != FORMAT or manifest.vocabulary != vocabulary():
        raise ValueError("it was fitted by another release; run 'understudy guards train' again.")
    if hashlib.sha256(data).hexdigest() != manifest.model_sha256:
        raise ValueError(f"its {MODEL} is not the one that {MANIFEST} names.")
    try:
        weights = safetensors.numpy.load(data)
    except safetensors.SafetensorError:
        raise ValueError(f"its {MODEL} is damaged.") from None
    names = {head.name for head in manifest.heads}
    shaped = all(one.shape == (COLUMNS,) and one.dtype == np.float32 for one in weights.values())
    if not names or names != weights.keys() or not shaped:
        raise ValueError(f"its {MODEL} does not hold what {MANIFEST} says.")
    return Fitted(manifest, weights)


def _read(file: Path) -> bytes:
    if file.stat().st_size > _LARGEST:
        raise OSError(27, "File too large")
    return file.read_bytes()
