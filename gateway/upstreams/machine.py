"""The identity of the machine, or the pod, that this runs on: Google's metadata server gives it access tokens.

Nothing else may be called there (``addresses``): who can read it has the machine's identity, so no address of a policy
leads to it, and this asks for nothing but a token.

https://cloud.google.com/compute/docs/metadata/querying-metadata
"""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import Any

_HOST = "metadata.google.internal"
_TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105 - an address
_FLAVOR = {"metadata-flavor": "Google"}
_LARGEST = 65_536


async def machine_token(within: float) -> tuple[int, bytes]:
    """Status and body of the answer; 0 where there is none ``within`` seconds, or where somebody else answers.
    ``GCE_METADATA_HOST`` says where, as for Google's own libraries."""
    host = os.environ.get("GCE_METADATA_HOST") or _HOST
    aiohttp: Any = await asyncio.to_thread(import_module, "aiohttp")
    limit = aiohttp.ClientTimeout(total=within)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, trust_env=False, headers=_FLAVOR) as session,
            session.get(f"http://{host}{_TOKEN}", allow_redirects=False) as answer,
        ):
            if answer.headers.get("metadata-flavor") != "Google":
                return 0, b""
            return answer.status, await answer.content.read(_LARGEST)
    except (aiohttp.ClientError, OSError, ValueError):
        return 0, b""
