"""The built-in engine: serves students over the OpenAI protocol on a unix socket.

    python -m trainer.engines.classifier --home DIR [--batch-window-ms 1] [--max-batch 64]

    POST /v1/chat/completions   model = a student's id; reads the last user message only
    GET  /v1/models             the students that could be asked
    POST /v1/students/load      {"student": id}: into memory now rather than at the first call
    POST /v1/students/unload    {"student": id}
    GET  /healthz

Classifiers and extractors are computed here; language models are asked of vLLM or of the transformers server behind
it. Students are loaded on demand and verified before they serve. Masking is the caller's work.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from gateway.errors import BadRequest
from gateway.protocol.body import decode_object, typed
from gateway.protocol.chat import ChatRequest, last_user_text
from gateway.storage.home import Home
from gateway.storage.signing import home_public_key
from trainer.engines import wire
from trainer.engines.asgi import Application, Response, serve_on
from trainer.engines.backend import Backend
from trainer.engines.batching import Students
from trainer.engines.generators import Generators


class _Named(Struct, frozen=True):
    student: str


class Engine:
    """Unpacks, asks the students, packs."""

    def __init__(self, students: Students, generators: Generators) -> None:
        self._students, self._generators = students, generators

    def application(self) -> Application:
        return Application({
            "/v1/chat/completions": ("POST", self._complete),
            "/v1/models": ("GET", self._models),
            "/v1/students/load": ("POST", self._load),
            "/v1/students/unload": ("POST", self._unload),
            "/healthz": ("GET", self._health),
        })  # fmt: skip

    async def _complete(self, body: bytes) -> Response:
        request = typed(decode_object(body), ChatRequest)
        if request.n is not None and request.n > 1:
            raise BadRequest("A student gives one answer: n must be 1.", param="n")
        generative = self._generators.is_generative(request.model)
        answerer = self._generators if generative else self._students
        reply = await answerer.ask(request.model, last_user_text(request.messages))
        headers = (
            (b"x-understudy-cpu-ms", b"%.4f" % reply.cpu_ms),
            (b"x-understudy-engine", reply.engine.encode()),
        )
        if request.streamed:
            text = b"".join(wire.events(request, reply, time.time()))
            return Response(text, content_type=b"text/event-stream; charset=utf-8", headers=headers)
        return Response(msgspec.json.encode(wire.completion(request, reply, time.time())), headers=headers)

    async def _models(self, _: bytes) -> Response:
        return Response(msgspec.json.encode(wire.models(self._students.names())))

    async def _load(self, body: bytes) -> Response:
        student = typed(decode_object(body), _Named).student
        if self._generators.is_generative(student):
            await self._generators.load(student)
        else:
            await self._students.load(student)
        return Response(msgspec.json.encode({"student": student, "loaded": True}))

    async def _unload(self, body: bytes) -> Response:
        student = typed(decode_object(body), _Named).student
        was_loaded = self._students.unload(student) or await self._generators.unload(student)
        return Response(msgspec.json.encode({"student": student, "loaded": False, "was_loaded": was_loaded}))

    async def _health(self, _: bytes) -> Response:
        return Response(
            msgspec.json.encode(
                {
                    "status": "ok",
                    "students_loaded": self._students.count(),
                    "backends": await self._generators.health(),
                }
            )
        )


async def serve(
    home: Home, *, batch_window_ms: float, max_batch: int, capacity: int, vllm_base: str = "", vllm_adapters: int = 8,
    local_students: int = 0,
) -> None:  # fmt: skip
    """Serves until SIGTERM or SIGINT; then finishes what was asked and removes the socket."""
    students = Students(
        home.artifacts, window_s=batch_window_ms / 1000.0, max_batch=max_batch, capacity=capacity,
        key=partial(home_public_key, home),
    )  # fmt: skip
    generators = Generators(
        home.artifacts,
        key=partial(home_public_key, home),
        vllm=Backend("vllm", home.vllm_socket, vllm_adapters) if vllm_base else None,
        vllm_base=vllm_base,
        local=Backend("transformers", home.transformers_socket, local_students) if local_students else None,
    )
    try:
        await serve_on(home.engine_socket, Engine(students, generators).application())
    finally:
        students.close()
        await generators.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="trainer.engines.classifier", description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=None, help="data directory (default: UNDERSTUDY_HOME)")
    parser.add_argument("--batch-window-ms", type=float, default=1.0)
    parser.add_argument("--max-batch", type=int, default=64)
    parser.add_argument("--max-students", type=int, default=32, help="students kept in memory")
    parser.add_argument("--vllm-base", default="", help="the base vLLM serves adapters of")
    parser.add_argument("--vllm-adapters", type=int, default=8, help="adapters vLLM holds at a time")
    parser.add_argument(
        "--transformers-students", type=int, default=0, help="students of the transformers server"
    )
    options = parser.parse_args()
    home = Home(options.home.resolve()) if options.home else Home.from_env()
    home.prepare()
    threadpool_limits(limits=1)
    asyncio.run(
        serve(
            home,
            batch_window_ms=options.batch_window_ms,
            max_batch=options.max_batch,
            capacity=options.max_students,
            vllm_base=options.vllm_base,
            vllm_adapters=options.vllm_adapters,
            local_students=options.transformers_students,
        )
    )


if __name__ == "__main__":
    main()
