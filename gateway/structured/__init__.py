"""Structured answers where the provider does not guarantee them: what was demanded, how it is put to the provider,
whether the answer keeps to it, and what is said to its author when it does not. Pure; dispatch acts."""
