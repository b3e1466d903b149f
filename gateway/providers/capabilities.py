"""What a dialect's models can do where they differ: the catalog's entries, and the operator's own before them."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

from msgspec import structs

from gateway.catalog import Ability, vendor
from optimizer.routing.facts import Capability

__all__ = ["Ability", "abilities", "most_choices", "most_stops", "without"]


def abilities(dialect: str, own: list[Ability], host: str = "") -> Callable[[str], Ability]:
    """The look-up for one provider: the first entry that fits a model's name, the operator's before ours. ``host``:
    who runs these models, if not their vendor."""
    known = vendor(dialect)
    thinking = known.thinking if known is not None else None
    listed = thinking.models if thinking is not None else []
    plain = thinking.hosts[host].plain if thinking is not None and host in thinking.hosts else []

    def find(model: str) -> Ability:
        for one in own:
            if fnmatchcase(model, one.match):
                return one
        found = next((one for one in listed if fnmatchcase(model, one.match)), Ability(match=model))
        return structs.replace(found, structured=False) if any(fnmatchcase(model, one) for one in plain) else found

    return find


def most_choices(dialect: str) -> int:
    """The largest ``n`` that one request to a vendor may have."""
    known = vendor(dialect)
    return known.wire.most_choices if known is not None else 1


def most_stops(dialect: str) -> int | None:
    """How many stop sequences one request to a vendor may name; None where no limit is known."""
    known = vendor(dialect)
    return known.wire.most_stops if known is not None else None


def without(name: str, capability: Capability) -> frozenset[str]:
    """The models of a vendor that are known to lack something."""
    known = vendor(name)
    listed = known.models.models if known is not None and known.models is not None else {}
    return frozenset(
        name for model, one in listed.items() if capability not in one.capabilities for name in (model, *one.also)
    )
