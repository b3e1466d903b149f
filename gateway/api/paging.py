"""Pages of lists that are read as a whole: OpenAI's ``limit``, ``order``, ``after`` and ``before``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from gateway import errors
from gateway.api.files.routes import listed, number
from gateway.storage.tombstones import Place

Fits = Callable[[dict[str, Any]], bool]
Stood = Callable[[str], Place | None]
_Placed = tuple[Place, dict[str, Any]]


def nowhere(_: str) -> Place | None:
    """For lists from which nothing goes."""
    return None


def everything(_: dict[str, Any]) -> bool:
    return True


def paged(
    rows: Sequence[tuple[float, dict[str, Any]]], query: Mapping[str, str], stood: Stood = nowhere,
    fits: Fits = everything, *, usual: Literal["asc", "desc"] = "asc",
) -> dict[str, Any]:  # fmt: skip
    """``rows``: when each was created, and the row; oldest first. ``stood``: where one that is gone stood. ``fits``:
    which are shown. Raises BadRequest, NotFound."""
    limit, order = number(query.get("limit", "20"), "limit", 1, 100), query.get("order", usual)
    if order not in ("asc", "desc"):
        raise errors.BadRequest("'order' must be 'asc' or 'desc'.", param="order")
    placed: list[_Placed] = [((at, str(one["id"])), one) for at, one in rows]
    if order == "desc":
        placed.reverse()
    found = placed
    if query.get("after"):
        place = _place(placed, query["after"], stood, "after")
        found = [one for one in found if (one[0] > place if order == "asc" else one[0] < place)]
    if query.get("before"):
        place = _place(placed, query["before"], stood, "before")
        found = [one for one in found if (one[0] < place if order == "asc" else one[0] > place)]
    shown = [one for _, one in found if fits(one)]
    last = bool(query.get("before")) and not query.get("after")  # the page that ends before it
    return listed(shown[-limit:] if last else shown[:limit], has_more=len(shown) > limit)


def _place(placed: Sequence[_Placed], name: str, stood: Stood, param: str) -> Place:
    place = next((place for place, _ in placed if place[1] == name), None) or stood(name)
    if place is None:
        raise errors.NotFound(f"There is no '{name[:80]}' here.", param=param)
    return place
