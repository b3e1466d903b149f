"""What a model can do: the catalog (``gateway/catalog``), and the operator's own before it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from gateway.catalog import vendor
from gateway.catalog.shapes import Gives, Models
from gateway.config import Model

_UNKNOWN = Model()


@cache
def listed_models(profile: str) -> Mapping[str, Model]:
    """The catalog's models of one vendor; {} for a vendor without any."""
    known = vendor(profile)
    return _table(known.models) if known is not None and known.models is not None else {}


@cache
def listed_uses(profile: str) -> Mapping[str, Gives]:
    """What the catalog's models of one vendor are asked for. Who is not there is not known."""
    known = vendor(profile)
    if known is None:
        return {}
    priced = known.prices.models if known.prices is not None else {}
    chatting: dict[str, Gives] = dict.fromkeys(listed_models(profile), "chat")
    return chatting | {also: one.gives for name, one in priced.items() for also in (name, *one.also)}


def _table(vendor: Models) -> dict[str, Model]:
    return {
        name: Model(
            one.context_window, one.max_output, one.capabilities, as_of=vendor.as_of, source=vendor.source
        )
        for model, one in vendor.models.items()
        for name in (model, *one.also)
    }


def model_of(own: Mapping[str, Mapping[str, Model]], provider: str, profile: str, model: str) -> Model:
    """What is known of a model; each field of the operator's entry that says something comes first."""
    listed = listed_models(profile).get(model, _UNKNOWN)
    mine = own.get(provider, {}).get(model)
    if mine is None:
        return listed
    return Model(
        context_window=mine.context_window if mine.context_window is not None else listed.context_window,
        max_output=mine.max_output if mine.max_output is not None else listed.max_output,
        capabilities=mine.capabilities if mine.capabilities is not None else listed.capabilities,
        quality=mine.quality,
        region=mine.region,
        shutdown_date=mine.shutdown_date,
        as_of=mine.as_of or listed.as_of,
        source=mine.source or listed.source,
    )
