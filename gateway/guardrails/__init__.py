"""Guardrails. The union below is the registry and the YAML schema: a new one is one file and one line."""

from gateway.guardrails.blocklist import Blocklist
from gateway.guardrails.pii import Pii

GuardrailSettings = Pii | Blocklist

__all__ = ["Blocklist", "GuardrailSettings", "Pii"]
