"""OpenAI's Responses API and what it remembers."""
