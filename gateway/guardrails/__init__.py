"""Guardrails. The union below is the registry and the YAML schema: a new one is one file and one line."""

from gateway.guardrails.blocklist import Blocklist
from gateway.guardrails.classifier import Classifier
from gateway.guardrails.groundedness.entailment import Entailment
from gateway.guardrails.groundedness.groundedness import Groundedness
from gateway.guardrails.guardrail import Category, Guardrail, Place, Rating, Scene, Trial
from gateway.guardrails.injection.injection import Injection
from gateway.guardrails.json_schema import JsonSchema
from gateway.guardrails.judge_model import JudgeModel
from gateway.guardrails.language import Language
from gateway.guardrails.length import Length
from gateway.guardrails.moderation import Moderation
from gateway.guardrails.pii.pii import Pii
from gateway.guardrails.prompt_leak import PromptLeak
from gateway.guardrails.refusal import Refusal
from gateway.guardrails.regex import Regex
from gateway.guardrails.secrets import Secrets
from gateway.guardrails.spotlight import Spotlight
from gateway.guardrails.topics import Topics
from gateway.guardrails.toxicity.detoxify import Detoxify
from gateway.guardrails.toxicity.toxicity import Toxicity
from gateway.guardrails.urls import Urls
from gateway.guardrails.webhook import Webhook

GuardrailSettings = (
    Pii | Blocklist | Injection | Length | Secrets | Urls | Classifier | Detoxify | Entailment | Moderation
    | JudgeModel | Webhook
    | Groundedness | JsonSchema | Language | PromptLeak | Refusal | Regex | Spotlight | Topics | Toxicity
)  # fmt: skip

__all__ = [
    "Blocklist", "Category", "Classifier", "Detoxify", "Entailment", "Groundedness", "Guardrail", "GuardrailSettings",
    "Injection", "JsonSchema", "JudgeModel", "Language", "Length", "Moderation", "Pii", "Place", "PromptLeak", "Rating",
    "Refusal", "Regex", "Scene", "Secrets", "Spotlight", "Topics", "Toxicity", "Trial", "Urls", "Webhook",
]  # fmt: skip
