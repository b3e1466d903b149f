"""How this process becomes a driver of the cluster that the policies name.

The machine must be one of the cluster's: ``ray start --address=HOST:PORT`` on it, with ``--num-cpus=0`` if it shall do
no work. Tasks and actors of a driver end with it, so what a killed job had asked for does not go on.
"""

from __future__ import annotations

import importlib.util
import os
import socket

from gateway.config import Config

_PATIENCE_S = 10.0


class ClusterAway(Exception):
    """The cluster cannot be used now; the text says why, for a person."""


def cluster_of(config: Config) -> str | None:
    """The address of the cluster that the policies name."""
    return config.cluster.address if config.cluster is not None else None


def join(address: str) -> None:
    """Connects, once in a process. Raises ClusterAway."""
    if importlib.util.find_spec("ray") is None:
        raise ClusterAway("the cluster needs the package ray: pip install 'understudy[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # A busy machine takes long to start a process; Ray's own patience would be half a minute.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600")
    _answers(address)
    import ray

    if ray.is_initialized():
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError) as problem:
        text = str(problem).strip().splitlines() or [type(problem).__name__]
        raise ClusterAway(f"the Ray cluster at {address} cannot be joined: {text[0]}") from None


def _answers(address: str) -> None:
    """Ray itself would try for minutes before it says that nobody is there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S).close()
    except OSError as problem:
        why = problem.strerror or type(problem).__name__
        raise ClusterAway(f"the Ray cluster at {address} does not answer ({why})") from None
