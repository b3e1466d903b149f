"""Guardrails. The union below is the registry and the YAML schema: a new one is one file and one line."""

from gateway.guardrails.blocklist import Blocklist
from gateway.guardrails.classifier import Classifier
from gateway.guardrails.detoxify import Detoxify
from gateway.guardrails.guardrail import Category, Guardrail, Place, Rating, Scene, Trial
from gateway.guardrails.injection import Injection
from gateway.guardrails.judge_model import JudgeModel
from gateway.guardrails.length import Length
from gateway.guardrails.moderation import Moderation
from gateway.guardrails.pii import Pii
from gateway.guardrails.secrets import Secrets
from gateway.guardrails.urls import Urls
from gateway.guardrails.webhook import Webhook

GuardrailSettings = (
    Pii | Blocklist | Injection | Length | Secrets | Urls | Classifier | Detoxify | Moderation
    | JudgeModel | Webhook
)

__all__ = [
    "Blocklist", "Category", "Classifier", "Detoxify", "Guardrail", "GuardrailSettings", "Injection", "JudgeModel",
    "Length", "Moderation", "Pii", "Place", "Rating", "Scene", "Secrets", "Trial", "Urls", "Webhook",
]  # fmt: skip
