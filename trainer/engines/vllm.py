"""The vLLM engine: starts vLLM in its own environment, on a unix socket, ready to take adapters while it serves.

    python -m trainer.engines.vllm --home DIR --python /opt/vllm/bin/python --base /models/small [--max-adapters 8]

This process becomes vLLM. vLLM pins a world of packages of its own, so it lives in an environment of its own and is
only ever reached over HTTP; the adapters come and go through ``trainer.engines.backend``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.storage.home import Home
from trainer.engines.asgi import IDLE_S
from trainer.training.bases import BaseRefused, check

MODULE = "vllm.entrypoints.openai.api_server"
ENVIRONMENT = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(IDLE_S),
}


def command(
    python: str,
    base: str,
    socket: Path,
    *,
    max_adapters: int,
    max_rank: int,
    max_length: int,
    more: Sequence[str] = (),
) -> list[str]:
    """vLLM's command line. Ranks are rounded up to one that vLLM has kernels for."""
    rank = next((one for one in (8, 16, 32, 64, 128, 256, 320, 512) if one >= max_rank), 512)
    return [
        python, "-m", MODULE, "--model", base, "--served-model-name", "base", "--uds", str(socket), "--enable-lora",
        "--max-loras", str(max_adapters), "--max-cpu-loras", str(max_adapters), "--max-lora-rank", str(rank),
        "--max-model-len", str(max_length), *more,
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="trainer.engines.vllm", description="Becomes vLLM.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--max-adapters", type=int, default=8)
    parser.add_argument("--max-rank", type=int, default=64)
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("more", nargs="*", help="passed on to vLLM, after --")
    options = parser.parse_args()
    home = Home(options.home.resolve())
    home.prepare()
    try:
        base = check(Path(options.base))
    except BaseRefused as problem:
        raise SystemExit(f"engines.vllm.base: {problem}") from None
    if not os.access(options.python, os.X_OK):
        raise SystemExit(f"engines.vllm.python: there is no interpreter {options.python!r}")
    home.vllm_socket.unlink(missing_ok=True)
    line = command(
        options.python, base.path, home.vllm_socket,
        max_adapters=options.max_adapters, max_rank=options.max_rank, max_length=options.max_length, more=options.more,
    )  # fmt: skip
    os.umask(0o077)
    sys.stdout.flush()
    os.execve(line[0], line, os.environ | ENVIRONMENT)  # noqa: S606 - the configured interpreter, no shell


if __name__ == "__main__":
    main()
