"""An artifact's signature: the installation's word that its trainer made these very files.

``manifest.sig`` beside ``manifest.json``: the manifest names the hash of every other file, so its signature covers them
all. The engine serves nothing unsigned once the installation has a key. Students of older versions are signed when the
trainer starts, as far as their manifest is the one that the database names.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from gateway.storage.settled import settle
from gateway.storage.signing import verify
from optimizer.rollout import Student
from trainer.artifacts.artifact import MANIFEST, SIGNATURE, Artifact, ArtifactRefused, load
from trainer.certify import Signs


def seal(folder: Path, signer: Signs) -> None:
    """Signs an artifact. The same one again is the same file. Raises OSError."""
    text = signer.sign((folder / MANIFEST).read_bytes())
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.sig")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    settle(draft, folder / SIGNATURE)


def seal_known(students: Iterable[Student], artifacts: Path, signer: Signs) -> int:
    """Signs what lies there unsigned, or signed with a key that was replaced, and is what the database names. → how
    many."""
    sealed = 0
    for student in students:
        folder = artifacts / student.id
        try:
            text = (folder / MANIFEST).read_bytes()
            if hashlib.sha256(text).hexdigest() != student.artifact or _is_sealed(folder, signer.public_key):
                continue
            seal(folder, signer)
            sealed += 1
        except OSError:
            continue  # retired and removed, or not to be written to: it stays unsigned
    return sealed


def _is_sealed(folder: Path, public_key: str) -> bool:
    try:
        check(folder, public_key)
    except ArtifactRefused:
        return False
    return True


def signed(folder: Path, public_key: str | None) -> Artifact:
    """Reads and verifies an artifact that must be signed. Raises ArtifactRefused."""
    check(folder, public_key)
    return load(folder)


def check(folder: Path, public_key: str | None) -> None:
    """Raises ArtifactRefused for one that the owner of ``public_key`` has not signed; None: nobody signs here."""
    if public_key is None:
        return
    try:
        signature, text = (folder / SIGNATURE).read_text().strip(), (folder / MANIFEST).read_bytes()
    except (OSError, UnicodeDecodeError):
        raise ArtifactRefused(f"it has no {SIGNATURE}: this installation's trainer did not make it") from None
    if not verify(public_key, signature, text):
        raise ArtifactRefused(f"its {SIGNATURE} is not this installation's signature of its manifest")
