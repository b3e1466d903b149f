"""The installation's Ed25519 key: it signs certificates, so that anyone with the public half can check them."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.storage.home import Home
from gateway.storage.settled import make_folders, sync_folder


@dataclass(frozen=True, slots=True)
class Signer:
    _private: Ed25519PrivateKey

    @property
    def public_key(self) -> str:
        """Base64 of the 32 raw bytes."""
        return base64.b64encode(self._private.public_key().public_bytes_raw()).decode()

    def sign(self, payload: bytes) -> str:
        """Base64 of the 64-byte signature of ``payload``."""
        return base64.b64encode(self._private.sign(payload)).decode()


def load_or_create(home: Home) -> Signer:
    """The key in ``secrets/signing.key``, made on first use. Raises ValueError when the file is damaged."""
    private, public = home.secrets / "signing.key", home.secrets / "signing.pub"
    make_folders([home.secrets])
    fresh = base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw())
    signer = Signer(_parse(create_once(private, fresh)))
    create_once(public, signer.public_key.encode(), mode=0o644)
    return signer


def verify(public_key_b64: str, signature_b64: str, payload: bytes) -> bool:
    """Whether the signature is genuine; False as well for anything that is not a key or a signature."""
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key_b64, validate=True))
        public.verify(base64.b64decode(signature_b64, validate=True), payload)
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def home_public_key(home: Home) -> str | None:
    """This installation's public key (base64), or None while it has none."""
    try:
        return (home.secrets / "signing.pub").read_text().strip()
    except FileNotFoundError:
        return None


def create_once(path: Path, content: bytes, *, mode: int = 0o600) -> bytes:
    """What ``path`` holds, after writing ``content`` there if nobody has yet: all racers get the same bytes."""
    if not path.exists():
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(draft, path)  # atomic, and refuses to replace what another process was first to write
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        sync_folder(path.parent)  # what is written under this key outlives a power cut: so must the key
    return path.read_bytes()


def _parse(content: bytes) -> Ed25519PrivateKey:
    try:
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(content.strip(), validate=True))
    except (ValueError, binascii.Error):
        raise ValueError(
            "secrets/signing.key is damaged: restore it from a backup, or remove it to make a new key "
            "(certificates signed with the old one then verify only against the old public key)."
        ) from None
