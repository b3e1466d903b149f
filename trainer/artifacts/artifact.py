"""A student on disk: ``manifest.json``, ``vocabulary.json`` and ``model.safetensors``; never a pickle.

Whoever loads an artifact trusts nothing in it: names, sizes, hashes, shapes and types are checked on the very
bytes that are then used, and anything unexpected refuses the whole artifact.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, TypeVar

import msgspec
import numpy as np
import safetensors.numpy
from msgspec import Meta, Struct

from gateway.local_models.encoder import Encoder, EncoderRefused
from gateway.local_models.encoder import load as load_encoder
from gateway.storage.settled import settle, sync_folder
from trainer.features.calls import CallLayout
from trainer.features.extraction import (
    Extraction,
    Writes,
    extraction_of,
    extraction_shapes,
    extraction_tensors,
)
from trainer.features.layout import Layout
from trainer.features.terms import MAX_CHARACTERS, MAX_WORDS, Floats, Vocabulary
from trainer.training.bases import BaseRefused, check_files, hash_of
from trainer.training.generative import Generation, Generative, Isotonic

FORMAT = 1
MANIFEST, MODEL, VOCABULARY = "manifest.json", "model.safetensors", "vocabulary.json"
SIGNATURE = "manifest.sig"
"""Beside the others once it is signed (``seal``)."""
MAX_ANSWERS = 200
MAX_TAGGER_TERMS = 60_000
_MAX_BYTES = {MANIFEST: 4 * 1024 * 1024, VOCABULARY: 32 * 1024 * 1024, MODEL: 64 * 1024 * 1024}
_MAX_HEADER = 64 * 1024
_LAYER = "encoder/"
"""Before the names of the layers that a student has of its own."""
_STUDENT = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,159}$")

T = TypeVar("T")
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Term = Annotated[str, Meta(min_length=1, max_length=128)]


class ArtifactRefused(Exception):
    """The artifact is missing, damaged or not one of ours; the text says which, without a path."""


class EncoderRef(Struct, frozen=True, forbid_unknown_fields=True):
    """The sentence encoder a student needs: its folder, and the digest of what must lie there."""

    path: str
    digest: Digest
    tuned: bool = False
    """Whether the student has layers of its own in place of the folder's."""


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """What a student is and where it comes from. ``files`` maps each other file to its SHA-256."""

    format: int
    recipe: str
    student: str
    dataset: str
    seed: int
    code_version: str
    environment: dict[str, str]
    answers: Annotated[list[str], Meta(max_length=MAX_ANSWERS)]
    max_answer_tokens: Annotated[int, Meta(ge=1)]
    training: dict[str, float]
    files: dict[str, Digest]
    encoder: EncoderRef | None = None
    layout: Layout | None = None
    """How an extractor writes its answers; None for a classifier, which has ``answers``."""
    calls: CallLayout | None = None
    """How an extractor writes tool calls, in place of ``layout``."""
    generation: Generation | None = None
    """What a generative student is; it has neither answers nor a layout."""
    calibration: Isotonic | None = None
    """How an extractor's log-probability becomes its confidence."""
    abstains: bool = False
    """Whether a classifier has one column more than ``answers``, for all others: it is never answered."""
    parent: Digest | None = None
    """The artifact whose weights this one began with (``learn.incremental``)."""
    crossfit: list[tuple[float, int]] = []
    """(confidence, column) of each training row by a model that never saw its fold: what calibrated it."""


class _Terms(Struct, frozen=True, forbid_unknown_fields=True):
    words: Annotated[list[Term], Meta(max_length=MAX_WORDS)]
    characters: Annotated[list[Term], Meta(max_length=MAX_CHARACTERS)]
    tagger: Annotated[list[Term], Meta(max_length=MAX_TAGGER_TERMS)] = []


