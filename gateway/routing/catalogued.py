"""Models that the policies do not name and the catalog knows at a provider of theirs: a client that has always said
``gpt-4o-mini`` goes on saying it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.config import Config
from gateway.money.pricing import listed_prices
from gateway.providers import ClassifierProvider
from gateway.routing.abilities import listed_models
from optimizer.routing.plan import Candidate


def catalogued(config: Config) -> Mapping[str, tuple[Candidate, ...]]:
    """Bare model names to the candidates that would serve them. A server whose models nobody knows is none, and neither
    is a provider that is disabled."""
    found: dict[str, list[Candidate]] = {}
    for provider, settings in sorted(config.providers.items()):
        if isinstance(settings, ClassifierProvider) or getattr(settings, "own_server", False):
            continue
        if provider not in config.disabled_providers:
            for model in sorted({*listed_prices(settings.profile), *listed_models(settings.profile)}):
                found.setdefault(model, []).append(Candidate(provider=provider, model=model))
    return {model: tuple(candidates) for model, candidates in found.items()}
