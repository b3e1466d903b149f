"""The Responses API in chat's words and back."""
