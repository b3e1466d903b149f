"""Kinds of personal data, the operator's own recognizers, countries, and what stands in a value's place."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from small_fakes import ALICE, BOB, exchange_of, read, runtime_of, texts, whole

from gateway.config import Config
from gateway.errors import BadRequest
from gateway.guardrails import Pii
from gateway.guardrails.pii.checksums import CHECKSUMS
from gateway.guardrails.pii.recognizers import NATIONAL, Recognizer
from gateway.stages.guard import Guard

KEY = "a-secret-of-the-tests-0001"
MAIL, CARD = "jane@example.org", "4111 1111 1111 1111"


async def through(guard: Pii, text: str, answer: Any = None, principal: Any = ALICE) -> Any:
    exchange = exchange_of(runtime_of(Config(guardrails={"privacy": guard})), text=text, principal=principal)

    async def inner(_: Any) -> Any:
        return answer(exchange.body["messages"][0]["content"]) if answer else whole("fine")

    return exchange, await Guard()(exchange, inner)


def sent(exchange: Any) -> str:
    return str(exchange.body["messages"][0]["content"])


async def test_a_token_is_the_same_in_every_call_and_is_put_back() -> None:
    guard = Pii(operator="tokenize", key=KEY)
    first, answer = await through(guard, f"write to {MAIL}", lambda said: whole(f"I {said}"))
    second, _ = await through(guard, f"again: {MAIL} and other@example.org")
    token = sent(first).removeprefix("write to ")
    assert token.startswith("[EMAIL_") and token in sent(second) and "other@" not in sent(second)
    assert answer.text == f"I write to {MAIL}"
    elsewhere, _ = await through(guard, f"write to {MAIL}", principal=BOB)
    assert sent(elsewhere).startswith("write to [EMAIL_") and token not in sent(elsewhere)


async def test_a_token_is_put_back_into_streams_however_they_are_cut() -> None:
    guard = Pii(operator="tokenize", key=KEY)
    for size in (1, 3, 7, 50):

        def cut(said: str, size: int = size) -> Any:
            return texts(*(said[at : at + size] for at in range(0, len(said), size)))

        _, stream = await through(guard, f"write to {MAIL} now", cut)
        assert await read(stream) == f"write to {MAIL} now"


async def test_a_hash_stays_and_is_the_same_in_every_call() -> None:
    guard = Pii(operator="hash", key=KEY)
    first, answer = await through(guard, f"write to {MAIL}", whole)
    second, _ = await through(guard, f"write to {MAIL}")
    other, _ = await through(msgspec.structs.replace(guard, key=KEY + "x"), f"write to {MAIL}")
    assert sent(first) == sent(second) != sent(other) and "EMAIL:" in sent(first)
    assert MAIL not in answer.text and first.placeholders == {}


async def test_operators_by_kind() -> None:
    guard = Pii(operators={"CARD": "mask"}, keep=4)
    exchange, _ = await through(guard, f"{MAIL} pays with {CARD}")
    assert sent(exchange) == "[EMAIL_1] pays with **** **** **** 1111"
    assert exchange.findings[0].sample == "[EMAIL_1] pays with [CARD_1]"


async def test_only_the_kinds_that_are_named() -> None:
    exchange, _ = await through(Pii(kinds=["CARD"]), f"{MAIL} pays with {CARD}")
    assert sent(exchange) == f"{MAIL} pays with [CARD_1]"
    with pytest.raises(BadRequest):
        await through(Pii(action="block", kinds=["EMAIL"]), MAIL)
    flagged, _ = await through(Pii(action="flag"), MAIL)
    assert sent(flagged) == MAIL and flagged.verdicts == ["privacy:flag"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("badge EMP-123456 please", ["EMP-123456"]),
        ("badges EMP-123456, EMP-654321.", ["EMP-123456", "EMP-654321"]),
        ("EMP-1234567", []),
        ("XEMP-123456", []),
        ("order 778899", []),
        ("my employee number is 778899", ["778899"]),
    ],
)
def test_recognizers_of_the_operator(text: str, found: list[str]) -> None:
    guard = Pii(recognizers=[
        Recognizer(name="BADGE", pattern="EMP-[0-9]{6}"),
        Recognizer(name="EMPLOYEE", pattern="[0-9]{6}", score=0.3, context=["employee"]),
    ])  # fmt: skip
    assert [text[start:end] for start, end, _ in guard.finds(text)] == found


def test_a_check_digit_decides() -> None:
    guard = Pii(recognizers=[Recognizer(name="MEMBER", pattern="M[0-9]{8}", score=0.1, checksum="luhn")])
    assert guard.finds("M12345674") == [(0, 9, "MEMBER")] and guard.finds("M12345678") == []


def test_a_pattern_that_explodes_elsewhere_is_linear_here() -> None:
    guard = Pii(recognizers=[Recognizer(name="BAD", pattern="(a+)+$x")])
    began = time.process_time()
    guard.finds("a" * 20_000)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("country", "text", "kind"),
    [
        ("de", "Meine Steuer-ID ist 86 095 742 719.", "DE_TAX_ID"),
        ("fr", "NIR 2 55 08 14 168 025 38", "FR_NIR"),
        ("es", "DNI 12345678Z", "ES_NIF"),
        ("es", "NIE X1234567L", "ES_NIF"),
        ("it", "codice RSSMRA85T10A562S", "IT_FISCAL_CODE"),
        ("nl", "BSN 111222333", "NL_BSN"),
        ("pl", "PESEL 44051401359", "PL_PESEL"),
        ("gb", "NHS 943 476 5919", "GB_NHS"),
        ("gb", "nino AB123456C", "GB_NINO"),
        ("br", "CPF 111.444.777-35", "BR_CPF"),
        ("ca", "SIN 046 454 286", "CA_SIN"),
        ("au", "tax file number 123 456 782", "AU_TFN"),
        ("in", "Aadhaar 2345 6789 0124", "IN_AADHAAR"),
        ("in", "PAN ABCPE1234F", "IN_PAN"),
        ("se", "811228-9874", "SE_PERSONNUMMER"),
    ],
)
def test_national_identifiers(country: Any, text: str, kind: str) -> None:
    assert [found[2] for found in Pii(kinds=[kind], countries=[country]).finds(text)] == [kind]
    elsewhere = [one for one in NATIONAL if one != country]
    assert kind not in [found[2] for found in Pii(countries=elsewhere).finds(text)]  # type: ignore[arg-type]
    last = max(at for at, letter in enumerate(text) if letter.isdigit())
    changed = f"{text[:last]}{(int(text[last]) + 1) % 10}{text[last + 1 :]}"
    if NATIONAL[country][0].checksum not in ("none", "luhn") and kind not in ("GB_NINO", "IN_PAN"):
        assert kind not in [found[2] for found in Pii(countries=[country]).finds(changed)]


@pytest.mark.parametrize("name", CHECKSUMS)
def test_checksums_take_any_text(name: str) -> None:
    for text in ("", "0", "abc", "0" * 9, "0" * 10, "0" * 11, "Ä", "٣" * 10, "A" * 16, "12" * 40):
        CHECKSUMS[name](text)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"operator": "hash"}, "needs 'key'"),
        ({"operators": {"EMAIL": "tokenize"}, "key": "short"}, "at least 16"),
        ({"kinds": ["email"]}, "in capitals"),
        ({"recognizers": [{"name": "X", "pattern": "(?<=a)b"}]}, "cannot be used"),
        ({"recognizers": [{"name": "x", "pattern": "b"}]}, "'name' must be"),
        ({"recognizers": [{"name": "X", "pattern": "b", "score": 0.1}]}, "'score' is too low"),
        ({"countries": ["zz"]}, "Invalid enum value"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert({"type": "pii", **settings}, Pii)
