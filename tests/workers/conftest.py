from __future__ import annotations

from redis_server import redis_8, redis_server

__all__ = ["redis_8", "redis_server"]
