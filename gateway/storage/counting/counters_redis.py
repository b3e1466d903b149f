"""Counters shared by many processes, in Redis. One round trip per reservation; settlements go out in the background.

Redis may vanish, hang, come back empty or old, or hold nonsense; serving goes on and nothing becomes unlimited:

* A command that fails, or takes longer than 50 ms, hands its call to ``gateway.storage.counting.standby``, which gives
  each process its share; after two failures in a row Redis is left alone until a probe in the background answers.
* The truth about money is the ledger. A budget that Redis does not know is seeded from it (set if absent), and
  every budget in use is raised to it every two seconds and before Redis is trusted again: never lowered.
* A key of a wrong type is rewritten by the scripts (``lua/``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Sequence
from functools import partial
from importlib.resources import files
from typing import Any

import msgspec

from gateway.concurrency.patience import Patience
from gateway.concurrency.together import Together
from gateway.storage.counting.counters import (
    MONEY,
    REFRESH_S,
    WINDOWED,
    Decision,
    Hold,
    Ledger,
    Line,
    Rule,
    SpendingUnknown,
    Spent,
    over,
)
from gateway.storage.counting.redis_client import COMMAND_S, connect, ended, why
from gateway.storage.counting.standby import Standby

_log = logging.getLogger("understudy.counters")
_encode = msgspec.json.encode

PROBE_S = 0.25
_PRESENT_MS = 10_000
_FAILURES = 2
_SCRIPTS = ("reserve", "settle", "raise", "carry")
_QUEUE = 20_000
_BATCH = 200
_LIFE_MS = {"day": 3 * 86_400_000, "month": 40 * 86_400_000}
_SHARED = 0
"""``Hold.place`` of what Redis counted; the standby counts its outages from 1."""


class RedisCounters:
    """``replicas``: how many processes are known to share the limits, before Redis has told."""

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        spent: Spent = lambda rule, amount: None,
        *,
        prefix: str = "understudy",
        replicas: int = 1,
        patience_s: float = COMMAND_S,
    ) -> None:
        self._redis, self._failures = connect(url, patience_s)
        self._ledger, self._spent = ledger, spent
        self._prefix, self._patience = prefix, patience_s
        self._scripts = {
            name: self._redis.register_script(_lua(name)) for name in ("reserve", "settle", "raise", "carry")
        }
        self._me = uuid.uuid4().hex
        self._standby = Standby(ledger, replicas)
        self._queue: asyncio.Queue[tuple[Hold, tuple[int, ...]]] = asyncio.Queue(_QUEUE)
        self._asked: asyncio.Queue[tuple[list[str], list[Any], asyncio.Future[list[Any]]]] = asyncio.Queue()
        self._seeding: Together[tuple[str, ...], None] = Together()
        self._undone: OrderedDict[str, Hold] = OrderedDict()
        self._money: dict[str, Rule] = {}
        self._failed = 0
        self._refreshed = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False
        self.away = True

    async def start(self) -> None:
        """Asks once, so that the first call finds Redis if it is there, and keeps asking in the background."""
        await self._probe()
        if self.away:
            _log.warning("Redis cannot be reached yet: each process keeps to its share of the limits")
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._send())]
        self._tasks.append(asyncio.create_task(self._answer()))

    async def close(self) -> None:
        self._closed = True
        await ended(self._tasks)
        batch = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
        with contextlib.suppress(*self._failures, TimeoutError):
            for one in range(0, len(batch), _BATCH):
                await self._settle(batch[one : one + _BATCH])
            await self._timely(self._redis.zrem(f"{self._prefix}:replicas", self._me))
        with contextlib.suppress(*self._failures):
            await self._redis.aclose()

    # ------------------------------------------------------------------ Counters
    async def reserve(self, hold: str, rules: tuple[Rule, ...], *, ttl: float) -> Decision:
        if not self.away:
            try:
                return await self._reserve(hold, rules, ttl)
            except self._failures as problem:
                self._stumble(problem)
                self._undo(hold, rules)
            except asyncio.CancelledError:
                self._undo(hold, rules)
                raise
        return await self._standby.reserve(hold, rules, ttl=ttl)

    def settle(self, hold: Hold, amounts: Sequence[int]) -> None:
        if hold.place != _SHARED:
            self._standby.settle(hold, amounts)  # the ledger tells Redis
            return
        try:
            self._queue.put_nowait((hold, tuple(amounts)))
        except asyncio.QueueFull:
            _log.warning("a settlement was left to the ledger: too many are waiting")

    async def once(self, name: str, ttl: float) -> bool:
        try:
            key = f"{self._prefix}:once:{name}"
            return bool(await self._timely(self._redis.set(key, "1", nx=True, ex=max(1, int(ttl)))))
        except self._failures:
            return await self._standby.once(name, ttl)

    # ------------------------------------------------------------------ one reservation
    async def _reserve(self, hold: str, rules: tuple[Rule, ...], ttl: float) -> Decision:
        wire = _encode([(_letter(rule), rule.limit, rule.amount) for rule in rules])
        keys = self._keys(rules)
        for _ in range(3):
            reply = await self._ask(keys, [hold, int(ttl * 1000), wire])
            self._failed = 0
            if reply[0] >= 0:
                return self._decided(hold, rules, reply)
            await self._seed_once([rules[index] for index in reply[1]])
        raise TimeoutError("a budget does not stay seeded")

    async def _ask(self, keys: list[str], args: list[Any]) -> list[Any]:
        """Only waits: the connection belongs to ``_answer``, so a client that leaves cannot break it."""
        found: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait((keys, args, found))
        async with Patience(self._patience * 2):
            return await found

    async def _answer(self) -> None:
        """Sends what is asked at the same time together, over one connection."""
        while not self._closed:
            batch = [await self._asked.get()]
            while len(batch) < _BATCH and not self._asked.empty():
                batch.append(self._asked.get_nowait())
            try:
                replies: list[Any] = await self._together(
                    [("reserve", keys, args) for keys, args, _ in batch]
                )
            except self._failures as problem:
                replies = [problem] * len(batch)
            for (_, _, found), reply in zip(batch, replies, strict=True):
                if found.done():
                    continue
                if isinstance(reply, Exception):
                    found.set_exception(reply)
                else:
                    found.set_result(reply)

    async def _together(self, calls: Sequence[tuple[str, Sequence[str], Sequence[Any]]]) -> list[Any]:
        """Scripts in one round trip, or two when Redis has forgotten them. Replies may be errors."""
        replies: list[Any] = []
        for _ in range(2):
            pipe = self._redis.pipeline(transaction=False)
            for name, keys, args in calls:
                pipe.evalsha(self._scripts[name].sha, len(keys), *keys, *args)
            replies = await self._timely(pipe.execute(raise_on_error=False))
            if not any(type(reply).__name__ == "NoScriptError" for reply in replies):
                break
            for script in self._scripts.values():
                await self._timely(self._redis.script_load(script.script))
        return replies

    def _decided(self, hold: str, rules: tuple[Rule, ...], reply: list[Any]) -> Decision:
        allowed, refused, bucket, flat = reply
        lines = []
        for index, rule in enumerate(rules):
            used, wait, reset = flat[3 * index : 3 * index + 3]
            if allowed:
                used, wait = used + rule.amount, 0
                reset = 60_000 if rule.kind in WINDOWED else reset
            lines.append(Line(used, wait / 1000, reset / 1000))
            self._standby.seen(rule, used)
            if rule.kind in MONEY:
                self._money[rule.name] = rule
        if not allowed:
            return Decision(None, rules, tuple(lines), refused)
        return Decision(Hold(hold, rules, bucket, _SHARED), rules, tuple(lines))

    async def _seed_once(self, rules: list[Rule]) -> None:
        """Many calls may find the same budget unseeded at once; one of them asks the ledger for all."""
        await self._seeding.once(tuple(rule.name for rule in rules), partial(self._seed, rules))

    async def _seed(self, rules: Sequence[Rule]) -> None:
        """Raises SpendingUnknown when the ledger cannot tell."""
        args: list[int] = []
        for rule in rules:
            args += [await self._ledger(rule), _LIFE_MS[rule.kind]]
        await self._run("raise", [self._key(rule) for rule in rules], args)

    # ------------------------------------------------------------------ in the background
    async def _watch(self) -> None:
        while not self._closed:
            await asyncio.sleep(PROBE_S)
            await self._probe()

    async def _probe(self) -> None:
        """Says that this process is here, and how many are; after an outage brings Redis up to date first."""
        key, now = f"{self._prefix}:replicas", int(time.time() * 1000)
        try:
            pipe = self._redis.pipeline(transaction=False)
            pipe.zadd(key, {self._me: now + _PRESENT_MS})
            pipe.zremrangebyscore(key, "-inf", now)
            pipe.zcard(key)
            replies = await self._timely(pipe.execute(raise_on_error=False))
            if not isinstance(replies[2], int):
                await self._timely(self._redis.delete(key))  # it held something else
            else:
                self._standby.replicas = max(1, replies[2])
            if self.away or time.monotonic() - self._refreshed >= REFRESH_S:
                await self._catch_up()
            if self.away or self._undone or self._standby.used:
                await self._come_back()
        except SpendingUnknown:
            return  # an outage ends when the ledger can tell what was spent in it
        except self._failures as problem:
            self._stumble(problem)

    async def _catch_up(self) -> None:
        self._refreshed = time.monotonic()
        now = time.time()
        self._money = {name: rule for name, rule in self._money.items() if not over(rule, now)}
        rules = list(({**self._money, **self._standby.money}).values())
        for start in range(0, len(rules), _BATCH):
            await self._seed(rules[start : start + _BATCH])

    async def _come_back(self) -> None:
        totals = list(self._standby.end().items())
        if totals:
            keys = [f"{self._prefix}:{{l}}:{name}" for name, _ in totals]
            with contextlib.suppress(*self._failures):
                await self._run("carry", keys, [amount for _, amount in totals])
        undone, self._undone = list(self._undone.values()), OrderedDict()
        for hold in undone:
            self.settle(hold, [0 if rule.kind not in WINDOWED else rule.amount for rule in hold.rules])
        if self.away:
            _log.warning("Redis answers: limits are shared")
        self._failed, self.away = 0, False

    async def _send(self) -> None:
        """Settles in batches; what fails is given back once Redis answers again."""
        while not self._closed:
            batch = [await self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                if not self.away:
                    await self._settle(batch)
                    continue
            except self._failures as problem:
                self._stumble(problem)
            for (
                hold,
                _,
            ) in batch:  # its money reaches Redis through the ledger; to add it here too would be twice
                self._undo(hold.id, hold.rules)

    async def _settle(self, batch: Sequence[tuple[Hold, tuple[int, ...]]]) -> None:
        calls: list[tuple[str, Sequence[str], Sequence[Any]]] = []
        for hold, amounts in batch:
            rules = zip(hold.rules, amounts, strict=True)
            wire = _encode([(_letter(rule), rule.amount, amount) for rule, amount in rules])
            calls.append(("settle", self._keys(hold.rules), [hold.id, hold.bucket, wire]))
        replies = await self._together(calls)
        for (hold, _), reply in zip(batch, replies, strict=True):
            if isinstance(reply, Exception):
                raise reply
            for rule, spent in zip(hold.rules, reply, strict=True):
                if rule.kind in MONEY and spent >= 0:
                    self._spent(rule, int(spent))

    # ------------------------------------------------------------------ Redis
    async def _run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        return await self._timely(self._scripts[script](keys=keys, args=args))

    async def _timely(self, command: Awaitable[Any]) -> Any:
        async with Patience(self._patience):
            return await command

    def _stumble(self, problem: BaseException) -> None:
        self._failed += 1
        if self._failed == 1 and not self.away:
            self._standby.begin()
        if self._failed >= _FAILURES and not self.away:
            self.away = True
            _log.warning("Redis is away (%s): each process keeps to its share of the limits", why(problem))

    def _undo(self, hold: str, rules: tuple[Rule, ...]) -> None:
        """A reservation may have been made although nobody heard of it: it is given back later."""
        self._undone[hold] = Hold(hold, rules, -1, _SHARED)
        if len(self._undone) > _QUEUE:
            self._undone.popitem(last=False)

    def _keys(self, rules: Sequence[Rule]) -> list[str]:
        return [key for rule in rules for key in (self._key(rule), f"{self._key(rule)}:holds")]

    def _key(self, rule: Rule) -> str:
        return f"{self._prefix}:{{l}}:{rule.name}"  # one hash slot, so that a cluster takes the scripts too


def _letter(rule: Rule) -> str:
    return "w" if rule.kind in WINDOWED else "c" if rule.kind == "concurrency" else "m"


def _lua(name: str) -> str:
    return files("gateway.storage.counting").joinpath("lua", f"{name}.lua").read_text(encoding="utf-8")
