"""Measures what docs/reliability.md holds the gateway to: ``python -m benchmarks.targets``."""
