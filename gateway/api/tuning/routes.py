"""/v1/fine_tuning/jobs and DELETE /v1/models/{ft}: unpacking only. All of it needs the scope ``train``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response, delete, get, post

from gateway.api.files.routes import Told, answer
from gateway.api.http import Authenticator, read_body
from gateway.api.tuning.jobs import Jobs
from gateway.api.tuning.shown import shown
from gateway.context import Principal
from gateway.protocol.body import decode_object

_LONGEST_BODY = 64 * 1024
Client = Request[Any, Any, Any]


def tuning_routes(jobs: Jobs, who: Authenticator) -> list[Any]:
    def asking(request: Client) -> Principal:
        return who({name.lower(): value for name, value in request.headers.items()})

    async def acted(request: Client, act: Callable[[Principal, str], Awaitable[Any]]) -> Response[bytes]:
        with Told():
            return answer(await act(asking(request), str(request.path_params["job"])))

    @post("/v1/fine_tuning/jobs", status_code=200)
    async def create_job(request: Client) -> Response[bytes]:
        principal = asking(request)
        body = await read_body(request.scope, request.receive, limit=_LONGEST_BODY, idle=30.0)
        with Told():
            return answer(await jobs.create(principal, decode_object(body)))

    @get("/v1/fine_tuning/jobs")
    async def list_jobs(request: Client) -> Response[bytes]:
        principal = asking(request)
        with Told():
            return answer(await jobs.page(principal.project, list(request.query_params.multi_items())))

    @get("/v1/fine_tuning/jobs/{job:str}")
    async def retrieve_job(request: Client) -> Response[bytes]:
        async def one(principal: Principal, job: str) -> Any:
            return shown(await jobs.one(principal.project, job))

        return await acted(request, one)

    @get("/v1/fine_tuning/jobs/{job:str}/events")
    async def list_job_events(request: Client) -> Response[bytes]:
        query = list(request.query_params.multi_items())
        return await acted(request, lambda principal, job: jobs.events(principal.project, job, query))

    @get("/v1/fine_tuning/jobs/{job:str}/checkpoints")
    async def list_job_checkpoints(request: Client) -> Response[bytes]:
        query = list(request.query_params.multi_items())
        return await acted(request, lambda principal, job: jobs.checkpoints(principal.project, job, query))

    @post("/v1/fine_tuning/jobs/{job:str}/cancel", status_code=200)
    async def cancel_job(request: Client) -> Response[bytes]:
        return await acted(request, jobs.cancel)

    @post("/v1/fine_tuning/jobs/{job:str}/pause", status_code=200)
    async def pause_job(request: Client) -> Response[bytes]:
        return await acted(request, jobs.pause)

    @post("/v1/fine_tuning/jobs/{job:str}/resume", status_code=200)
    async def resume_job(request: Client) -> Response[bytes]:
        return await acted(request, jobs.resume)

    @delete("/v1/models/{model:path}", status_code=200)
    async def delete_model(request: Client) -> Response[bytes]:
        name = str(request.path_params["model"]).removeprefix("/")
        with Told():
            return answer(await jobs.delete_model(asking(request), name))

    return [
        create_job, list_jobs, retrieve_job, list_job_events, list_job_checkpoints,
        cancel_job, pause_job, resume_job, delete_model,
    ]  # fmt: skip
