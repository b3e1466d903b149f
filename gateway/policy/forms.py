"""Texts that must have a certain form: what each is called and how it is written, by the pattern that was not met."""

from __future__ import annotations

import re

_PATTERN = re.compile(r"matching regex '(.*)'$")
_NAME = (
    "this is not a name.",
    "Use letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 64 characters.",
)
_FORMS = {
    r"^([01]\\d|2[0-3]):[0-5]\\d$": ("this is not a time of day.", "Write it in quotes, from '00:00' to '23:59'."),
    "^https?://": ("this is not an http(s) address.", "Write a whole address such as https://api.example.com/health."),
    r"^(\\d{4}-\\d{2}-\\d{2})?$": ("this is not a date.", "Write it as 2027-01-31."),
    r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$": (
        "this is not a host.", "Write its name in small letters, with a port if need be: mcp.example.com:8443.",
    ),
    "^connector_[a-z0-9_]+$": ("this is not a connector.", "Connectors have names such as connector_gmail."),
    r"^[^/\\s]+:[0-9]{1,5}$": ("this is not an address.", "Write host:port, such as 10.0.0.7:6379."),
    r"\\A[a-z0-9][a-z0-9.:-]{0,62}\\Z": (
        "this is not a name of Google's.", "Use small letters, digits, '.', ':' and '-', at most 63 characters.",
    ),
}  # fmt: skip


def form_missed(reason: str) -> tuple[str, str] | None:
    """(what is wrong, how it is written) for a reason of msgspec's that speaks of a pattern, else None."""
    found = _PATTERN.search(reason)
    return _FORMS.get(found[1], _NAME) if found is not None else None
