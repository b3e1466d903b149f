"""Prices: the shipped table, the operator's own, and the arithmetic."""

from __future__ import annotations

import pytest

from gateway.catalog import vendors
from gateway.config import LongContext, Price
from gateway.money.pricing import cost, listed_prices, price_of, rates, spared_by_cache
from gateway.protocol.chat import Usage, usage_from_wire
from gateway.providers.anthropic.provider import usage_of


def test_cached_tokens_cost_the_cached_rate() -> None:
    price = price_of({}, "mine", "openai", "gpt-4o")
    assert cost(Usage(prompt=1_000_000, completion=100_000, cached=400_000), price) == pytest.approx(
        0.6 * 2.50 + 0.4 * 1.25 + 0.1 * 10.0
    )


def test_without_a_cached_rate_cached_tokens_cost_what_input_costs() -> None:
    assert cost(Usage(prompt=1_000_000, cached=1_000_000), Price(input=3.0, output=1.0)) == pytest.approx(3.0)


def test_more_cached_than_prompt_tokens_never_make_a_negative_cost() -> None:
    assert cost(
        Usage(prompt=10, cached=1_000), Price(input=3.0, cached_input=1.0, output=1.0)
    ) == pytest.approx(1e-5)


def test_what_is_unknown_is_none_and_never_zero() -> None:
    assert price_of({}, "mine", "openai", "gpt-99") is None
    assert price_of({}, "mine", "nobody", "gpt-4o") is None
    assert cost(Usage(prompt=10), None) is None
    assert cost(None, Price(input=1.0, output=1.0)) is None
    assert cost(Usage(), Price(input=1.0, output=1.0)) == 0.0


def test_a_dated_name_has_its_familys_price_only_where_the_table_says_so() -> None:
    family = price_of({}, "mine", "openai", "gpt-4o")
    assert price_of({}, "mine", "openai", "gpt-4o-2024-08-06") == family
    assert price_of({}, "mine", "openai", "gpt-4o-2024-05-13") != family
    assert price_of({}, "mine", "openai", "gpt-4o-2031-01-01") is None


def test_the_operators_price_wins_for_the_operators_provider_alone() -> None:
    own = Price(input=1.0, output=2.0)
    prices = {"mine": {"gpt-4o": own}}
    assert price_of(prices, "mine", "openai", "gpt-4o") == own
    assert price_of(prices, "other", "openai", "gpt-4o") != own


def test_every_shipped_price_is_sane_dated_and_sourced() -> None:
    for name in vendors():
        for price in listed_prices(name).values():
            assert 0 <= price.output < 1000
            assert 0 < (price.input or price.minute or 0) < 1000
            assert price.cached_input is None or price.cached_input <= price.input
            assert price.as_of
            assert price.source.startswith("https://")


def test_tokens_written_to_a_cache_cost_their_own_rate() -> None:
    usage = Usage(prompt=1_000_000, completion=0, cached=200_000, written=100_000)
    price = Price(input=3.0, cached_input=0.3, cache_write=3.75, output=15.0)
    assert cost(usage, price) == pytest.approx(0.7 * 3.0 + 0.2 * 0.3 + 0.1 * 3.75)
    assert cost(usage, Price(input=3.0, output=15.0)) == pytest.approx(3.0)


def test_tokens_of_sound_cost_their_own_rates() -> None:
    usage = Usage(prompt=1_000, completion=500, audio_input=600, audio_output=400)
    text = Price(input=2.5, output=10.0)
    both = Price(input=2.5, output=10.0, audio_input=40.0, audio_output=80.0)
    assert cost(usage, both) == pytest.approx((400 * 2.5 + 600 * 40 + 100 * 10 + 400 * 80) / 1e6)
    assert cost(usage, text) is None
    assert cost(Usage(prompt=1_000, completion=500, audio_output=400), text) is None
    assert cost(usage, Price(input=2.5, output=10.0, audio_input=40.0)) is None
    spoken = Usage(prompt=1_000, completion=500, cached=400, audio_output=400)
    priced = Price(input=2.5, cached_input=1.0, output=10.0, audio_output=80.0)
    assert cost(spoken, priced) == pytest.approx((600 * 2.5 + 400 * 1.0 + 100 * 10 + 400 * 80) / 1e6)
    # Nobody says how much of the cached input was sound.
    assert cost(Usage(prompt=1_000, cached=400, audio_input=600), both) is None
    assert cost(Usage(prompt=1, audio_input=600), both) == pytest.approx(600 * 40 / 1e6)


