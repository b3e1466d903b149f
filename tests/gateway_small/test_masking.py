from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.texts.masking import Masker, find, map_texts, mask, mask_value, texts_of
from gateway.texts.unmasking import Unmasker, unmask

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc==\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to jane.doe+x@mail.example.co.uk.", "write to [EMAIL_1]."),
        ("müller@exämple.de", "[EMAIL_1]"),
        ("card 4111 1111 1111 1111 12/27", "card [CARD_1] 12/27"),
        ("378282246310005", "[CARD_1]"),
        ("5555-5555-5555-4444 and 5555-5555-5555-4444", "[CARD_1] and [CARD_1]"),
        ("1 2 3 4111 1111 1111 1111", "1 2 3 [CARD_1]"),
        ("IBAN DE89 3704 0044 0532 0130 00 is mine", "IBAN [IBAN_1] is mine"),
        ("gb29nwbk60161331926819", "[IBAN_1]"),
        ("from 203.0.113.9, then 2001:db8::8a2e:370:7334", "from [IP_1], then [IP_2]"),
        ("SSN 123-45-6789", "SSN [SSN_1]"),
        ("call +49 171 1234567 or (555) 234-5678", "call [PHONE_1] or [PHONE_2]"),
        ("Tel. 030/1234567", "Tel. [PHONE_1]"),
        ("96 228011 office", "[PHONE_1] office"),
        ("my mobile is 28-64-66-98, thanks", "my mobile is [PHONE_1], thanks"),
        ("001-846-853-9089x92556 fax", "[PHONE_1] fax"),
        ("169-825-3303 fax\n916.972.1680x22008 mobile", "[PHONE_1] fax\n[PHONE_2] mobile"),
        ("card 4111\u00a01111\u202f1111\u20091111", "card [CARD_1]"),  # as pages and word processors write
        ("４１１１ １１１１ １１１１ １１１１", "[CARD_1]"),
        ("jane＠example.org", "[EMAIL_1]"),
        ("IBAN DE89\u00a03704\u00a00044\u00a00532\u00a00130\u00a000", "IBAN [IBAN_1]"),
        ("SSN 123\u201345\u20116789", "SSN [SSN_1]"),
        ("+49\u00a0171\u00a01234567", "[PHONE_1]"),
        ("card ٤١١١ ١١١١ ١١١١ ١١١١", "card [CARD_1]"),
        ("ssn: 123456789 and social security number 123456780", "ssn: [SSN_1] and social security number [SSN_2]"),
        ("my card is 3598899323053410", "my card is [CARD_1]"),
        ("key sk-us-" + "a" * 49, "key [SECRET_1]"),
        ("AKIAIOSFODNN7EXAMPLE", "[SECRET_1]"),
        ("ghp_" + "a1" * 18, "[SECRET_1]"),
        (f"here:\n{KEY}\nbye", "here:\n[SECRET_1]\nbye"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEow cut", "[SECRET_1]"),
    ],
)
def test_finds(text: str, masked: str) -> None:
    result = mask(text)
    assert result.text == masked
    assert unmask(result.text, result.values) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain words",
        "4111 1111 1111 1112",  # Luhn fails
        "DE89 3704 0044 0532 0130 01",  # mod 97 fails
        "order 1234567890123456 of 2024-05-17 at 12:30:45",
        "version 1.2.3, 300.1.2.3 and 127.0.0.1 and ::1",
        "std::vector a::b",
        "666-12-3456",
        "name@localhost and @mention",
        "1700000000 and 3.14159265358979",
        "task-1 sk-short",
        "01-02-2024",
        "call me before 2024-05-17 or on 01-02-2024",
        "order 3598899323053410",
        "phone order 12, invoice 12345678",
        "96 228011",
        "price\u00a01\u202f234\u202f567 – 2010–2015",
        "order 123456789, ssn unknown",
    ],
)
def test_leaves_alone(text: str) -> None:
    assert mask(text).text == text


def test_a_placeholder_in_the_text_survives_and_is_not_given_out() -> None:
    text = "[EMAIL_1] means a@example.org, not b@example.org"
    masked = mask(text)
    assert masked.text == "[EMAIL_1] means [EMAIL_2], not [EMAIL_3]"
    assert unmask(masked.text, masked.values) == text
    assert mask(masked.text).text == masked.text


