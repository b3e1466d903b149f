"""Guardrails inside a realtime session: what its client says, and what its provider does, event by event."""