def test_cached_sound_costs_its_own_rate_where_the_provider_says_how_much_it_was() -> None:
    price = Price(input=0.3, cached_input=0.03, output=2.5, audio_input=1.0, cached_audio_input=0.1)
    used = Usage(prompt=1_000, completion=10, cached=500, audio_input=600, cached_audio=200)
    paid = (100 * 0.3 + 300 * 0.03 + 400 * 1.0 + 200 * 0.1 + 10 * 2.5) / 1e6
    assert cost(used, price) == pytest.approx(paid)
    assert spared_by_cache(used, price) == pytest.approx((300 * 0.27 + 200 * 0.9) / 1e6)
    # What one of two calls does not say is not known of both.
    assert (used + Usage(prompt=10, cached=5, audio_input=5)).heard_again is None
    assert (used + used).heard_again == 400


def test_what_a_providers_prompt_cache_spared() -> None:
    price = Price(input=3.0, cached_input=0.3, cache_write=3.75, output=15.0)
    assert spared_by_cache(Usage(prompt=1_000_000, cached=400_000), price) == pytest.approx(0.4 * 2.7)
    assert spared_by_cache(Usage(prompt=1_000_000, written=400_000), price) == pytest.approx(-0.4 * 0.75)
    assert spared_by_cache(Usage(prompt=1_000_000), price) == 0.0
    assert spared_by_cache(Usage(prompt=1_000_000, cached=1), None) is None


def test_what_is_kept_for_an_hour_costs_more_to_write() -> None:
    told = {"input_tokens": 100, "cache_creation_input_tokens": 500, "output_tokens": 10,
            "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 300}}  # fmt: skip
    usage = usage_of(told)
    assert usage and (usage.written, usage.written_hour) == (500, 300)
    price = price_of({}, "mine", "anthropic", "claude-sonnet-4-5")
    assert price and price.cache_write_1h == 2 * price.input
    assert cost(usage, price) == pytest.approx((100 * 3 + 200 * 3.75 + 300 * 6 + 10 * 15) / 1e6)
    unsaid = Price(input=3.0, cache_write=3.75, output=15.0)
    assert cost(usage, unsaid) == pytest.approx((100 * 3 + 500 * 3.75 + 10 * 15) / 1e6)


def test_a_long_prompt_has_prices_of_its_own_for_all_of_the_call() -> None:
    price = price_of({}, "mine", "gemini", "gemini-2.5-pro")
    assert cost(Usage(prompt=200_000, completion=1_000), price) == pytest.approx(0.2 * 1.25 + 0.001 * 10)
    long = Usage(prompt=200_001, completion=1_000, cached=100_000)
    assert cost(long, price) == pytest.approx((100_001 * 2.5 + 100_000 * 0.25 + 1_000 * 15) / 1e6)
    assert price is not None
    assert (rates(price, "", long=False), rates(price, "", long=True)) == ((1.25, 10.0), (2.5, 15.0))
    own = Price(input=1.0, cached_input=0.1, output=2.0, long_context=LongContext(above=10, input=2.0, output=3.0))
    assert cost(Usage(prompt=20, completion=1, cached=10), own) == pytest.approx((10 * 2 + 10 * 0.2 + 3) / 1e6)


def test_a_service_tier_costs_its_share_and_one_without_a_word_has_no_known_cost() -> None:
    told = {"prompt_tokens": 1_000_000, "completion_tokens": 100_000}
    usual, flex, priority = (usage_from_wire(told, one) for one in ("default", "flex", "priority"))
    price = price_of({}, "mine", "openai", "gpt-5")
    assert price and rates(price, "priority", long=False) == (2.5, 20.0)
    full = 1.25 + 1.0
    assert [cost(one, price) for one in (usual, flex, priority)] == pytest.approx([full, full / 2, full * 2])
    assert cost(flex, price_of({}, "mine", "openai", "gpt-4o")) is None
    assert usage_from_wire(told, "on_demand") == usual


def test_a_count_below_nothing_pays_nobody() -> None:
    assert usage_from_wire({"prompt_tokens": -5, "completion_tokens": 5}) is None
    assert usage_from_wire({"prompt_tokens": 10**30, "completion_tokens": 5}) is None
    assert usage_from_wire({"prompt_tokens": 5, "completion_tokens": -5}) is None
    details = {"cached_tokens": -3, "audio_tokens": -1, "image_tokens": -2, "cache_write_tokens": -9}
    told = {"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": details, "completion_tokens_details": {"audio_tokens": -4}}
    assert usage_from_wire(told) == Usage(5, 5)
