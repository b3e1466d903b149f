"""The wire: OpenAI's shapes as Structs, JSON bodies, server-sent events. A leaf: nothing of ours is imported."""
