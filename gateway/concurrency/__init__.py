"""How work waits and is shared within one event loop."""
