"""Providers: one codec per wire dialect. The union below is the registry and the YAML schema: a new dialect is
one file and one line; a compatible vendor is data (``profiles.yaml``)."""

from gateway.providers.classifier import ClassifierProvider
from gateway.providers.openai import OpenAIProvider

ProviderSettings = OpenAIProvider | ClassifierProvider

__all__ = ["ClassifierProvider", "OpenAIProvider", "ProviderSettings"]
