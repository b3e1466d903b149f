"""No caller may be most of the evidence: bots that ask easy questions, or praise, must not carry a student through.

Whether a call counts depends on who sent it and on how many calls of whom counted before, never on whether the answers
agreed, so a sequence test on what is left stays valid at every look.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

ENOUGH = 20
"""Callers from which a cap means something: of fewer nobody can say who is too many."""
LEAST_SHARE = 0.02
TIMES_FAIR = 2.0
_ALWAYS = 20


@dataclass(slots=True)
class Admission:
    """Admits calls one by one, in call order."""

    admitted: int = 0
    left_out: int = 0
    users: Counter[str] = field(default_factory=Counter)
    keys: Counter[str] = field(default_factory=Counter)

    def admits(self, principal: str) -> bool:
        """Whether the next call of a principal (``key/user``) counts: while neither the user nor the key has more than
        twice its fair share of what counted, 2 % or 20 calls at least. "" is nobody in particular and always counts."""
        key = principal.partition("/")[0]
        if self._over(self.users, principal) or self._over(self.keys, key):
            self.left_out += 1
            return False
        self.users[principal] += 1
        self.keys[key] += 1
        self.admitted += 1
        return True

    @property
    def in_force(self) -> bool:
        """Whether there are callers enough for a cap on users to mean something."""
        return len(self.users) >= ENOUGH

    def _over(self, counted: Counter[str], name: str) -> bool:
        if not name or len(counted) < ENOUGH:
            return False
        share = max(LEAST_SHARE, TIMES_FAIR / len(counted))
        return counted[name] >= max(_ALWAYS, share * (self.admitted + 1))
