"""Base models: which folders may be loaded at all. Nothing in a folder is ever executed.

Weights are safetensors alone, their headers bounded; a pickle, a Python file or a configuration that asks for code of
its own (``auto_map``) refuses the whole folder before any library opens it.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from trainer.training.generative import ADAPTER_FILES, Generation

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
_UNSAFE = frozenset(
    {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".npz", ".npy", ".py", ".so", ".joblib"}
)
_MAX_JSON, _MAX_TOKENIZER, _MAX_HEADER = 4 * 1024 * 1024, 128 * 1024 * 1024, 8 * 1024 * 1024
_HUB_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$")
_CODE = ("auto_map", "auto_mapping", "custom_pipelines", "trust_remote_code")


class BaseRefused(Exception):
    """The base cannot be used; the text says why, for a person."""


class Base(Struct, frozen=True):
    """A folder that may be loaded. ``width``: the model's hidden size; ``bytes``: of its weights."""

    path: str
    digest: str
    width: int
    vocabulary: int
    bytes: int
    parameters: int


def find(name: str, *, download: bool = False) -> Base:
    """The base called ``name``: a folder, or, when downloads are allowed, a name on the model hub. Raises
    BaseRefused."""
    if Path(name).is_dir():
        return check(Path(name))
    if not download:
        raise BaseRefused(
            f"there is no folder {name!r}; for a model from the hub set learn.generative.download: true"
        )
    if not _HUB_NAME.fullmatch(name):
        raise BaseRefused(f"{name!r} is neither a folder nor a hub name such as owner/model")
    return check(Path(_downloaded(name)))


def _downloaded(name: str) -> str:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise BaseRefused("downloads need the extra: pip install 'understudy[train]'") from None
    try:
        return str(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.jinja"]))
    except Exception as problem:  # the library has dozens of kinds, for network, names and rights
        raise BaseRefused(f"{name!r} could not be downloaded: {type(problem).__name__}") from None


def looked_at(folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """The configuration and the weights in ``folder``, looked at without any of the libraries that will load them.
    Raises BaseRefused."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        raise BaseRefused("its folder cannot be read") from None
    unsafe = [entry.name for entry in entries if entry.suffix.lower() in _UNSAFE]
    if unsafe:
        raise BaseRefused(
            f"it holds {', '.join(unsafe[:3])}: only safetensors weights and no code are accepted"
        )
    weights = [entry for entry in entries if entry.suffix == ".safetensors"]
    if not weights:
        raise BaseRefused("it has no safetensors weights")
    config = _json(folder, CONFIG)
    for entry in entries:
        if entry.suffix == ".json" and entry.name != TOKENIZER:
            _no_code(_json(folder, entry.name), entry.name)
    if not (folder / TOKENIZER).is_file() or (folder / TOKENIZER).stat().st_size > _MAX_TOKENIZER:
        raise BaseRefused(f"it needs a {TOKENIZER} of at most {_MAX_TOKENIZER} bytes")
    for one in weights:
        header(one)
    return config, weights


def check(folder: Path) -> Base:
    """A folder that holds a causal language model. Raises BaseRefused."""
    config, weights = looked_at(folder)
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else config
    width, vocabulary = text.get("hidden_size"), text.get("vocab_size")
    if not isinstance(width, int) or not isinstance(vocabulary, int):
        raise BaseRefused(f"its {CONFIG} is not that of a causal language model")
    return Base(
        path=str(folder.resolve()),
        digest=_digest(folder, [folder / CONFIG, folder / TOKENIZER, *weights]),
        width=width,
        vocabulary=vocabulary,
        bytes=sum(entry.stat().st_size for entry in weights),
        parameters=sum(_parameters(entry) for entry in weights),
    )


def _json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file() or path.stat().st_size > _MAX_JSON:
        raise BaseRefused(f"it needs a {name} of at most {_MAX_JSON} bytes")
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BaseRefused(f"its {name} is not JSON") from None
    return found if isinstance(found, dict) else {}


def _no_code(found: dict[str, Any], name: str) -> None:
    asked = [key for key in _CODE if found.get(key)]
    if asked:
        raise BaseRefused(f"its {name} asks for code of its own ({asked[0]}), which is never run")


def header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file, checked against the file's size. Raises BaseRefused."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(_MAX_HEADER, size - 8):
            raise BaseRefused(f"{path.name} has no safetensors header of at most {_MAX_HEADER} bytes")
        try:
            found = msgspec.json.decode(file.read(length), type=dict[str, dict[str, Any]])
            ends = [one["data_offsets"][1] for name, one in found.items() if name != "__metadata__"]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, IndexError, TypeError):
            raise BaseRefused(f"the header of {path.name} is not a safetensors header") from None
    if not ends or max(ends) != size - 8 - length:
        raise BaseRefused(f"{path.name} does not hold what its header says")
    return found


def hash_of(path: Path) -> str:
    """The SHA-256 of a file of any size. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(folder: Path, plan: Generation, hashes: Mapping[str, str]) -> None:
    """A generative student's files: exactly those it must have, regular, unchanged, and nothing in them that is run.
    Raises BaseRefused."""
    optional = {"generation_config.json"}
    if not set(plan.files) - optional <= set(hashes) <= set(plan.files):
        raise BaseRefused("the manifest names other files than a generative student has")
    for name, wanted in hashes.items():
        path = folder / name
        if path.is_symlink() or not path.is_file() or hash_of(path) != wanted:
            raise BaseRefused(f"{name} is not the file the manifest names")
        if path.suffix == ".safetensors":
            header(path)
        elif name != TOKENIZER:
            _no_code(_json(folder, name), name)
    if ADAPTER_FILES[0] in hashes and _json(folder, ADAPTER_FILES[0]).get("peft_type") != "LORA":
        raise BaseRefused("its adapter is not a LoRA adapter")


def _parameters(path: Path) -> int:
    shapes = [one["shape"] for name, one in header(path).items() if name != "__metadata__"]
    return sum(functools.reduce(lambda a, b: a * b, shape, 1) for shape in shapes)


def _digest(folder: Path, files: list[Path]) -> str:
    stamps = tuple((str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    return _hashed(stamps)


@functools.lru_cache(maxsize=16)
def _hashed(stamps: tuple[tuple[str, int, int], ...]) -> str:
    """The digest over every file's own; read again only when a size or a time changed."""
    whole = hashlib.sha256()
    for path, _, _ in stamps:
        whole.update(bytes.fromhex(hash_of(Path(path))))
    return whole.hexdigest()
