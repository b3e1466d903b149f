"""Which generative student is served by which backend, and why none can serve one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from gateway.errors import Unavailable
from trainer.artifacts.artifact import Artifact, ArtifactRefused, valid_student
from trainer.artifacts.seal import signed
from trainer.engines.backend import Backend
from trainer.engines.batching import Reply, unknown
from trainer.training.bases import BaseRefused, check
from trainer.training.generative import Generative


class Generators:
    """``vllm`` serves adapters of its one base; ``local`` (the transformers server) serves every other student."""

    def __init__(
        self, artifacts: Path, *, vllm: Backend | None, vllm_base: str, local: Backend | None,
        key: Callable[[], str | None] = lambda: None,
    ) -> None:  # fmt: skip
        """``key``: as of :class:`~trainer.engines.batching.Students`."""
        self._artifacts, self._vllm, self._local, self._key = artifacts, vllm, local, key
        self._vllm_base, self._vllm_digest = vllm_base, ""
        self._known: dict[str, Artifact] = {}
        self._others: set[str] = set()

    def is_generative(self, student: str) -> bool:
        """By its files alone; what they hold is verified before it serves. Looked at once for each student."""
        if student in self._known or student in self._others or not valid_student(student):
            return student in self._known
        folder = self._artifacts / student
        other = (folder / "vocabulary.json").exists()
        if other:
            self._others.add(student)
        return not other and (folder / "manifest.json").is_file()

    async def ask(self, student: str, text: str) -> Reply:
        """Raises NotFound for an unknown student, Unavailable when nothing can serve it."""
        artifact, model = await self._artifact(student)
        return await self._backend(student, model).ask(student, model, artifact.digest, text)

    async def load(self, student: str) -> None:
        """Raises as :meth:`ask`."""
        _, model = await self._artifact(student)
        await self._backend(student, model).load(student, model)

    async def unload(self, student: str) -> bool:
        self._known.pop(student, None)
        self._others.discard(student)
        return any([await one.unload(student) for one in (self._vllm, self._local) if one is not None])

    async def health(self) -> dict[str, dict[str, object]]:
        """By backend: whether it answers, what it holds, how much it may hold."""
        return {
            one.name: {"ok": await one.healthy(), "students": one.students(), "capacity": one.capacity}
            for one in (self._vllm, self._local)
            if one is not None
        }

    async def close(self) -> None:
        for one in (self._vllm, self._local):
            if one is not None:
                await one.close()

    async def _artifact(self, student: str) -> tuple[Artifact, Generative]:
        found = self._known.get(student)
        if found is None:
            if not self.is_generative(student):
                raise unknown(student)
            try:
                found = await asyncio.to_thread(self._read, student)
            except ArtifactRefused as problem:
                raise Unavailable(
                    f"Student {student!r} cannot serve: {problem}. Retrain it, or restore its artifact.",
                    code="artifact_refused",
                ) from None
            self._known[student] = found
        assert isinstance(found.parameters, Generative)
        return found, found.parameters

    def _read(self, student: str) -> Artifact:
        """Verifies the files, and which base vLLM has; blocking. Raises ArtifactRefused."""
        if self._vllm is not None:
            try:
                self._vllm_digest = check(Path(self._vllm_base)).digest
            except BaseRefused:
                self._vllm_digest = ""
        return signed(self._artifacts / student, self._key())

    def _backend(self, student: str, model: Generative) -> Backend:
        """Raises Unavailable, saying what to configure."""
        plan = model.plan
        if self._vllm is not None and plan.adapt != "full" and plan.base_digest == self._vllm_digest:
            return self._vllm
        if self._local is not None:
            return self._local
        raise Unavailable(
            f"No engine serves student {student!r}: configure engines.vllm with its base, or engines.transformers.",
            code="no_engine",
        )
