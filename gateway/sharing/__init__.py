"""What the workers of one gateway tell each other over Redis (docs/workers.md)."""
