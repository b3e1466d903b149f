"""A process that generates, as the engine sees it: vLLM, or the transformers server, on a unix socket of their own.

Both understand the same four requests: a completion with log-probabilities, an adapter in, an adapter out, and health.
The socket lies in the data directory, so nobody but this installation reaches them, admin requests included.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from msgspec import Struct

from gateway.errors import Unavailable
from trainer.engines.batching import Reply
from trainer.training.generative import Generative, raw_score

_LOAD_S, _ANSWER_S = 120.0, 120.0


class _Logprobs(Struct):
    token_logprobs: list[float]


class _Choice(Struct):
    text: str
    finish_reason: str | None
    logprobs: _Logprobs | None


class _Completion(Struct):
    choices: list[_Choice]


@dataclass(slots=True)
class _Loaded:
    ready: asyncio.Task[None]
    asking: int = 0


@dataclass(slots=True)
class Backend:
    """At most ``capacity`` students are loaded; the one asked longest ago, of which nobody waits, makes room."""

    name: str
    socket: Path
    capacity: int
    _session: aiohttp.ClientSession | None = None
    _loaded: OrderedDict[str, _Loaded] = field(default_factory=OrderedDict)
    _busy: int = 0

    async def ask(self, student: str, model: Generative, digest: str, text: str) -> Reply:
        """The student's answer with its calibrated confidence. Raises Unavailable."""
        for again in (False, True):
            loaded = self._load(student, model)
            loaded.asking += 1
            self._busy += 1
            began, sharing = time.monotonic(), self._busy
            try:
                await asyncio.shield(loaded.ready)
                status, body = await self._post("/v1/completions", _question(student, model, text), _ANSWER_S)
            finally:
                loaded.asking -= 1
                self._busy -= 1
            if status == HTTPStatus.OK:
                said, sure = _read(model, body)
                spent = (time.monotonic() - began) * 1000.0 / sharing
                return Reply(top=((said, sure),), cpu_ms=spent, digest=digest, engine=self.name)
            if status != HTTPStatus.NOT_FOUND or again:
                break
            self._loaded.pop(student, None)  # the process is a new one and knows no student yet
        raise Unavailable(
            f"The {self.name} engine refused student {student!r} ({status}).", code="engine_refused"
        )

    async def load(self, student: str, model: Generative) -> None:
        """Loads a student now rather than at its first call. Raises Unavailable."""
        await asyncio.shield(self._load(student, model).ready)

    async def unload(self, student: str) -> bool:
        """Frees a student's memory. → whether it was loaded."""
        found = self._loaded.pop(student, None)
        if found is None:
            return False
        await self._post("/v1/unload_lora_adapter", {"lora_name": student}, _LOAD_S)
        return True

    async def healthy(self) -> bool:
        try:
            async with self._client().get(
                "http://engine/health", timeout=aiohttp.ClientTimeout(2.0)
            ) as answer:
                return answer.status == HTTPStatus.OK
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def students(self) -> list[str]:
        return list(self._loaded)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    # ------------------------------------------------------------ inside
    def _load(self, student: str, model: Generative) -> _Loaded:
        found = self._loaded.get(student)
        if found is None:
            found = self._loaded[student] = _Loaded(asyncio.create_task(self._bring(student, model)))
            found.ready.add_done_callback(lambda task: self._forget_failed(student, task))
        self._loaded.move_to_end(student)
        return found

    async def _bring(self, student: str, model: Generative) -> None:
        idle = [name for name, one in self._loaded.items() if name != student and one.asking == 0]
        for name in idle[: max(0, len(self._loaded) - self.capacity)]:
            await self.unload(name)
        path = str(model.folder.resolve())
        status, body = await self._post(
            "/v1/load_lora_adapter", {"lora_name": student, "lora_path": path}, _LOAD_S
        )
        if status != HTTPStatus.OK and b"already" not in body:
            raise Unavailable(
                f"The {self.name} engine could not load student {student!r} ({status}); its log says why.",
                code="student_not_loaded",
            )

    def _forget_failed(self, student: str, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._loaded.pop(student, None)

    async def _post(self, path: str, body: dict[str, Any], seconds: float) -> tuple[int, bytes]:
        try:
            async with self._client().post(
                f"http://engine{path}", data=msgspec.json.encode(body), timeout=aiohttp.ClientTimeout(seconds),
                headers={"content-type": "application/json"},
            ) as answer:  # fmt: skip
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise Unavailable(
                f"The {self.name} engine does not answer ({type(problem).__name__}); it may still be starting.",
                code="engine_away",
            ) from None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(str(self.socket), limit=256)
            )
        return self._session


def _question(student: str, model: Generative, text: str) -> dict[str, Any]:
    return {
        "model": student,
        "prompt": model.plan.frame.around(text),
        "add_special_tokens": False,
        "max_tokens": model.plan.max_new_tokens,
        "temperature": 0,
        "logprobs": 0,
    }


def _read(model: Generative, body: bytes) -> tuple[str, float]:
    """(text, confidence): 0 for an answer that was cut, or that says nothing of its probability."""
    try:
        choice = msgspec.json.decode(body, type=_Completion).choices[0]
    except (msgspec.MsgspecError, IndexError):
        raise Unavailable("The engine's answer cannot be read.", code="engine_refused") from None
    logs = choice.logprobs.token_logprobs if choice.logprobs is not None else []
    ended = choice.finish_reason == "stop" and bool(logs)
    return choice.text, model.plan.calibration(raw_score(logs)) if ended else 0.0
