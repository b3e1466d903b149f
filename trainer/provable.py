"""Which task versions no student can ever be proven on: nothing is trained for them.

Evidence comes from copies of requests that a student may answer (``optimizer.routing.eligibility``). Where the look of
a version's requests rules every student out, a training would cost time and a share of the task's error budget, and its
student would stand in shadow for ever.
"""

from __future__ import annotations

import logging

from gateway.storage.protocols import Reader
from optimizer.routing.eligibility import unanswerable
from trainer.planner import Scope

_log = logging.getLogger("understudy.trainer")


class Provable:
    """Remembers what it found: the look of a version never changes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: dict[Scope, str] = {}

    def never(self, scope: Scope) -> str:
        """Why no student of the scope could be proven; "" when one may be, or while no request of it is there."""
        if scope not in self._known:
            request = self._reader.training_request(*scope)
            if request is None:
                return ""
            self._known[scope] = why = unanswerable(request)
            if why:
                _log.info("%s (%s): no training, no student could answer such calls: %s", scope[1], scope[2], why)
        return self._known[scope]
