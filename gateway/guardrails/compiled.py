"""Patterns of the guardrails' own, compiled when one is first needed: a gateway without such a guardrail starts sooner,
and one with it compiles them when it reads its policies."""

from __future__ import annotations

import re
from functools import cache


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
