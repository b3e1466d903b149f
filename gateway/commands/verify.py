"""``understudy verify``: anyone may recompute a certificate from its own evidence, without the network.
``--journal``: the installation's own record instead."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path

from gateway.commands.common import fail, say
from gateway.commands.verify_journal import verify_journal
from gateway.storage.home import Home
from gateway.storage.signing import home_public_key
from gateway.storage.signing import verify as genuine
from optimizer.certificate import (
    Certificate,
    Envelope,
    Log,
    chain_problems,
    digest,
    read_envelope,
    recompute,
    to_json,
)

_LARGEST = 256 * 1024 * 1024


def verify(options: Namespace) -> int:
    """Exit status 0 when the signature is the expected one, everything follows from the evidence, and so do the
    student's earlier certificates where they lie beside this one."""
    if options.journal:
        return verify_journal()
    if options.certificate is None:
        return fail("name a certificate's file, or say --journal.")
    path: Path = options.certificate
    try:
        envelope = _read(path)
    except OSError as error:
        return fail(f"{path} cannot be read: {error.strerror}.")
    except ValueError as error:
        return fail(f"{path.name}: {error}")
    certificate = envelope.certificate
    _describe(certificate)
    problems = [*_signature_problems(envelope, options.public_key), *recompute(certificate)]
    problems += _before(envelope, path.parent)
    say()
    for problem in problems:
        say(f"  PROBLEM  {problem}")
    if problems:
        say(f"NOT VALID: {len(problems)} problem{'s' if len(problems) > 1 else ''}.")
        return 1
    move = f"{certificate.from_stage} -> {certificate.to_stage}"
    say(f"VALID: the signature is genuine and the verdict ({move}) follows from the evidence.")
    return 0


def _read(path: Path) -> Envelope:
    """Raises OSError or ValueError."""
    if path.stat().st_size > _LARGEST:
        raise ValueError("it is too large to be a certificate.")
    return read_envelope(path.read_bytes())


def _before(envelope: Envelope, folder: Path) -> list[str]:
    """Follows ``prev`` back to the screening, as far as the certificates lie beside this one. Each must be signed
    by the same key, follow from its own evidence, and lead to the one after it."""
    problems: list[str] = []
    later = envelope.certificate
    while later.prev is not None:
        path = next(iter(sorted(folder.glob(f"*-{later.prev[:8]}.json"))), None)
        if path is None:
            say(f"  before it  {later.prev[:16]} does not lie beside it and was not looked at")
            return problems
        try:
            earlier = _read(path)
        except (OSError, ValueError) as error:
            return [*problems, f"{path.name}, the certificate before it, cannot be read: {error}"]
        found = [*chain_problems(later, earlier.certificate), *recompute(earlier.certificate)]
        signed = genuine(earlier.public_key, earlier.signature, to_json(earlier.certificate))
        if not signed or earlier.public_key != envelope.public_key:
            found.append("it is not signed by the same key")
        problems += [f"{path.name}: {problem}" for problem in found]
        if found:
            return problems
        later = earlier.certificate
        say(f"  before it  {path.name}: {later.from_stage} -> {later.to_stage}, holds as well")
    return problems


def _describe(one: Certificate) -> None:
    issued = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(one.created_at))
    say(f"Certificate {digest(one)[:16]}, issued {issued}")
    say(
        f"  student    {one.student} (version {one.version}, recipe {one.recipe}) of {one.project}/{one.task}"
    )
    say(f"  transition {one.from_stage} -> {one.to_stage}, epoch {one.epoch}, round {one.multiplicity.round}")
    if one.multiplicity.picked:
        say(f"  picked     by calibration calls, the best of {one.multiplicity.candidates} candidates of its round")
    terms = one.terms
    say(
        f"  terms      target {terms.target:.1%}, margin {terms.margin:.1%}; error rates of this round: "
        f"alpha {terms.alpha:.4g} (false promotion), delta {terms.delta:.4g} (threshold)"
    )
    say(f"  evidence   {_evidence(one)}")
    if one.threshold is not None:
        say(f"  threshold  the student answers at a confidence of {one.threshold:.4f} and above")
    if one.deferred:
        say(f"  deferred   these slices stay with the teacher: {', '.join(one.deferred)}")
    for result in one.results:
        say(f"  gate       {result.gate}: {result.verdict.upper()} - {result.reason}")
        numbers = ", ".join(f"{name} {value:.6g}" for name, value in result.numbers.items())
        if numbers:
            say(f"             {numbers}")


def _evidence(one: Certificate) -> str:
    if isinstance(one.evidence, Log):
        answered = [outcome for outcome in one.evidence.outcomes if outcome.answered]
        agreed = sum(outcome.agree for outcome in answered)
        more = f"; {one.evidence.left_out:,} of callers who had their share" if one.evidence.left_out else ""
        return f"{len(one.evidence.outcomes):,} calls in order, {len(answered):,} answered, {agreed:,} agreed{more}"
    return f"{len(one.evidence.calibration):,} calibration and {len(one.evidence.holdout):,} holdout calls"


def _signature_problems(envelope: Envelope, expected: str | None) -> list[str]:
    """Whether the named signer signed exactly this, and whether it is the signer that was expected."""
    payload = to_json(envelope.certificate)
    if not genuine(envelope.public_key, envelope.signature, payload):
        return ["the signature does not belong to this content: it was changed after it was signed"]
    say(f"  signed by  {envelope.public_key}")
    wanted = expected or home_public_key(Home.from_env())
    if wanted is None:
        say("             (this installation has no key to compare with; name one with --public-key)")
        return []
    if wanted != envelope.public_key:
        who = "the key given by --public-key" if expected else "this installation's key"
        return [f"it was signed by another key than {who}; name a key that you trust with --public-key"]
    return []
