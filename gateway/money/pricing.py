"""What a call costs: the shipped list prices, the operator's own, and the arithmetic.

An unknown price is None and stays None: a cost of 0 would be a claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import msgspec
import yaml
from msgspec import Struct

from gateway.config import Price
from gateway.protocol.chat import Usage

PER_MILLION = 1_000_000.0


class _Listed(Struct, frozen=True, forbid_unknown_fields=True):
    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    audio_input: float | None = None
    audio_output: float | None = None
    also: list[str] = []


class _Vendor(Struct, frozen=True, forbid_unknown_fields=True):
    as_of: str
    source: str
    models: dict[str, _Listed]


@cache
def shipped_prices() -> Mapping[str, Mapping[str, Price]]:
    """The table of ``gateway/money/prices.yaml`` by provider profile and model; read once."""
    raw = yaml.safe_load(files("gateway.money").joinpath("prices.yaml").read_text(encoding="utf-8"))
    vendors = msgspec.convert(raw, dict[str, _Vendor])
    return {profile: _table(vendor) for profile, vendor in vendors.items()}


def _table(vendor: _Vendor) -> dict[str, Price]:
    table: dict[str, Price] = {}
    for name, one in vendor.models.items():
        price = Price(
            input=one.input,
            output=one.output,
            cached_input=one.cached_input,
            cache_write=one.cache_write,
            audio_input=one.audio_input,
            audio_output=one.audio_output,
            as_of=vendor.as_of,
            source=vendor.source,
        )
        for model in (name, *one.also):
            table[model] = price
    return table


def price_of(
    prices: Mapping[str, Mapping[str, Price]], provider: str, profile: str, model: str
) -> Price | None:
    """The price of a model, None when it is unknown.

    ``prices`` is the operator's table by provider name (``config.prices``) and wins; ``profile`` names the
    vendor in the shipped table. Model names are compared whole: a dated name has the price of its family
    only where the table says so.
    """
    own = prices.get(provider, {}).get(model)
    return own if own is not None else shipped_prices().get(profile, {}).get(model)


def cost(usage: Usage | None, price: Price | None) -> float | None:
    """US dollars of one call; None when the usage or the price is unknown.

    Cached tokens and those written to a cache are inside ``usage.prompt`` and cost their own rates; reasoning
    tokens are inside ``usage.completion`` and cost what output costs. Tokens of sound are inside either and have
    prices of their own: without one the cost is unknown, and so it is when some input was cached and some was sound,
    because nobody says how much of the one was the other.
    """
    if usage is None or price is None:
        return None
    sound = _sound(usage, price)
    if sound is None:
        return None
    prompt = max(0, usage.prompt - usage.audio_input)
    completion = max(0, usage.completion - usage.audio_output)
    cached = min(usage.cached, prompt)
    cached_rate = price.cached_input if price.cached_input is not None else price.input
    written = min(usage.written, prompt - cached)
    write_rate = price.cache_write if price.cache_write is not None else price.input
    fresh = (prompt - cached - written) * price.input + written * write_rate
    return (sound + fresh + cached * cached_rate + completion * price.output) / PER_MILLION


def _sound(usage: Usage, price: Price) -> float | None:
    """A million times the US dollars for the tokens of sound; None when they have no known price."""
    heard, spoken = usage.audio_input, usage.audio_output
    if not heard and not spoken:
        return 0.0
    unknown = (heard and price.audio_input is None) or (spoken and price.audio_output is None)
    if unknown or (heard and (usage.cached or usage.written)):
        return None
    return heard * (price.audio_input or 0.0) + spoken * (price.audio_output or 0.0)
