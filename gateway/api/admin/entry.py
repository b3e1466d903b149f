"""In and out of the admin page: the admin key, the second factor where there is one, and the session that follows."""

from __future__ import annotations

import math
from typing import Annotated, Any

from litestar import Response, get, post
from litestar.datastructures import Cookie
from msgspec import Meta, Struct

from gateway.access.refusals import address_of
from gateway.api.admin.desk import ACTOR, Desk, DeskHere, Plain, json_body, reason_in
from gateway.api.admin.doors import cookie_name, same_origin
from gateway.api.admin.sessions import ABSOLUTE_S, IDLE_S, Session, key_matches
from gateway.api.admin.shapes import Done, SessionView
from gateway.errors import NotFound, RateLimited, Refused, Unauthenticated

_WRONG = "This is not the admin key. It was shown when the gateway first started."
_ONE_IS_WRONG = (
    "The admin key or the code is not right. A code opens the page once: if you have used it, wait for the next one."
)


class LoginBody(Struct, frozen=True, forbid_unknown_fields=True):
    key: Annotated[str, Meta(min_length=1, max_length=512)]
    code: Annotated[str, Meta(max_length=32)] = ""


@post("/login", status_code=200, include_in_schema=False)
async def login(desk: DeskHere, request: Plain) -> Response[dict[str, Any]]:
    same_origin(request, secure=desk.secure)
    body = await json_body(request, LoginBody)
    address = address_of(request.scope)
    wait = desk.brake.begin(address)
    if wait:
        raise RateLimited(
            f"Too many failed logins. Try again in {math.ceil(wait)} s.",
            headers={"retry-after": str(math.ceil(wait))},
            refused=Refused("admin_brake"),
        )
    second = desk.second_factor
    known = key_matches(body.key, desk.admin_digest)
    if not known or (second is not None and not await second.takes(body.code)):
        why = "right admin key, wrong code" if known else "wrong admin key"
        desk.control.audit(ACTOR, "login failed", address, why)
        raise Unauthenticated(
            _WRONG if second is None else _ONE_IS_WRONG, refused=Refused("admin_code" if known else "admin_login")
        )
    desk.brake.succeeded(address)
    await desk.sessions.close(request.cookies.get(cookie_name(desk.secure)))
    token, session = await desk.sessions.open(address, request.headers.get("user-agent", ""))
    desk.control.audit(ACTOR, "login", address, "")
    return Response(_session(desk, session), cookies=[_cookie(desk, token, int(ABSOLUTE_S))])


@post("/logout", status_code=200, include_in_schema=False)
async def logout(desk: DeskHere, request: Plain) -> Response[dict[str, Any]]:
    await desk.sessions.close(request.cookies.get(cookie_name(desk.secure)))
    desk.control.audit(ACTOR, "logout", address_of(request.scope), "")
    return Response({}, cookies=[_cookie(desk, "", 0)])


@get("/session", include_in_schema=False)
async def session(desk: DeskHere, request: Plain) -> dict[str, Any]:
    found = desk.sessions.find(request.cookies.get(cookie_name(desk.secure)), extend=False)
    if found is None:  # the guard has just seen it, so this is the last instant of its life
        raise Unauthenticated("The session has ended. Log in again.")
    return _session(desk, found)


class EndBody(Struct, frozen=True, forbid_unknown_fields=True):
    """``ids``: which sessions; none are all but the one that asks."""

    reason: Annotated[str, Meta(max_length=500)]
    ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=256)] | None = None


@get("/sessions", include_in_schema=False)
async def sessions(desk: DeskHere, request: Plain) -> dict[str, Any]:
    mine = desk.sessions.find(request.cookies.get(cookie_name(desk.secure)), extend=False)
    return {"sessions": [_seen(desk, one, mine) for one in desk.sessions.alive()]}


@post("/sessions/end", status_code=200, include_in_schema=False)
async def end_sessions(desk: DeskHere, request: Plain) -> Done:
    body = await json_body(request, EndBody)
    reason = reason_in(body.reason)
    mine = desk.sessions.find(request.cookies.get(cookie_name(desk.secure)), extend=False)
    others = [one.id for one in desk.sessions.alive() if mine is None or one.id != mine.id]
    ended = await desk.sessions.end(others if body.ids is None else body.ids)
    for one in ended:
        desk.control.audit(ACTOR, "session ended", one.address, reason)
    if body.ids and not ended:
        raise NotFound("No such session: it has ended by itself.")
    return Done(status="done", message=f"Ended: {len(ended)} session{'' if len(ended) == 1 else 's'}.")


def _seen(desk: Desk, one: Session, mine: Session | None) -> SessionView:
    now = desk.clock()
    return SessionView(
        id=one.id, this=mine is not None and one.id == mine.id, since=one.created_at, seen=one.seen_at,
        address=one.address, seen_from=one.seen_from, browser=one.browser,
        ends=min(one.seen_at + IDLE_S, one.created_at + ABSOLUTE_S), idle_s=max(0.0, now - one.seen_at),
    )  # fmt: skip


def _session(desk: Desk, found: Session) -> dict[str, Any]:
    now = desk.clock()
    return {
        "csrf": found.csrf,
        "idle_s": max(0.0, found.seen_at + IDLE_S - now),
        "absolute_s": max(0.0, found.created_at + ABSOLUTE_S - now),
    }


def _cookie(desk: Desk, value: str, max_age: int) -> Cookie:
    return Cookie(
        key=cookie_name(desk.secure), value=value, path="/", max_age=max_age, httponly=True,
        secure=desk.secure, samesite="strict",
    )  # fmt: skip
