"""What a model can do: the shipped table ``gateway/routing/models.yaml``, and the operator's own before it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import msgspec
import yaml
from msgspec import Struct

from gateway.config import Model
from optimizer.routing.facts import Capability

_UNKNOWN = Model()


class _Listed(Struct, frozen=True, forbid_unknown_fields=True):
    context_window: int
    max_output: int
    capabilities: list[Capability]
    also: list[str] = []


class _Vendor(Struct, frozen=True, forbid_unknown_fields=True):
    as_of: str
    source: str
    models: dict[str, _Listed]


@cache
def shipped_models() -> Mapping[str, Mapping[str, Model]]:
    """By provider profile and model; read once."""
    raw = yaml.safe_load(files("gateway.routing").joinpath("models.yaml").read_text(encoding="utf-8"))
    vendors = msgspec.convert(raw, dict[str, _Vendor])
    return {profile: _table(vendor) for profile, vendor in vendors.items()}


def _table(vendor: _Vendor) -> dict[str, Model]:
    return {
        name: Model(
            one.context_window, one.max_output, one.capabilities, as_of=vendor.as_of, source=vendor.source
        )
        for model, one in vendor.models.items()
        for name in (model, *one.also)
    }


def model_of(own: Mapping[str, Mapping[str, Model]], provider: str, profile: str, model: str) -> Model:
    """What is known of a model; each field of the operator's entry that says something comes first."""
    listed = shipped_models().get(profile, {}).get(model, _UNKNOWN)
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
