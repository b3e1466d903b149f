"""Anthropic's API in front of the pipeline."""
