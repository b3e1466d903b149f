"""Whom guardrails ask: each question in its time box, a bounded number at once, behind a breaker a guardrail."""

from gateway.judges.beside import Beside
from gateway.judges.judges import Alone, Judges, Overloaded

__all__ = ["Alone", "Beside", "Judges", "Overloaded"]
