"""A base that could run code, or lies about its size, is refused before a library opens it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.training.bases import BaseRefused, check, find


def bare(folder: Path) -> Path:
    """The smallest folder that passes: one tensor of four bytes."""
    folder.mkdir()
    head = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b"\0" * 4)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", "hidden_size": 64, "vocab_size": 300})
    )
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


def test_a_plain_folder_passes_and_is_named_by_its_content(tmp_path: Path) -> None:
    folder = bare(tmp_path / "base")
    found = check(folder)
    assert (found.width, found.vocabulary, found.parameters) == (64, 300, 1)
    (folder / "tokenizer.json").write_text('{"changed": true}')
    assert check(folder).digest != found.digest


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "weights.pt", "model.PKL", "modeling_evil.py", "x.ckpt"]
)
def test_pickles_and_code_are_refused(tmp_path: Path, name: str) -> None:
    folder = bare(tmp_path / "base")
    (folder / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/pwned'\ntR.")
    with pytest.raises(BaseRefused, match=name):
        check(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_a_configuration_with_code_is_refused(tmp_path: Path, file: str) -> None:
    folder = bare(tmp_path / "base")
    known = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps(known | {"auto_map": {"AutoModel": "evil--modeling.Evil"}}))
    with pytest.raises(BaseRefused, match="code of its own"):
        check(folder)


@pytest.mark.parametrize(
    "data",
    [
        (2**40).to_bytes(8, "little") + b"{}",
        (9 * 1024 * 1024).to_bytes(8, "little") + b" " * (9 * 1024 * 1024),
        (2).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + b"nope",
        b"",
    ],
    ids=["huge", "oversize", "empty", "junk", "nothing"],
)
def test_a_header_that_cannot_be_is_refused(tmp_path: Path, data: bytes) -> None:
    folder = bare(tmp_path / "base")
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(BaseRefused):
        check(folder)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    folder = bare(tmp_path / "base")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(BaseRefused):
        check(folder)


def test_a_hub_name_needs_permission(tmp_path: Path) -> None:
    with pytest.raises(BaseRefused, match="download: true"):
        find("owner/model")
    with pytest.raises(BaseRefused, match="neither a folder nor a hub name"):
        find("../nowhere/at/all", download=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BaseRefused, match="no safetensors"):
        find(str(tmp_path / "empty"))
