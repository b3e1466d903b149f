"""``understudy verify``: a certificate is believed only when signature, signer and evidence all hold."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from gateway.cli import main
from gateway.storage.home import Home
from gateway.storage.signing import load_or_create
from optimizer.certificate import Certificate, Envelope, Log, Screening, conclude, digest, hidden, to_json
from optimizer.gates import Agreement, Latency, Outcome, terms_of
from optimizer.stats.multiplicity import divide

LEVELS = divide(0.05, 0.05, 1, earlier_promotions=0)


def certificate() -> Certificate:
    rng = random.Random(1)
    log = [Outcome(f"call-{i}", "", True, rng.random() < 0.99, 0.9, 3.0) for i in range(800)]
    return conclude(
        Certificate(
            kind="shadow", student="s1", project="p", task="triage", fingerprint="f" * 16, version=1,
            recipe="classifier", epoch=5, artifact="a" * 64, dataset="d" * 64, seed=0, code_version="0.1.0",
            created_at=1_700_000_000.0, terms=terms_of(0.95, 0.02, LEVELS), multiplicity=LEVELS,
            gates=(Agreement(), Latency()), evidence=Log(outcomes=hidden(log, "salt")), threshold=0.4, prev="e" * 64,
        )
    )  # fmt: skip


def write(path: Path, home: Home, one: Certificate) -> Path:
    signer = load_or_create(home)
    envelope = Envelope(certificate=one, signature=signer.sign(to_json(one)), public_key=signer.public_key)
    path.write_bytes(to_json(envelope))
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home").prepare()


def test_a_genuine_certificate(tmp_path: Path, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "c.json", home, certificate())
    assert main(["verify", str(path)]) == 0
    text = capsys.readouterr().out
    assert "shadow -> canary" in text
    assert "800 calls in order" in text
    assert "agreement: PASS" in text
    assert "VALID: the signature is genuine" in text


def test_a_changed_certificate(tmp_path: Path, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "c.json", home, certificate())
    path.write_bytes(path.read_bytes().replace(b'"task":"triage"', b'"task":"payout"'))
    assert main(["verify", str(path)]) == 1
    assert "changed after it was signed" in capsys.readouterr().out


def test_a_signed_claim_that_does_not_follow(
    tmp_path: Path, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    one = certificate()
    claimed = msgspec.structs.replace(one, terms=msgspec.structs.replace(one.terms, alpha=0.5))
    assert main(["verify", str(write(tmp_path / "c.json", home, claimed))]) == 1
    assert "NOT VALID" in capsys.readouterr().out


def test_another_signer(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Home(tmp_path / "other").prepare()
    path = write(tmp_path / "c.json", other, certificate())
    load_or_create(home)
    assert main(["verify", str(path)]) == 1
    assert "another key than this installation's" in capsys.readouterr().out
    assert main(["verify", str(path), "--public-key", load_or_create(other).public_key]) == 0
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "none"))
    assert main(["verify", str(path)]) == 0
    assert "no key to compare with" in capsys.readouterr().out


def test_what_is_no_certificate(tmp_path: Path, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.json").write_text('{"certificate": 1}')
    assert main(["verify", str(tmp_path / "c.json")]) == 1
    assert main(["verify", str(tmp_path / "nowhere.json")]) == 1
    error = capsys.readouterr().err
    assert "this is not a envelope" in error or "not an envelope" in error
    assert "cannot be read: No such file or directory." in error


def chain(**changes: object) -> tuple[Certificate, Certificate]:
    """A screening, and the shadow certificate that follows it."""
    later = certificate()
    marks = tuple((0.5 + i / 4000, True) for i in range(1200))
    draft = msgspec.structs.replace(
        later, kind="screening", epoch=4, gates=(), evidence=Screening(calibration=marks, holdout=marks[:300]),
        threshold=None, prev=None, **changes,
    )  # fmt: skip
    first = conclude(draft)
    return first, conclude(msgspec.structs.replace(later, prev=digest(first), threshold=first.threshold))


def test_the_certificates_before_it_are_followed(
    tmp_path: Path, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    first, later = chain()
    path = write(tmp_path / "later.json", home, later)
    assert main(["verify", str(path)]) == 0
    assert "does not lie beside it and was not looked at" in capsys.readouterr().out
    write(tmp_path / f"s1-shadow-{digest(first)[:8]}.json", home, first)
    assert main(["verify", str(path)]) == 0
    assert "candidate -> shadow, holds as well" in capsys.readouterr().out


def test_a_chain_that_does_not_hold(tmp_path: Path, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    first, later = chain(dataset="e" * 64, artifact="b" * 64)
    write(tmp_path / f"s1-shadow-{digest(first)[:8]}.json", home, first)
    assert main(["verify", str(write(tmp_path / "later.json", home, later))]) == 1
    assert "artifact differs from the certificate before it" in capsys.readouterr().out
    (tmp_path / f"s1-shadow-{digest(first)[:8]}.json").write_text("{}")
    assert main(["verify", str(tmp_path / "later.json")]) == 1
    assert "cannot be read" in capsys.readouterr().out
