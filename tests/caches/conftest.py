from __future__ import annotations

from postgres_server import pgvector, pgvector_server
from redis_server import redis_8, redis_server

__all__ = ["pgvector", "pgvector_server", "redis_8", "redis_server"]
