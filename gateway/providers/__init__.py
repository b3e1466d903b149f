"""Providers: one codec per wire dialect. The union below is the registry and the YAML schema: a new dialect is
one file and one line; a compatible vendor is data (``gateway/catalog``)."""

from gateway.providers.anthropic.provider import AnthropicProvider
from gateway.providers.azure.provider import AzureProvider
from gateway.providers.bedrock.provider import BedrockProvider
from gateway.providers.classifier import ClassifierProvider
from gateway.providers.cohere.provider import CohereProvider
from gateway.providers.gemini.provider import GeminiProvider
from gateway.providers.openai.provider import OpenAIProvider
from gateway.providers.vertex.provider import VertexProvider

ProviderSettings = (
    OpenAIProvider
    | AzureProvider
    | AnthropicProvider
    | GeminiProvider
    | BedrockProvider
    | CohereProvider
    | VertexProvider
    | ClassifierProvider
)

__all__ = [
    "AnthropicProvider",
    "AzureProvider",
    "BedrockProvider",
    "ClassifierProvider",
    "CohereProvider",
    "GeminiProvider",
    "OpenAIProvider",
    "ProviderSettings",
    "VertexProvider",
]
