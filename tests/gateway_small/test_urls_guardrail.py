from __future__ import annotations

import msgspec
import pytest

from gateway.guardrails.urls import Urls

GUARD = Urls(allow=["example.org", "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.de"])


@pytest.mark.parametrize(
    "text",
    [
        "See https://example.org/a?b=c#d.",
        "See https://docs.example.org:8443/x, or (http://example.org).",
        "HTTPS://EXAMPLE.ORG/",
        "https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.de and https://xn--bcher-kva.de",
        "[docs](https://example.org./a) and www.example.org",
        "Write either / or: it is 3//4, C:\\temp, 12:30 and a ratio of 1:2.",
        "Links begin with https:// as a rule, and http:\nis older.",
        "JavaScript: the good parts. The data: text, numbers. ![dot](data:image/png;base64,iVBORw0KGgo=)",
        "",
    ],
)
def test_allowed_hosts_and_prose_pass(text: str) -> None:
    assert GUARD.check(text, "out").action == "allow"


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.com/?q=secret",
        "https://example.org.evil.com/",
        "https://notexample.org/",
        "https://example.org@evil.com/",
        "https://user:pass@example.org/",
        "https://evil.com\\@example.org/",
        "https:\\\\evil.com",
        "https:/evil.com",
        "https:evil.com",
        "https://evil%2ecom/",
        "https://example.org%2F.evil.com/",
        "https://example.org%40evil.com/",
        "https://ex\N{CYRILLIC SMALL LETTER A}mple.org/",
        "https://example.org\N{IDEOGRAPHIC FULL STOP}evil.com/",
        "https://example.org\N{ZERO WIDTH SPACE}.evil.com/",
        "https://example.org\t.evil.com/",
        "https://2130706433/ or https://[::1]/",
        "![x](//evil.com/p.png)",
        "www.evil.com",
        "ftp://example.org/",
        "https:\n//evil.com/",
        "[x](javascript:fetch(1))",
        "<a href='JavaScript:alert(1)'>",
        "file:///etc/passwd",
        "https://" + "a" * 600 + ".com",
    ],
)
def test_other_hosts_and_tricks_are_stopped(text: str) -> None:
    assert GUARD.check(text, "out").action == "block"
    assert GUARD.check(f"Look: {text} now", "in").action == "block"


@pytest.mark.parametrize("link", ["data:text/html;base64,PHNjcmlwdD4=", "Data:image/svg+xml,%3Csvg%3E"])
def test_data_that_runs_is_stopped_in_answers_and_is_how_clients_enclose_files(link: str) -> None:
    text = f"[x]({link})"
    assert GUARD.check(text, "out").action == "block"
    assert GUARD.check(text, "in").action == "allow"
    assert Urls(allow=[], schemes=["data"]).check(text, "out").action == "allow"
    assert GUARD.check(f"{text} https://evil.com", "in").action == "block"


def test_a_stream_waits_while_an_address_grows() -> None:
    good, bad = "Go to https://example.org/a now", "Go to https://example.org.evil.com/a now"
    said = [GUARD.check(good[:end], "out", final=False).action for end in range(1, len(good) + 1)]
    assert "block" not in said
    assert said[-1] == "allow"
    said = [GUARD.check(bad[:end], "out", final=False).action for end in range(1, len(bad) + 1)]
    at = said.index("block")
    assert bad[at] == "/"
    assert all(one == "wait" for one in said[bad.index("://") + 2 : at])


@pytest.mark.parametrize("host", ["https://example.org", "*.example.org", "", "a b"])
def test_what_is_no_host_name_is_an_error_in_the_policies(host: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="host names such as"):
        msgspec.convert({"type": "urls", "allow": [host]}, Urls)