def test_nested_values_share_one_numbering_and_opaque_fields_stay() -> None:
    body: dict[str, Any] = {
        "model": "a@example.org",
        "temperature": 0.5,
        "messages": [
            {"role": "user", "content": "a@example.org"},
            {"role": "user", "content": [{"type": "text", "text": "a@example.org b@example.org [EMAIL_1]"}]},
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "data:4111111111111111"}}],
            },
        ],
    }
    masker = Masker()
    masked = mask_value(body, masker)
    assert masked["model"] == "a@example.org"
    assert masked["messages"][0]["content"] == "[EMAIL_2]"
    assert masked["messages"][1]["content"][0]["text"] == "[EMAIL_2] [EMAIL_3] [EMAIL_1]"
    assert masked["messages"][2] == body["messages"][2]
    assert map_texts(masked, lambda text: unmask(text, masker.values)) == body


def test_values_are_escaped_inside_json() -> None:
    masked = mask(KEY)
    assert (
        unmask('{"k":"' + masked.text + '"}', masked.values, in_json=True)
        == '{"k":"' + KEY.replace("\n", "\\n") + '"}'
    )


def test_overlapping_finds_leave_nothing_behind() -> None:
    text = "sk-aaaaaaaaaaaaaaaaaaaaaaaa@example.org"
    assert mask(text).text == "[SECRET_1]"


pieces = st.sampled_from(
    ["a@example.org", "4111111111111111", "[EMAIL_1]", "[CARD_2]", "[", "]", "_1]", "[EMAIL", " ", "x", "1",
     "-", "+49 171 1234567", "DE89370400440532013000", "203.0.113.9", "sk-us-" + "a" * 49, "\n", "é"]
)  # fmt: skip
texts = st.lists(pieces, max_size=14).map("".join) | st.text(max_size=60)


@settings(max_examples=150)
@given(texts)
def test_round_trip(text: str) -> None:
    masked = mask(text)
    assert unmask(masked.text, masked.values) == text
    assert all(placeholder not in text for placeholder in masked.values)


@settings(max_examples=150)
@given(texts, st.lists(st.integers(1, 5), max_size=40))
def test_a_stream_gives_the_same_text_however_it_is_cut(text: str, cuts: list[int]) -> None:
    masked = mask(text)
    unmasker = Unmasker(masked.values)
    rest, out = masked.text, ""
    for size in cuts:
        out += unmasker.feed(rest[:size])
        rest = rest[size:]
    out += unmasker.feed(rest) + unmasker.finish()
    assert out == text


def test_only_a_possible_placeholder_is_held_back() -> None:
    unmasker = Unmasker({"[EMAIL_1]": "a@example.org"})
    assert unmasker.feed("hello ") == "hello "
    assert unmasker.feed("see [1") == "see [1"
    assert unmasker.feed(" [EM") == " "
    assert unmasker.feed("AIL_1") == ""
    assert unmasker.feed("]!") == "a@example.org!"
    assert unmasker.feed("[EMAIL_") == ""
    assert unmasker.finish() == "[EMAIL_"


@pytest.mark.parametrize(
    "bait",
    ["a" * 200_000, "a." * 100_000, "a@" * 100_000, "1" * 200_000, "1 " * 100_000, "1-" * 100_000,
     "(555) " * 30_000, "DE89 " * 40_000, "1." * 100_000, ":" * 200_000, "0123 " * 40_000, "+1 " * 60_000,
     "fax " + "1 " * 100_000, "tel " * 60_000, "fax 1" * 40_000, "00 1" * 40_000,
     "sk-" * 60_000,
     "-----BEGIN PRIVATE KEY-----" * 8_000, "eyJaaaaaaaaa." * 15_000, "@" + "a-" * 100_000],
)  # fmt: skip
def test_hostile_text_stays_linear(bait: str) -> None:
    started = time.process_time()
    find(bait)
    assert time.process_time() - started < 3.0


def test_clean_text_is_cheap() -> None:
    text = ("The quick brown fox jumps over the lazy dog again. " * 20)[:1000]
    rounds = 200
    started = time.process_time()
    for _ in range(rounds):
        mask(text)
    assert (time.process_time() - started) / rounds < 500e-6  # tens of µs, with room for a busy machine


@pytest.mark.parametrize(
    "text",
    ["data: write to a@example.org", "data:image/png;base64,AAAA write to a@example.org", "data:,a@example.org"],
)
def test_a_text_that_only_begins_like_a_file_is_read(text: str) -> None:
    for value in (text, {"content": text}, {"x": [text]}, {"type": "text", "data": text}):
        assert texts_of(value) == [text]
        assert "[EMAIL_1]" in str(mask_value(value, Masker()))


def test_files_are_no_texts() -> None:
    whole = "data:image/png;base64," + "iVBORw0KGgo+/=" * 50
    for value in (whole, {"x": whole}, {"image_url": {"url": whole}}, {"data": "SGVsbG8="}, {"file_data": whole}):
        assert texts_of(value) == []
        assert mask_value(value, Masker()) is value