@dataclass(frozen=True, slots=True)
class Parameters:
    """``idf`` (terms,), ``coefficients`` (terms + encoder size, answers), ``bias`` (answers,); all float32.
    ``abstains``: the last column is no answer: "none of them"."""

    vocabulary: Vocabulary
    idf: Floats
    coefficients: Floats
    bias: Floats
    temperature: float
    encoder: Encoder | None = None
    abstains: bool = False


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified artifact. ``digest`` is the SHA-256 of its manifest, which names every other hash."""

    manifest: Manifest
    parameters: Parameters | Extraction | Generative
    digest: str


def valid_student(name: str) -> bool:
    """Whether ``name`` may be a student's id: also a model name and a folder, so no separators and no dots
    in front."""
    return _STUDENT.fullmatch(name) is not None


# ---------------------------------------------------------------- writing
def save(folder: Path, manifest: Manifest, parameters: Parameters | Extraction | Generative) -> str:
    """Writes an artifact so that ``folder`` exists completely or not at all. ``manifest.files`` is filled in
    here. → its digest. Raises OSError."""
    if isinstance(parameters, Generative):
        sources = {name: parameters.folder / name for name in parameters.plan.files}
        hashes = {name: hash_of(path) for name, path in sources.items() if path.is_file()}
        text = _named(manifest, hashes)
        _write_folder(folder, {MANIFEST: text}, {name: sources[name] for name in hashes})
        return hashlib.sha256(text).hexdigest()
    tagger: list[str] = []
    if isinstance(parameters, Extraction):
        tensors, tagger = extraction_tensors(parameters), list(parameters.terms)
    else:
        tensors = {
            "idf": parameters.idf,
            "coefficients": parameters.coefficients,
            "bias": parameters.bias,
            "temperature": np.array([parameters.temperature], dtype=np.float32),
        }
    if parameters.encoder is not None:
        tensors |= {_LAYER + name: layer for name, layer in parameters.encoder.changed.items()}
    model = safetensors.numpy.save({name: np.ascontiguousarray(one) for name, one in tensors.items()})
    words, characters = list(parameters.vocabulary.words), list(parameters.vocabulary.characters)
    terms = _Terms(words=words, characters=characters, tagger=tagger)
    files = {MODEL: model, VOCABULARY: msgspec.json.encode(terms)}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    text = _named(manifest, hashes)
    _write_folder(folder, {**files, MANIFEST: text})
    return hashlib.sha256(text).hexdigest()


def _named(manifest: Manifest, hashes: dict[str, str]) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(manifest, files=hashes), order="deterministic")


def _write_folder(
    folder: Path, files: dict[str, bytes], copies: Mapping[str, Path] = MappingProxyType({})
) -> None:
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    for name, data in files.items():
        with (draft / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    for name, source in copies.items():
        shutil.copyfile(source, draft / name)
        with (draft / name).open("rb") as file:
            os.fsync(file.fileno())
    if folder.exists():  # an earlier attempt of the same run got this far
        shutil.rmtree(folder)
    sync_folder(draft)
    settle(draft, folder)


# ---------------------------------------------------------------- reading
def load(folder: Path) -> Artifact:
    """Reads and verifies an artifact. Raises ArtifactRefused."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.name != SIGNATURE)
    except OSError:
        raise ArtifactRefused("there is no such artifact") from None
    if MANIFEST not in names:
        raise ArtifactRefused(f"it has no {MANIFEST}")
    text = _read(folder, MANIFEST)
    manifest = _decode(text, Manifest, MANIFEST)
    wanted = list(_MAX_BYTES) if manifest.generation is None else [MANIFEST, *manifest.files]
    if names != sorted(wanted):
        raise ArtifactRefused(f"the artifact must hold exactly {', '.join(sorted(wanted))}")
    if manifest.format != FORMAT:
        raise ArtifactRefused(f"its format is {manifest.format}, this version reads format {FORMAT}")
    if manifest.student != folder.name:
        raise ArtifactRefused("the manifest belongs to another student")
    if manifest.generation is not None:
        return _generative(folder, manifest, manifest.generation, hashlib.sha256(text).hexdigest())
    if set(manifest.files) != {MODEL, VOCABULARY}:
        raise ArtifactRefused("the manifest names other files than an artifact has")
    layout = manifest.layout or manifest.calls
    named = (bool(manifest.answers), manifest.layout is not None, manifest.calls is not None)
    if sum(named) != 1:
        raise ArtifactRefused("the manifest must name either answers or a layout")
    vocabulary, tagger = _vocabulary(_verified(folder, VOCABULARY, manifest))
    encoder = _encoder(manifest.encoder)
    tuned = manifest.encoder is not None and manifest.encoder.tuned
    layers = encoder.layers() if encoder is not None and tuned else {}
    data = _verified(folder, MODEL, manifest, more=sum(one.nbytes for one in layers.values()))
    parameters: Parameters | Extraction
    if layout is not None:
        parameters = _extraction(data, vocabulary, tagger, layout, encoder, layers, manifest.calibration)
    else:
        parameters = _parameters(data, vocabulary, encoder, layers, manifest)
    return Artifact(manifest=manifest, parameters=parameters, digest=hashlib.sha256(text).hexdigest())


def _generative(folder: Path, manifest: Manifest, plan: Generation, digest: str) -> Artifact:
    if manifest.answers or manifest.layout or manifest.calls or manifest.encoder is not None:
        raise ArtifactRefused("the manifest mixes a generative student with another kind")
    try:
        plan.calibration.check()
        check_files(folder, plan, manifest.files)
    except (ValueError, BaseRefused) as problem:
        raise ArtifactRefused(str(problem)) from None
    return Artifact(manifest=manifest, parameters=Generative(folder, plan), digest=digest)


