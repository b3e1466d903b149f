"""The table of kept questions in PostgreSQL: its statements, and an index (HNSW) for each length of vectors.

HNSW: Malkov and Yashunin, *Efficient and robust approximate nearest neighbor search*, 2018, as pgvector has it. It
knows nothing of contexts: the search goes on until it has found one of the right context (pgvector 0.8 and later;
earlier ones look at the forty nearest of all), and PostgreSQL reads small contexts whole instead.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

from psycopg import sql
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

from gateway.sharing.postgres import Database

_HEADER = struct.Struct(">HH")
_NEEDS = (
    sql.SQL("CREATE EXTENSION IF NOT EXISTS vector"),
    sql.SQL(
        """
        CREATE UNLOGGED TABLE IF NOT EXISTS understudy_kept_questions (
            room bytea NOT NULL, task bytea NOT NULL, bucket bytea NOT NULL, key text NOT NULL,
            question bytea NOT NULL, embedding vector NOT NULL, size integer NOT NULL,
            most integer NOT NULL, bound bigint NOT NULL, expires timestamptz NOT NULL,
            PRIMARY KEY (room, task, bucket, key)
        )
        """
    ),
)
_SETTINGS = (
    "-c plan_cache_mode=force_custom_plan"  # contexts hold one question or a hundred thousand
    " -c hnsw.iterative_scan=relaxed_order -c synchronous_commit=off -c jit=off"
)
_KEEP = sql.SQL(
    """
    INSERT INTO understudy_kept_questions
    VALUES (%(room)s, %(task)s, %(bucket)s, %(key)s, %(question)s, %(vector)s, %(size)s, %(most)s, %(bound)s,
            now() + make_interval(secs => %(life)s))
    ON CONFLICT (room, task, bucket, key) DO UPDATE SET
        question = excluded.question, embedding = excluded.embedding, size = excluded.size,
        most = excluded.most, bound = excluded.bound, expires = excluded.expires
    """
)
_SWEEP = sql.SQL(
    """
    DELETE FROM understudy_kept_questions kept USING (
        SELECT ctid AS at, expires, most, bound,
               row_number() OVER (PARTITION BY task ORDER BY expires DESC) AS nth,
               sum(size) OVER (ORDER BY expires DESC, task, bucket, key) AS so_far
        FROM understudy_kept_questions WHERE room = %(room)s
    ) AS one
    WHERE kept.ctid = one.at AND (one.expires <= now() OR one.nth > one.most OR one.so_far > one.bound)
    """
)
_PAGE = sql.SQL(
    """
    SELECT task, bucket, key, question FROM understudy_kept_questions
    WHERE room = %(room)s AND (task, bucket, key) > (%(task)s, %(bucket)s, %(key)s) AND %(only)s IN ('', key)
    ORDER BY task, bucket, key LIMIT %(most)s
    """
)
_FORGET = sql.SQL(
    "DELETE FROM understudy_kept_questions"
    " WHERE room = %(room)s AND task = %(task)s AND bucket = %(bucket)s AND key = %(key)s RETURNING 1"
)
_CLEAR = sql.SQL("DELETE FROM understudy_kept_questions WHERE room = %(room)s")
Place = tuple[bytes, bytes, str]
"""Task, bucket and key of a question."""


class _Vector:
    """On its way to PostgreSQL, in the extension's binary form."""

    def __init__(self, turned: bytes) -> None:
        import numpy as np

        values = np.frombuffer(turned, dtype=np.float32)
        self.bytes = _HEADER.pack(len(values), 0) + values.astype(">f4").tobytes()


class _VectorDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer | None:
        return bytes(obj.bytes)


class Table:
    """``room``: whose questions these are: gateways of another spool's key see nothing of them.
    Everything raises Away."""

    def __init__(self, url: str, patience_s: float, room: bytes) -> None:
        self.database = Database(url, patience_s, _NEEDS, _SETTINGS, {_Vector: _VectorDumper})
        self._room = room

    async def nearest(self, task: bytes, bucket: bytes, vector: bytes) -> tuple[str, bytes] | None:
        """Key and sealed question of the likest of its bucket."""
        values = {"room": self._room, "task": task, "bucket": bucket, "vector": _Vector(vector)}
        found = await self.database.look(_nearest(len(vector) // 4), values)
        return (found[0][0], bytes(found[0][1])) if found else None

    async def keep(self, place: Place, sealed: bytes, vector: bytes, bounds: tuple[int, int, int, float]) -> None:
        """``bounds``: bytes it costs, the most questions of its task, the most bytes of all, seconds of its life."""
        values = len(vector) // 4
        await self.database.once(f"index {values}", _index(values))
        size, most, bound, life = bounds
        kept = {"question": sealed, "vector": _Vector(vector), "size": size}
        bounded = {"most": most, "bound": bound, "life": life}
        await self.database.do(_KEEP, self._at(place) | kept | bounded)

    async def sweep(self) -> None:
        """What has expired goes, and what would expire first where there is too much."""
        await self.database.do(_SWEEP, {"room": self._room})

    async def page(self, after: Place, only: str, most: int) -> list[tuple[Place, bytes]]:
        """The next questions in order, sealed; with ``only`` those under that key."""
        found = await self.database.do(_PAGE, self._at(after) | {"only": only, "most": most})
        return [((bytes(task), bytes(bucket), key), bytes(sealed)) for task, bucket, key, sealed in found]

    async def forget(self, place: Place) -> int:
        return len(await self.database.do(_FORGET, self._at(place)))

    async def clear(self) -> None:
        await self.database.do(_CLEAR, {"room": self._room})

    def _at(self, place: Place) -> dict[str, Any]:
        return {"room": self._room, "task": place[0], "bucket": place[1], "key": place[2]}


@cache
def _index(size: int) -> sql.Composed:
    return sql.SQL(
        "CREATE INDEX IF NOT EXISTS {name} ON understudy_kept_questions"
        " USING hnsw ((embedding::vector({size})) vector_ip_ops) WHERE vector_dims(embedding) = {size}"
    ).format(name=sql.Identifier(f"understudy_kept_questions_{size}"), size=sql.Literal(size))


@cache
def _nearest(size: int) -> sql.Composed:
    return sql.SQL(
        "SELECT key, question FROM understudy_kept_questions"
        " WHERE room = %(room)s AND task = %(task)s AND bucket = %(bucket)s"
        " AND vector_dims(embedding) = {size} AND expires > now()"
        " ORDER BY (embedding::vector({size})) <#> %(vector)s::vector({size}) LIMIT 1"
    ).format(size=sql.Literal(size))
