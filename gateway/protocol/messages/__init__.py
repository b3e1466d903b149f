"""Anthropic's Messages API in chat's words and back."""
