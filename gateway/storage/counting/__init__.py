"""Counters that limits, budgets and breakers share: in memory, or over Redis."""
