"""The transformers engine: generative students with merged weights, on this machine, without vLLM.

    python -m trainer.engines.transformers --home DIR [--max-students 2]

It speaks the part of vLLM's protocol that ``trainer.engines.backend`` uses, on a unix socket. The library's own server
gives no log-probabilities, and a student without a confidence may not answer; hence this one.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway.errors import GatewayError, NotFound, Unavailable
from gateway.protocol.body import decode_object, typed
from gateway.storage.home import Home
from trainer.artifacts.artifact import ArtifactRefused, load
from trainer.engines.asgi import Application, Response, serve_on
from trainer.training.bases import BaseRefused, check
from trainer.training.generative import Generative

_TOGETHER = 16


class _Adapter(Struct):
    lora_name: str
    lora_path: str = ""


class _Question(Struct):
    model: str
    prompt: str
    max_tokens: int


class Merged:
    """The loaded students, at most ``capacity``; one thread computes, a batch of waiting questions at a time."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._speakers: OrderedDict[str, Any] = OrderedDict()
        self._waiting: list[tuple[_Question, asyncio.Future[dict[str, Any]]]] = []
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="generate")

    async def load(self, body: bytes) -> Response:
        """Verifies an artifact, merges its adapter and keeps it. Raises Unavailable."""
        wanted = typed(decode_object(body), _Adapter)
        try:
            speaker = await self._compute(_speaker, Path(wanted.lora_path))
        except (ArtifactRefused, BaseRefused) as problem:
            raise Unavailable(f"Student {wanted.lora_name!r} cannot serve: {problem}.") from None
        self._speakers[wanted.lora_name] = speaker
        while len(self._speakers) > self._capacity:
            self._speakers.popitem(last=False)
        return Response(msgspec.json.encode({"loaded": wanted.lora_name}))

    async def unload(self, body: bytes) -> Response:
        name = typed(decode_object(body), _Adapter).lora_name
        return Response(msgspec.json.encode({"unloaded": self._speakers.pop(name, None) is not None}))

    async def complete(self, body: bytes) -> Response:
        """Raises NotFound for a student that is not loaded."""
        question = typed(decode_object(body), _Question)
        if question.model not in self._speakers:
            raise NotFound(f"The student {question.model[:96]!r} is not loaded.", code="model_not_found")
        self._speakers.move_to_end(question.model)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return Response(msgspec.json.encode(await answer))

    async def health(self, _: bytes) -> Response:
        return Response(b"{}")

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _work(self) -> None:
        """Answers what waits, neighbours for one student together, until nothing does."""
        try:
            while self._waiting:
                await asyncio.sleep(0)
                student = self._waiting[0][0].model
                batch = [one for one in self._waiting if one[0].model == student][:_TOGETHER]
                self._waiting = [one for one in self._waiting if one not in batch]
                await self._answer(self._speakers.get(student), batch)
        finally:
            self._worker = None

    async def _answer(
        self, speaker: Any, batch: list[tuple[_Question, asyncio.Future[dict[str, Any]]]]
    ) -> None:
        try:
            said = await self._compute(_complete, speaker, [question for question, _ in batch])
        except Exception as problem:  # whatever fails, no question may wait for ever
            said = [problem] * len(batch)
        for (_, future), one in zip(batch, said, strict=True):
            if future.done():
                continue
            if isinstance(one, Exception):
                future.set_exception(one)
            else:
                future.set_result(one)

    async def _compute(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def _speaker(folder: Path) -> Any:
    from trainer.training.models import CannotLoad, grown

    artifact = load(folder)
    if not isinstance(artifact.parameters, Generative):
        raise ArtifactRefused("it is no generative student")
    plan = artifact.parameters.plan
    base = check(Path(plan.base))
    if base.digest != plan.base_digest:
        raise ArtifactRefused("the base is not the one the student was trained from")
    try:
        return grown(folder, base, plan.adapt)
    except CannotLoad as problem:
        raise ArtifactRefused(str(problem)) from None


def _complete(speaker: Any, questions: list[_Question]) -> list[dict[str, Any]]:
    from trainer.training.speak import continue_prompts

    if speaker is None:
        raise GatewayError("The student was unloaded.")
    said = continue_prompts(
        speaker, [one.prompt for one in questions], max(one.max_tokens for one in questions)
    )
    return [
        {
            "choices": [{
                "index": 0, "text": one.text, "finish_reason": "stop" if one.ended else "length",
                "logprobs": {"token_logprobs": list(one.logprobs)},
            }]
        }
        for one in said
    ]  # fmt: skip


def _warm() -> None:
    """Imports what the first load would wait for. Ends the process with a sentence when it is not installed."""
    try:
        import trainer.training.speak  # noqa: F401
    except ImportError:
        raise SystemExit("engines.transformers needs the extra: pip install 'understudy[train]'") from None


def main() -> None:
    parser = argparse.ArgumentParser(prog="trainer.engines.transformers", description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--max-students", type=int, default=2)
    options = parser.parse_args()
    home = Home(options.home.resolve())
    home.prepare()
    _warm()
    merged = Merged(options.max_students)
    application = Application({
        "/v1/completions": ("POST", merged.complete),
        "/v1/load_lora_adapter": ("POST", merged.load),
        "/v1/unload_lora_adapter": ("POST", merged.unload),
        "/health": ("GET", merged.health),
    })  # fmt: skip
    try:
        asyncio.run(serve_on(home.transformers_socket, application))
    finally:
        merged.close()


if __name__ == "__main__":
    main()
