"""Where bandits remember: a narrow protocol, and the memory of one process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol

from optimizer.bandits.arms import Arm, decayed, rewarded


class BanditState(Protocol):
    """``scope`` names one bandit (a task under a policy), ``arm`` one candidate of it. Never blocks."""

    def arms(self, scope: str, *, now: float, half_life_s: float) -> Mapping[str, Arm]:
        """A frozen view; it may be a little old, and stays as it is however the state goes on."""

    def play(self, scope: str, arm: str, value: float, *, now: float, half_life_s: float) -> None:
        """One reward in [0, 1]. Rewards are added up one by one: nothing is ever written as an absolute."""

    def known(self) -> Mapping[str, Mapping[str, Arm]]:
        """The arms of every scope, as they were last played."""

    def adopt(self, scope: str, arms: Mapping[str, Arm]) -> None:
        """Begins a scope where somebody else stands; one that has plays of its own stays as it is."""


class MemoryBanditState:
    """The views are renewed at most every ``refresh_s``, so that the shares of a view are computed once and not
    once per call. Scopes idle longest are forgotten beyond ``most``."""

    def __init__(self, refresh_s: float = 0.5, most: int = 10_000) -> None:
        self._refresh_s, self._most = refresh_s, most
        self._scopes: OrderedDict[str, dict[str, Arm]] = OrderedDict()
        self._views: dict[str, tuple[float, Mapping[str, Arm]]] = {}

    def arms(self, scope: str, *, now: float, half_life_s: float) -> Mapping[str, Arm]:
        seen = self._views.get(scope)
        if seen is not None and 0 <= now - seen[0] < self._refresh_s:
            return seen[1]
        known = self._scopes.get(scope)
        if known is None:
            return {}
        view = {name: decayed(arm, now, half_life_s) for name, arm in known.items()}
        self._views[scope] = (now, view)
        return view

    def play(self, scope: str, arm: str, value: float, *, now: float, half_life_s: float) -> None:
        known = self._scopes.setdefault(scope, {})
        known[arm] = rewarded(known.get(arm, Arm(at=now)), value, now, half_life_s)
        self._scopes.move_to_end(scope)
        if len(self._scopes) > self._most:
            forgotten, _ = self._scopes.popitem(last=False)
            self._views.pop(forgotten, None)

    def known(self) -> Mapping[str, Mapping[str, Arm]]:
        return self._scopes

    def adopt(self, scope: str, arms: Mapping[str, Arm]) -> None:
        if scope not in self._scopes:
            self._scopes[scope] = dict(arms)
