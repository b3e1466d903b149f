from __future__ import annotations

import msgspec
import pytest

from gateway.storage.home import Home
from gateway.storage.journal import GENESIS, entry_hash, first_break
from gateway.storage.signing import home_public_key, load_or_create, verify
from gateway.storage.values import JournalEntry


def chain(length: int) -> list[JournalEntry]:
    entries: list[JournalEntry] = []
    prev = GENESIS
    for epoch in range(1, length + 1):
        rest = {"epoch": epoch, "at": 1.5, "kind": "admin", "actor": "ann", "subject": "x", "action": "y"}
        rest |= {"reason": "", "detail": {"b": epoch, "a": 0.1}}
        digest = entry_hash(prev, **rest)  # type: ignore[arg-type]
        entries.append(JournalEntry(prev=prev, hash=digest, **rest))  # type: ignore[arg-type]
        prev = digest
    return entries


def test_an_untouched_chain_holds() -> None:
    entries = chain(5)
    assert first_break(entries) is None
    assert first_break(entries, head=entries[-1].hash) is None
    assert first_break([]) is None


@pytest.mark.parametrize("field", ["at", "actor", "subject", "action", "reason", "detail"])
def test_any_changed_field_breaks_it(field: str) -> None:
    entries = chain(5)
    values = {"at": 2.0, "detail": {"a": 0.1}}
    entries[2] = msgspec.structs.replace(entries[2], **{field: values.get(field, "forged")})
    assert first_break(entries) == 3


def test_removed_swapped_and_cut_lines_break_it() -> None:
    entries = chain(5)
    assert first_break(entries[:2] + entries[3:]) == 3
    assert first_break([entries[1], entries[0], *entries[2:]]) == 1
    assert first_break(entries[:4], head=entries[-1].hash) == 5


def test_signatures_verify_and_forgeries_do_not(home: Home) -> None:
    assert home_public_key(home) is None
    signer = load_or_create(home)
    assert load_or_create(home).public_key == signer.public_key == home_public_key(home)
    signature = signer.sign(b"certificate")
    assert verify(signer.public_key, signature, b"certificate")
    assert not verify(signer.public_key, signature, b"certificates")
    assert not verify(signer.public_key, "not base64!", b"certificate")
    assert not verify("AAAA", signature, b"certificate")
    assert (home.secrets / "signing.key").stat().st_mode & 0o777 == 0o600


def test_a_damaged_key_is_explained(home: Home) -> None:
    (home.secrets / "signing.key").write_text("nonsense")
    with pytest.raises(ValueError, match="damaged"):
        load_or_create(home)
