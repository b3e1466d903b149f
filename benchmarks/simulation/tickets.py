"""Support tickets as free text, from a seed. Ticket ``number`` of a seed is the same text everywhere."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from benchmarks.simulation import phrases

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
_LETTERS = re.compile(r"[A-Za-z]{5,}")
_ISSUES = tuple(phrases.SHARES)
_WEIGHTS = tuple(phrases.SHARES.values())


@dataclass(frozen=True, slots=True)
class Ticket:
    """``issues`` is what its writer meant, the main one first; the teacher never sees it."""

    text: str
    issues: tuple[str, ...]


def ticket(seed: int, number: int) -> Ticket:
    """Ticket ``number`` of the stream with this seed."""
    rng = random.Random(f"{seed}/{number}")
    issues = _issues(rng)
    values: dict[str, str] = {}
    channel = rng.choices(("email", "chat", "form", "terse"), (42, 28, 12, 18))[0]
    body = _body(rng, values, issues, channel)
    if rng.random() < 0.10:
        body = _non_native(rng, body)
    if rng.random() < 0.17:
        body = _mistyped(rng, body)
    return Ticket(text=_dressed(rng, values, body, channel), issues=issues)


def tickets(seed: int, start: int = 0) -> Iterator[Ticket]:
    """All tickets of a seed from ``start`` on, without end."""
    return (ticket(seed, number) for number in count(start))


def _issues(rng: random.Random) -> tuple[str, ...]:
    main = rng.choices(_ISSUES, _WEIGHTS)[0]
    if main == "other.spam" or rng.random() > 0.09:
        return (main,)
    second = rng.choices(_ISSUES, _WEIGHTS)[0]
    return (main,) if second in (main, "other.spam") else (main, second)


def _body(rng: random.Random, values: dict[str, str], issues: tuple[str, ...], channel: str) -> str:
    said = [rng.choice(phrases.SENTENCES[issues[0]])]
    if channel in {"email", "form"} and rng.random() < 0.55:
        said.append(rng.choice(phrases.SENTENCES[issues[0]]))
    if len(issues) > 1:
        also = rng.choice(("Also, ", "And another thing: ", "Besides, ", "Second: ", ""))
        said.insert(
            rng.randint(0, 1) if not also else len(said), also + rng.choice(phrases.SENTENCES[issues[1]])
        )
    if channel != "terse" and rng.random() < 0.34:
        said.insert(rng.randint(0, len(said)), rng.choice(phrases.ASIDES))
    if channel == "email" and rng.random() < 0.30:
        said.append(rng.choice(phrases.ASIDES))
    if channel != "terse":
        said.insert(rng.randint(0, len(said)), rng.choice(phrases.MOODS))
        said.append(rng.choice(phrases.ASKS))
    sentences = [_said(rng, values, one) for one in dict.fromkeys(said) if one]
    if channel == "email" and len(sentences) > 3 and rng.random() < 0.5:
        sentences[1] = sentences[1] + "\n\n"
    return re.sub(r"\n\n ", "\n\n", " ".join(sentences)).strip()


def _dressed(rng: random.Random, values: dict[str, str], body: str, channel: str) -> str:
    """The body as its channel shows it: mail with greeting and signature, chat, web form, a single line."""
    if channel == "email":
        greeting = _said(rng, values, rng.choice(phrases.GREETINGS))
        closing = _said(rng, values, rng.choice(phrases.CLOSINGS))
        subject = f"Subject: {_subject(rng, values)}\n\n" if rng.random() < 0.35 else ""
        return subject + "\n\n".join(part for part in (greeting, body, closing) if part)
    if channel == "form":
        reference = _said(rng, values, rng.choice(("Order: {order}\n", "Account: {email}\n", "")))
        return _said(rng, values, "Product: {product}\n") + reference + "Message: " + body
    if channel == "chat" and rng.random() < 0.7:
        body = body.lower().replace(". ", rng.choice((" ", ". ", "... "))).rstrip(".")
        return rng.choice(("hi ", "hey, ", "hello ", "")) + body
    if channel == "terse" and rng.random() < 0.6:
        tail = ("Thx {name}", "{email}", "Order {order}.", "ASAP!", "{phone}", "- {name}, {company}")
        return body + " " + _said(rng, values, rng.choice(tail))
    return body


def _subject(rng: random.Random, values: dict[str, str]) -> str:
    plain = (
        "Question",
        "Help needed",
        "{product}",
        "Order {order}",
        "Problem with {product}",
        "Urgent!",
        "Re: ticket",
    )
    return _said(rng, values, rng.choice(plain))


def _said(rng: random.Random, values: dict[str, str], template: str) -> str:
    """A template with its choices made and its slots filled."""
    while "[" in template:
        template = _CHOICE.sub(lambda found: rng.choice(found[1].split("|")), template)
    return _SLOT.sub(lambda found: _value(rng, values, found[1]), template)


def _value(rng: random.Random, values: dict[str, str], slot: str) -> str:
    """A ticket speaks of one customer, one order and one product, but of many moments and actions."""
    if slot in values:
        return values[slot]
    made = _made_up(rng, values, slot)
    if slot in {"product", "name", "email", "order", "company", "phone", "device", "plan"}:
        values[slot] = made
    return made


def _made_up(rng: random.Random, values: dict[str, str], slot: str) -> str:
    if slot == "order":
        return rng.choice(("#{}", "TB-{}", "{}", "no. {}")).format(rng.randint(10_000, 999_999))
    if slot == "amount":
        amount = (
            f"{rng.choice((rng.randint(4, 99), rng.randint(20, 900)))}.{rng.choice(('00', '50', '90', '99'))}"
        )
        return rng.choice(("${}", "{} EUR", "£{}", "{} dollars")).format(amount)
    if slot == "phone":
        return (
            f"+{rng.choice((1, 44, 49, 33, 34))} {rng.randint(200, 999)} {rng.randint(1_000_000, 9_999_999)}"
        )
    if slot == "name":
        return f"{rng.choice(phrases.SLOTS['first'])} {rng.choice(phrases.SLOTS['last'])}"
    if slot == "email":
        name = _value(rng, values, "name").lower().replace(" ", rng.choice((".", "_", "")))
        number = rng.choice(("", str(rng.randint(1, 99))))
        return f"{name}{number}@{rng.choice(('example.com', 'example.org', 'mail.example'))}"
    numbers = {"count": (2, 60), "year": (10, 24), "code": (100, 5999)}
    if slot in numbers:
        return str(rng.randint(*numbers[slot]))
    if slot == "version":
        return f"{rng.randint(2, 9)}.{rng.randint(0, 20)}"
    return rng.choice(phrases.SLOTS[slot])


def _non_native(rng: random.Random, body: str) -> str:
    for native, other in phrases.NON_NATIVE:
        if rng.random() < 0.6:
            body = body.replace(native, other, 2)
    return body


def _mistyped(rng: random.Random, body: str) -> str:
    """One to four typing errors: two letters swapped, or one dropped or doubled."""
    for _ in range(rng.randint(1, 4)):
        words = [
            found for found in _LETTERS.finditer(body) if "@" not in body[found.start() : found.end() + 12]
        ]
        if not words:
            return body
        word = rng.choice(words)
        at = rng.randint(word.start() + 1, word.end() - 3)
        pair = body[at : at + 2]
        body = body[:at] + rng.choice((pair[::-1], pair[1], pair[0] + pair)) + body[at + 2 :]
    return body
