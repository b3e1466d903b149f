"""OpenAI's Responses API at a provider."""
