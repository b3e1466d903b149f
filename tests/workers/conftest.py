from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgres_server import pgvector, pgvector_server
from redis_server import redis_8, redis_server
from worker_house import House

__all__ = ["houses", "pgvector", "pgvector_server", "redis_8", "redis_server"]


@pytest.fixture
def houses() -> Iterator[list[House]]:
    made: list[House] = []
    yield made
    for one in made:
        one.end()
