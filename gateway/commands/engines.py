"""The processes that serve students, and that of the guard models, as parts of ``understudy up``."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from gateway.config import Config
from gateway.judges.process import READY_S, models_of
from gateway.judges.process import command as guards_command
from gateway.processes.supervisor import Part, answers_on
from gateway.storage.home import Home

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def engine_parts(config: Config, home: Home, shared: Mapping[str, str]) -> list[Part]:
    """The built-in engine, and the backends it asks for language models. Nobody waits for a backend: until it is up
    its students' calls go to their teachers."""
    places = ("--home", str(home.root))
    engines, parts = config.engines, []
    if engines.classifier.enabled:
        command = (*_module("trainer.engines.classifier"), *places, *_options(config))
        ready = home.engine_socket
        parts.append(
            Part("engine", command, lambda: answers_on(ready), stop_order=3, env={**shared, **_ONE_THREAD})
        )
    if engines.vllm is not None:
        vllm = engines.vllm
        command = (
            *_module("trainer.engines.vllm"), *places, "--python", vllm.python, "--base", vllm.base,
            "--max-adapters", str(vllm.max_adapters), "--max-rank", str(vllm.max_rank),
            "--max-length", str(vllm.max_length), "--", *vllm.arguments,
        )  # fmt: skip
        parts.append(Part("vllm", command, stop_order=3, env=dict(shared)))
    if engines.transformers is not None:
        students = str(engines.transformers.max_students)
        command = (*_module("trainer.engines.transformers"), *places, "--max-students", students)
        parts.append(Part("transformers", command, stop_order=3, env=dict(shared)))
    models = models_of(config)
    if models:
        socket = home.guards_socket
        parts.append(
            Part(
                "guards", guards_command(home, models), lambda: answers_on(socket), ready_s=READY_S, stop_order=3,
                env=dict(shared),
            )
        )  # fmt: skip
    return parts


def _options(config: Config) -> tuple[str, ...]:
    engines = config.engines
    found = [
        "--batch-window-ms",
        str(engines.classifier.batch_window_ms),
        "--max-batch",
        str(engines.classifier.max_batch),
    ]
    if engines.vllm is not None:
        found += ["--vllm-base", engines.vllm.base, "--vllm-adapters", str(engines.vllm.max_adapters)]
    if engines.transformers is not None:
        found += ["--transformers-students", str(engines.transformers.max_students)]
    return tuple(found)


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)
