"""Checks of providers, how they are reached, what they cost, and of the keys that clients have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.access import admin_key
from gateway.access.keys import ADMIN_PREFIX, INFERENCE_PREFIX, is_admin_key, well_formed
from gateway.catalog import vendors
from gateway.policy import account_checks
from gateway.policy.convert import did_you_mean
from gateway.policy.reading import Path, Problem
from gateway.policy.view import View
from gateway.protocol.chat import PRICED_TIERS
from gateway.providers import ClassifierProvider, OpenAIProvider, VertexProvider
from gateway.providers.credentials import ProviderKey
from gateway.providers.openai.vendors import profile_of
from gateway.upstreams.addresses import AddressRefused, check_literal

DEAREST = 5_000.0
"""US dollars per million tokens; above it somebody mistook the unit."""

_SPACES = "a key must not contain spaces or line breaks."


def providers(view: View) -> Iterator[Problem]:
    for name, provider in view.config.providers.items():
        path: Path = ("providers", name)
        if path in view.unclean or isinstance(provider, ClassifierProvider):
            continue
        if isinstance(provider, OpenAIProvider) and profile_of(provider.profile) is None:
            hint = did_you_mean(provider.profile, [name for name in vendors() if profile_of(name) is not None])
            yield view.problem((*path, "profile"), f"there is no vendor profile '{provider.profile}'.", hint)
        if provider.base_url:
            yield from _address(view, (*path, "base_url"), provider.base_url)
        if any(sign in provider.api_key for sign in "\r\n\0 "):
            yield view.problem((*path, "api_key"), _SPACES)
        if isinstance(provider, VertexProvider):
            yield from account_checks.problems(view, path, provider)
        yield from _provider_keys(view, path, provider.api_key, provider.api_keys)


def _provider_keys(view: View, path: Path, first: str, more: list[str | ProviderKey]) -> Iterator[Problem]:
    seen = {first} - {""}
    for index, one in enumerate(more):
        key, here = one if isinstance(one, str) else one.key, (*path, "api_keys", index)
        if any(sign in key for sign in "\r\n\0 "):
            yield view.problem(here, _SPACES)
        if key in seen:
            yield view.problem(here, "this key is written twice.", "Leave one of the two out.")
        if not key and not view.unset(here):
            yield view.problem(here, "a key must not be empty.")
        seen |= {key} - {""}


def upstreams(view: View) -> Iterator[Problem]:
    for name, rules in view.config.upstreams.items():
        if name not in view.names("providers"):
            hint = did_you_mean(name, view.names("providers"))
            yield view.problem(("upstreams", name), f"there is no provider '{name}'.", hint)
        if rules.health is not None:
            yield from _place(view, ("upstreams", name, "health", "url"), rules.health.url)


def _address(view: View, path: Path, address: str) -> Iterator[Problem]:
    try:
        parts = urlsplit(address)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        hint = "Write a whole address such as https://api.example.com/v1."
        yield view.problem(path, "this is not an http(s) address.", hint)
    elif parts.username or parts.password or parts.query:
        message = "an address must not carry a user, password or query."
        yield view.problem(path, message, "Put the credential into api_key.")
    else:
        yield from _place(view, path, address)


def _place(view: View, path: Path, address: str) -> Iterator[Problem]:
    try:
        check_literal(address)
    except (AddressRefused, ValueError) as refused:
        hint = "Link-local and metadata addresses are never called."
        yield view.problem(path, f"{refused}.", hint)


def keys(view: View) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for path, key in view.clean("keys"):
        if key.key in seen:
            message = f"this key is the same as that of '{seen[key.key]}'."
            yield view.problem((*path, "key"), message, "Every key needs its own text.")
        seen.setdefault(key.key, key.name)
        why = admin_key.weakness(key.key)
        if why:
            hint = 'Make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
            yield view.problem((*path, "key"), f"the key is too weak: {why}.", hint)
        if key.key.startswith((INFERENCE_PREFIX, ADMIN_PREFIX)) and not _opens(key.key):
            message = "no client could use this key: it begins like those that are made here, and is none of them."
            yield view.problem((*path, "key"), message, "Copy it whole, or choose a text that begins otherwise.")


def _opens(key: str) -> bool:
    """What the door asks of a key that begins like ours, before it looks any up."""
    return well_formed(key) and not is_admin_key(key)


def prices(view: View) -> Iterator[Problem]:
    for provider, table in view.config.prices.items():
        if provider not in view.names("providers"):
            hint = did_you_mean(provider, view.names("providers"))
            yield view.problem(("prices", provider), f"no provider is named '{provider}'.", hint)
        for model, price in table.items():
            here = ("prices", provider, model)
            for name in price.RATES:
                value = getattr(price, name)
                if value is not None and (not math.isfinite(value) or value > DEAREST):
                    message = f"{value:g} US dollars per million tokens cannot be right."
                    yield view.problem((*here, name), message, "Prices are per million tokens.")
            for tier in price.tiers:
                if tier not in PRICED_TIERS:
                    message = f"'{tier}' is no service tier with a price of its own."
                    hint = f"These are {' and '.join(sorted(PRICED_TIERS))}."
                    yield view.problem((*here, "tiers", tier), message, hint)
            if price.cached_input is not None and price.cached_input > price.input:
                yield view.problem((*here, "cached_input"), "cached tokens cannot cost more than fresh ones.")
