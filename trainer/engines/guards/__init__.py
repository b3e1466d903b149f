"""The process of the guard models: what guardrails ask that is too heavy for the gateway's event loop."""
