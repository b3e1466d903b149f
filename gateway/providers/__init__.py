"""Providers: one codec per wire dialect. The union below is the registry and the YAML schema: a new dialect is
one file and one line; a compatible vendor is data (``gateway/catalog``)."""

from gateway.providers.anthropic import AnthropicProvider
from gateway.providers.azure import AzureProvider
from gateway.providers.bedrock import BedrockProvider
from gateway.providers.classifier import ClassifierProvider
from gateway.providers.cohere import CohereProvider
from gateway.providers.gemini import GeminiProvider
from gateway.providers.openai_provider import OpenAIProvider
from gateway.providers.vertex import VertexProvider

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
