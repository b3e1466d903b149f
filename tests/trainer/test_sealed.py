"""Artifacts are signed by the trainer's installation, and the engine serves no others once there is a key."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from gateway.storage import signing
from gateway.storage.home import Home
from optimizer.rollout import Stage, Student
from trainer.artifacts.artifact import MANIFEST, SIGNATURE, ArtifactRefused, load
from trainer.artifacts.registry import store
from trainer.artifacts.seal import seal, seal_known, signed
from trainer.recipes import Example, train_first


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["invoice", "password"]
    rows = [Example(f"the {words[n % 2]} of {'abcdef'[n % 6] * 3} fails {n}", words[n % 2]) for n in range(60)]
    recipe, trained = train_first("auto", rows, seed=1, tick=lambda _, __: None)
    folder = tmp_path_factory.mktemp("made") / "stu-v1"
    store(folder, recipe, trained, "d" * 64, 1)
    return folder


@pytest.fixture
def home(tmp_path: Path, made: Path) -> Home:
    home = Home(tmp_path / "home").prepare()
    shutil.copytree(made, home.artifacts / "stu-v1")
    return home


def test_only_what_this_installation_signed_is_served(home: Home, tmp_path: Path) -> None:
    folder = home.artifacts / "stu-v1"
    assert signing.home_public_key(home) is None
    assert signed(folder, None).digest == load(folder).digest  # nobody signs here yet
    signer = signing.load_or_create(home)
    key = signing.home_public_key(home)
    with pytest.raises(ArtifactRefused, match=f"no {SIGNATURE}"):
        signed(folder, key)
    seal(folder, signer)
    first = (folder / SIGNATURE).read_bytes()
    seal(folder, signer)
    assert (folder / SIGNATURE).read_bytes() == first
    assert signed(folder, key).digest == load(folder).digest
    seal(folder, signing.load_or_create(Home(tmp_path / "another").prepare()))
    with pytest.raises(ArtifactRefused, match="not this installation's"):
        signed(folder, key)
    (folder / SIGNATURE).write_bytes(b"\xff")
    with pytest.raises(ArtifactRefused):
        signed(folder, key)


def test_a_changed_manifest_is_no_longer_signed(home: Home) -> None:
    folder = home.artifacts / "stu-v1"
    seal(folder, signing.load_or_create(home))
    manifest = folder / MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b'"seed":1', b'"seed":2'))
    with pytest.raises(ArtifactRefused, match="not this installation's"):
        signed(folder, signing.home_public_key(home))


def test_row_56_a_bit_that_flips_or_an_end_that_is_missing_anywhere_is_refused(home: Home) -> None:
    folder = home.artifacts / "stu-v1"
    seal(folder, signing.load_or_create(home))
    key, tried = signing.home_public_key(home), 0
    assert signed(folder, key)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for at in {*range(0, len(whole), 1024), len(whole) - 1}:
            flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
            for harmed in (flipped, whole[:at]):
                path.write_bytes(harmed)
                with pytest.raises(ArtifactRefused):
                    signed(folder, key)
                tried += 1
        path.unlink()
        with pytest.raises(ArtifactRefused):
            signed(folder, key)
        path.write_bytes(whole)
    assert signed(folder, key) and tried > 10


def test_students_of_older_versions_are_signed_if_they_are_what_the_database_names(home: Home) -> None:
    folder, signer = home.artifacts / "stu-v1", signing.load_or_create(home)

    def student(name: str, digest: str) -> Student:
        return Student(id=name, project="p", task="t", fingerprint="f", version=1, recipe="classifier", round=1,
                       threshold=0.9, artifact=digest, stage=Stage.LIVE)  # fmt: skip

    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    assert seal_known([student("stu-v1", "0" * 64), student("gone", digest)], home.artifacts, signer) == 0
    assert seal_known([student("stu-v1", digest)], home.artifacts, signer) == 1
    assert seal_known([student("stu-v1", digest)], home.artifacts, signer) == 0
    assert signed(folder, signing.home_public_key(home)).digest == digest
    for name in ("signing.key", "signing.pub"):
        (home.secrets / name).unlink()
    assert seal_known([student("stu-v1", digest)], home.artifacts, signing.load_or_create(home)) == 1
    assert signed(folder, signing.home_public_key(home)).digest == digest
