"""Guardrails. The union below is the registry and the YAML schema: a new one is one file and one line."""

from gateway.guardrails.blocklist import Blocklist
from gateway.guardrails.guardrail import Category, Guardrail, Place, Rating, Scene, Trial
from gateway.guardrails.injection import Injection
from gateway.guardrails.length import Length
from gateway.guardrails.pii import Pii
from gateway.guardrails.secrets import Secrets
from gateway.guardrails.urls import Urls

GuardrailSettings = Pii | Blocklist | Injection | Length | Secrets | Urls

__all__ = [
    "Blocklist", "Category", "Guardrail", "GuardrailSettings", "Injection", "Length", "Pii", "Place", "Rating", "Scene",
    "Secrets", "Trial", "Urls",
]  # fmt: skip
