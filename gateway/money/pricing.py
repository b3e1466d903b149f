"""What a call costs: the shipped list prices, the operator's own, and the arithmetic.

An unknown price is None and stays None: a cost of 0 would be a claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from msgspec import structs

from gateway.catalog import vendor
from gateway.catalog.shapes import Prices
from gateway.config import LongContext, Price
from gateway.protocol.chat import Usage

PER_MILLION = 1_000_000.0


@cache
def listed_prices(profile: str) -> Mapping[str, Price]:
    """The catalog's prices of one vendor, by model; {} for a vendor without any."""
    known = vendor(profile)
    return _table(known.prices) if known is not None and known.prices is not None else {}


def _table(vendor: Prices) -> dict[str, Price]:
    table: dict[str, Price] = {}
    for name, one in vendor.models.items():
        price = Price(
            input=one.input,
            output=one.output,
            cached_input=one.cached_input,
            cache_write=one.cache_write,
            audio_input=one.audio_input,
            audio_output=one.audio_output,
            cached_audio_input=one.cached_audio_input,
            image_input=one.image_input,
            image_output=one.image_output,
            search=one.search,
            file_search=vendor.file_search,
            cache_write_1h=one.cache_write_1h,
            long_context=LongContext(**structs.asdict(one.long_context)) if one.long_context is not None else None,
            tiers=one.tiers,
            minute=one.minute,
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
    return own if own is not None else listed_prices(profile).get(model)


def cost(usage: Usage | None, price: Price | None) -> float | None:
    """US dollars of one call; None when the usage or the price is unknown.

    Cached tokens and those written to a cache are inside ``usage.prompt`` and cost their own rates; reasoning
    tokens are inside ``usage.completion`` and cost what output costs. Tokens of sound and pictures are inside either
    and have prices of their own: without one the cost is unknown (pictures that go in cost what text does), and so
    it is when some input was cached and some was sound or pictures and nobody says how much of one was the other. A
    long prompt has prices of its own, a service tier its factor. Searches cost apart, and so does sound that is told in
    seconds. What else ran at the provider makes the cost unknown.
    """
    if usage is None or price is None:
        return None
    usual = price.long_context is None or usage.prompt <= price.long_context.above
    if usual and price.minute is None and _fresh_text(usage):
        return (usage.prompt * price.input + usage.completion * price.output) / PER_MILLION  # most calls
    if usage.unpriced or (usage.seconds and price.minute is None) or _in_tokens_alone(usage, price):
        return None
    times = _times(usage.tier, price)
    sound, pictures, searches = _sound(usage, price), _pictures(usage, price), _searches(usage, price)
    if times is None or sound is None or pictures is None or searches is None:
        return None
    if price.long_context is not None and usage.prompt > price.long_context.above:
        price = _long(price, price.long_context)
    seen = usage.image_input if price.image_input is not None else 0
    prompt = max(0, usage.prompt - usage.audio_input - seen)
    completion = max(0, usage.completion - usage.audio_output - usage.image_output)
    cached = min(usage.cached - (usage.heard_again or 0), prompt)
    cached_rate = price.cached_input if price.cached_input is not None else price.input
    written = min(usage.written, prompt - cached)
    write_rate = price.cache_write if price.cache_write is not None else price.input
    hour = min(usage.written_hour, written)
    hour_rate = price.cache_write_1h if price.cache_write_1h is not None else write_rate
    fresh = (prompt - cached - written) * price.input + (written - hour) * write_rate + hour * hour_rate
    tokens = sound + pictures + fresh + cached * cached_rate + completion * price.output
    return times * (tokens / PER_MILLION + usage.seconds / 60 * (price.minute or 0.0)) + searches


def _in_tokens_alone(usage: Usage, price: Price) -> bool:
    """Whether tokens are told of a model that is paid by the minute."""
    return price.minute is not None and not price.input and not usage.seconds


def _fresh_text(usage: Usage) -> bool:
    """Whether nothing of a call has a price of its own."""
    return not (
        usage.tier or usage.cached or usage.written or usage.searches or usage.file_searches or usage.unpriced
        or usage.seconds
        or usage.audio_input or usage.audio_output or usage.image_input or usage.image_output
    )  # fmt: skip


def _times(tier: str, price: Price) -> float | None:
    """How many times the price; None for a tier without a word."""
    times = 1.0
    for one in tier.split("+") if tier else ():
        if one not in price.tiers:
            return None
        times *= price.tiers[one]
    return times


def _long(price: Price, long: LongContext) -> Price:
    """The price of a long prompt; what it does not say of caches grows as the input does."""
    grown = long.input / price.input if price.input else 1.0

    def rate(own: float | None, usual: float | None) -> float | None:
        return own if own is not None or usual is None else usual * grown

    return structs.replace(
        price, input=long.input, output=long.output,
        cached_input=rate(long.cached_input, price.cached_input),
        cache_write=rate(long.cache_write, price.cache_write),
        cache_write_1h=rate(long.cache_write_1h, price.cache_write_1h),
    )  # fmt: skip


def rates(price: Price, tier: str, *, long: bool) -> tuple[float, float]:
    """What a million tokens of (input, output) are reserved at: by the service tier that is asked for, and for a prompt
    that may be a ``long`` one by the price of those."""
    times = price.tiers.get(tier, 1.0)
    if long and price.long_context is not None:
        price = _long(price, price.long_context)
    return times * max(price.input, price.cached_input or 0.0), times * price.output


def _sound(usage: Usage, price: Price) -> float | None:
    """A million times the US dollars for the tokens of sound; None when they have no known price."""
    heard, spoken, again = usage.audio_input, usage.audio_output, usage.heard_again
    if not heard and not spoken:
        return 0.0
    unknown = (heard and price.audio_input is None) or (spoken and price.audio_output is None)
    if unknown or again is None or (heard and usage.written):
        return None
    rate = price.audio_input or 0.0
    again_rate = price.cached_audio_input if price.cached_audio_input is not None else rate
    return (heard - again) * rate + again * again_rate + spoken * (price.audio_output or 0.0)


def _pictures(usage: Usage, price: Price) -> float | None:
    """A million times the US dollars for the tokens of pictures that have a price of their own."""
    drawn, seen = usage.image_output, usage.image_input if price.image_input is not None else 0
    if (drawn and price.image_output is None) or (seen and (usage.cached or usage.written)):
        return None
    return drawn * (price.image_output or 0.0) + seen * (price.image_input or 0.0)


def _searches(usage: Usage, price: Price) -> float | None:
    """US dollars for searches of the web, and of files at the provider."""
    if (usage.searches and price.search is None) or (usage.file_searches and price.file_search is None):
        return None
    return (usage.searches * (price.search or 0.0) + usage.file_searches * (price.file_search or 0.0)) / 1000


def spared_by_cache(usage: Usage | None, price: Price | None) -> float | None:
    """US dollars that the provider's own prompt cache took off this call: what the same tokens would have cost fresh,
    less what they did cost. Negative when a cache was written that nobody has read yet. None as for :func:`cost`.
    """
    if usage is None or price is None:
        return None
    if not usage.cached and not usage.written:
        return 0.0
    paid = cost(usage, price)
    plain = cost(structs.replace(usage, cached=0, written=0, written_hour=0, cached_audio=None), price)
    return None if plain is None or paid is None else plain - paid
