"""The client of the process of the guard models: a unix socket in the data directory, and a memory of late answers."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.guardrails.asking import NoAnswer

if TYPE_CHECKING:
    import aiohttp

_REMEMBERED, _LONGEST = 4_096, 16_384
_AT_ONCE = 64
_URL = "http://guards/v1/ask"


class GuardModels:
    """Made once, inside the event loop; ``close`` at shutdown. Earlier turns of a conversation come again with each
    one, so answers about texts of at most 16,384 characters are remembered, under the text's hash."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None
        self._known: OrderedDict[bytes, Any] = OrderedDict()

    async def ask(self, question: Mapping[str, Any]) -> list[Any]:
        """``{"spec": ..., "questions": [...]}`` → one answer each. Raises NoAnswer."""
        spec, questions = question["spec"], question["questions"]
        head = msgspec.json.encode(spec, order="sorted")
        keys = [_key(head, one) for one in questions]
        fresh = [at for at, key in enumerate(keys) if key not in self._known]
        answers: dict[int, Any] = {
            at: self._known[keys[at]] for at in range(len(keys)) if at not in set(fresh)
        }
        for at in answers:
            self._known.move_to_end(keys[at])
        if fresh:
            told = await self._post({"spec": spec, "questions": [questions[at] for at in fresh]})
            if len(told) != len(fresh):
                raise NoAnswer("the process of the guard models answered something else")
            for at, answer in zip(fresh, told, strict=True):
                answers[at] = answer
                self._remember(keys[at], questions[at], answer)
        return [answers[at] for at in range(len(questions))]

    def _remember(self, key: bytes, question: Any, answer: Any) -> None:
        if sum(map(len, [question] if isinstance(question, str) else question)) > _LONGEST:
            return
        self._known[key] = answer
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    async def _post(self, body: Mapping[str, Any]) -> list[Any]:
        session = await self._client()
        from aiohttp import ClientError  # loaded by now

        try:
            async with session.post(_URL, data=msgspec.json.encode(body)) as answer:
                data = msgspec.json.decode(await answer.read())
        except (ClientError, OSError, msgspec.MsgspecError) as problem:
            raise NoAnswer(
                f"the process of the guard models does not answer ({type(problem).__name__})"
            ) from None
        answers = data.get("answers") if isinstance(data, dict) else None
        if not isinstance(answers, list):
            error = data.get("error") if isinstance(data, dict) else None
            raise NoAnswer(str(error.get("message")) if isinstance(error, dict) else "no answers")
        return answers

    async def _client(self) -> aiohttp.ClientSession:
        """aiohttp is loaded here, in a thread: most gateways have no guard models."""
        if self._session is None:
            module = await asyncio.to_thread(import_module, "aiohttp")
        if self._session is None:  # nobody else was faster
            connector = module.UnixConnector(str(self._socket), limit=_AT_ONCE)
            self._session = module.ClientSession(
                connector=connector, timeout=module.ClientTimeout(total=None), trust_env=False
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _key(head: bytes, question: Any) -> bytes:
    return hashlib.sha256(head + b"\0" + msgspec.json.encode(question)).digest()
