"""Prompt injection and jailbreaks."""
