"""Puts together what is not chat: embeddings, moderations, images, audio, files, batches and fine-tuning."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from gateway.api.anthropic.batches import MessageBatches, message_batch_routes
from gateway.api.batches import Batches, batch_routes
from gateway.api.embeddings import Embeddings, embedding_routes
from gateway.api.evals.routes import Evals, eval_routes
from gateway.api.evals.runner import EvalRunner
from gateway.api.evals.store import EvalStore
from gateway.api.files.routes import file_routes
from gateway.api.files.uploads import upload_routes
from gateway.api.http import Authenticator
from gateway.api.moderations import Moderations, moderation_routes
from gateway.api.passthrough import pass_through_routes
from gateway.api.realtime.routes import GoingOn, realtime_routes
from gateway.api.surface import JsonEndpoint
from gateway.api.tuning.graders import grader_routes
from gateway.api.tuning.jobs import Jobs
from gateway.api.tuning.routes import tuning_routes
from gateway.api.vector_stores.routes import vector_store_routes
from gateway.api.vector_stores.work import Stores
from gateway.client_data.batches import BatchRunner, Once
from gateway.client_data.client_state import ClientStates
from gateway.client_data.named_files import NamedFiles
from gateway.live import Live
from gateway.retrieval.embedding import Embedding
from gateway.retrieval.searching import Searching
from gateway.retrieval.taking_in import TakingIn
from gateway.stages.record import Record
from gateway.storage.away import database_errors
from gateway.storage.commands import WriterAway
from gateway.storage.files import FileStore
from gateway.storage.home import Home
from gateway.storage.uploads import UploadStore
from gateway.storage.vector_stores import VectorStores
from gateway.storage.writing.writers import open_writer
from gateway.surface import Surface
from gateway.upstreams.upstream import Upstream
from gateway.webhooks import Deliveries

_SWEEP_S = 60.0


class DataSide:
    """``surface`` runs what is asked of providers, ``lines`` asks a batch's line of an API in front of the
    pipeline, by path. ``who`` gives the authenticator of a scope."""

    def __init__(
        self, home: Home, live: Live, surface: Surface, upstream: Upstream, record: Record,
        lines: Mapping[str, Once], who: Callable[[str], Authenticator], *, states: ClientStates,
        going_on: GoingOn,
    ) -> None:  # fmt: skip
        self.surface = surface
        self.writer = self._writer = open_writer(home)
        self.store, self._uploads = FileStore(home, live.reader, self._writer), UploadStore(home)
        live.documents = NamedFiles(self.store)
        embeddings = JsonEndpoint(surface, live, Embeddings())
        moderations = JsonEndpoint(surface, live, Moderations())
        asked: dict[str, Once] = {
            **lines,
            "/v1/embeddings": embeddings.once,
            "/v1/moderations": moderations.once,
        }
        self._runner = BatchRunner(live, self.store, self._writer, asked, lambda: record.live_calls)
        batches = Batches(live, self.store, self._writer, self._runner)
        self._deliveries = Deliveries(lambda: live.runtime().config.webhooks, live.reader, self._writer)
        self.announce = self._deliveries.announce
        kept, chat = EvalStore(home), lines["/v1/chat/completions"]
        self._evals = EvalRunner(live, kept, self.store, chat, self.announce, states.opened)
        self._vectors = VectorStores(home)
        self.store.forget = self._vectors.forget
        embedding = Embedding(live, embeddings.once)
        self._searching = Searching(self._vectors, embedding)
        self._taking_in = TakingIn(live, self._vectors, self.store, embedding)
        stores = Stores(live, self._vectors, self.store, embedding, self._searching, self._taking_in)
        live.library = stores
        self.routes: list[Any] = [
            *vector_store_routes(stores, live, who("data")),
            *embedding_routes(embeddings),
            *moderation_routes(moderations),
            *pass_through_routes(surface, live, self.store, who("inference")),
            *realtime_routes(surface, upstream, live, going_on),
            *file_routes(live, self.store, who("data")),
            *upload_routes(live, self.store, self._uploads, who("data")),
            *batch_routes(batches, who("inference")),
            *message_batch_routes(live, MessageBatches(live, self.store, batches), who("inference")),
            *tuning_routes(Jobs(live, self.store, self._writer, home.artifacts), who("train")),
            *grader_routes(live, chat, who("train")),
            *eval_routes(Evals(live, kept, self._evals), live, who("train")),
        ]
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        work = (self._runner.run(), self._evals.run(), self._sweep(), self._deliveries.run(), self._taking_in.run())
        self._tasks = [asyncio.create_task(one) for one in work]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.close()

    async def _sweep(self) -> None:
        while True:
            try:
                await self.store.sweep()
                await asyncio.to_thread(self._uploads.sweep)
                await asyncio.to_thread(self._vectors.sweep)
                await self._searching.sweep()
            except database_errors(WriterAway, OSError):
                pass  # what is left is swept the next time
            await asyncio.sleep(_SWEEP_S)