def _read(folder: Path, name: str, more: int = 0) -> bytes:
    """The bytes of a regular file of bounded size (``more``: beyond what is usual); links are not followed."""
    most = _MAX_BYTES[name] + more
    try:
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        raise ArtifactRefused(f"{name} cannot be read") from None
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_size > most:
            raise ArtifactRefused(f"{name} is not a regular file of at most {most} bytes")
        return file.read(most + 1)


def _verified(folder: Path, name: str, manifest: Manifest, more: int = 0) -> bytes:
    data = _read(folder, name, more)
    if hashlib.sha256(data).hexdigest() != manifest.files[name]:
        raise ArtifactRefused(f"the SHA-256 of {name} is not the one in the manifest")
    return data


def _decode(data: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ArtifactRefused(f"{name} is not what an artifact's {name} must be") from None


def _vocabulary(data: bytes) -> tuple[Vocabulary, dict[str, int]]:
    terms = _decode(data, _Terms, VOCABULARY)
    vocabulary = Vocabulary.of(terms.words, terms.characters)
    if vocabulary.size != len(terms.words) + len(terms.characters):
        raise ArtifactRefused("the vocabulary names a term twice")
    tagger = {term: column for column, term in enumerate(terms.tagger)}
    if len(tagger) != len(terms.tagger):
        raise ArtifactRefused("the vocabulary names a tagger's term twice")
    return vocabulary, tagger


def _encoder(wanted: EncoderRef | None) -> Encoder | None:
    if wanted is None:
        return None
    try:
        encoder = load_encoder(wanted.path)
    except EncoderRefused as problem:
        raise ArtifactRefused(str(problem)) from None
    if encoder.digest != wanted.digest:
        raise ArtifactRefused("the encoder is not the one the student was trained with")
    return encoder


def _parameters(
    data: bytes, vocabulary: Vocabulary, encoder: Encoder | None, layers: Mapping[str, Floats], manifest: Manifest
) -> Parameters:
    answers = len(manifest.answers) + manifest.abstains
    tensors, encoder = _parts(data, encoder, layers, {
        "idf": (vocabulary.size,),
        "coefficients": (vocabulary.size + (encoder.size if encoder else 0), answers),
        "bias": (answers,),
        "temperature": (1,),
    })  # fmt: skip
    return Parameters(
        vocabulary, tensors["idf"], tensors["coefficients"], tensors["bias"], _temperature(tensors["temperature"]),
        encoder, manifest.abstains,
    )  # fmt: skip


def _extraction(
    data: bytes, vocabulary: Vocabulary, tagger: dict[str, int], layout: Writes, encoder: Encoder | None,
    layers: Mapping[str, Floats], calibration: Isotonic | None,
) -> Extraction:  # fmt: skip
    try:
        layout.check()
        if calibration is not None:
            calibration.check()
    except ValueError as problem:
        raise ArtifactRefused(f"its layout cannot be used: {problem}") from None
    size = encoder.size if encoder else 0
    shapes = extraction_shapes(layout, vocabulary.size, len(tagger), size)
    tensors, encoder = _parts(data, encoder, layers, shapes)
    for name, tensor in tensors.items():
        if name.endswith("temperature"):
            _temperature(tensor)
    return extraction_of(layout, vocabulary, tagger, tensors, encoder, calibration)


def _parts(
    data: bytes, encoder: Encoder | None, layers: Mapping[str, Floats], shapes: dict[str, tuple[int, ...]]
) -> tuple[dict[str, Floats], Encoder | None]:
    """The student's tensors, and its encoder with its own ``layers`` where it has any."""
    own = {_LAYER + name: layer.shape for name, layer in layers.items()}
    tensors = _tensors(data, shapes | own)
    if encoder is not None and own:
        encoder = encoder.tuned({name.removeprefix(_LAYER): tensors.pop(name) for name in own})
    return tensors, encoder


def _temperature(tensor: Floats) -> float:
    if tensor[0] <= 0:
        raise ArtifactRefused("the temperature is not positive")
    return float(tensor[0])


def _tensors(data: bytes, shapes: dict[str, tuple[int, ...]]) -> dict[str, Floats]:
    """Exactly the tensors of these names and shapes, finite float32."""
    if len(data) < 8 or int.from_bytes(data[:8], "little") > min(_MAX_HEADER, len(data) - 8):
        raise ArtifactRefused(f"{MODEL} has no safetensors header of at most {_MAX_HEADER} bytes")
    try:
        tensors = safetensors.numpy.load(data)
    except Exception:  # the library raises its own and several built-in kinds for hostile bytes
        raise ArtifactRefused(f"{MODEL} is not a safetensors file") from None
    if set(tensors) != set(shapes):
        raise ArtifactRefused(f"{MODEL} must hold exactly the tensors {', '.join(shapes)}")
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32 or tensor.shape != shapes[name] or not np.isfinite(tensor).all():
            raise ArtifactRefused(f"the tensor {name} is not finite float32 of shape {shapes[name]}")
    return tensors
