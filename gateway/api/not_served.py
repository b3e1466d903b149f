"""What OpenAI has and this gateway does not: which of it a path asks for, and what to do instead. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gateway import errors

_ASSISTANTS = "The Assistants API is not served by this gateway. Use POST /v1/responses, with a conversation."
_SECRETS = (
    "Secrets for sessions are not served by this gateway: who has one speaks to the provider directly, past limits and "
    "ledger. Connect to GET /v1/realtime with a key of this gateway."
)
_TOLD = {
    "assistants": _ASSISTANTS,
    "threads": _ASSISTANTS,
    "realtime/client_secrets": _SECRETS,
    "realtime/sessions": _SECRETS,
    "realtime/transcription_sessions": _SECRETS,
    "realtime/translations": _SECRETS,
    "realtime/calls": "Calls by WebRTC and SIP are not served by this gateway. Connect a WebSocket to /v1/realtime.",
    "videos": "Videos are not served by this gateway.",
    "containers": "Containers are not served by this gateway: 'code_interpreter' makes its own ('container': "
                  "{'type': 'auto'}).",
    "skills": "Skills of OpenAI's are not served by this gateway.",
    "audio/voices": "Voices of one's own are not served by this gateway. Name one of the provider's.",
    "audio/voice_consents": "Voices of one's own are not served by this gateway. Name one of the provider's.",
    "fine_tuning/checkpoints": "Checkpoints belong to the project of their job here and are not shared.",
    "organization": "OpenAI's administration is not served by this gateway, which has its own: /admin.",
    "projects": "OpenAI's administration is not served by this gateway, which has its own: /admin.",
}  # fmt: skip
_OTHERS = (
    "agents", "chatkit", "content_provenance_checks", "decisions", "live", "safety", "vaults", "webhook_endpoints",
    "webhook_event_types",
)  # fmt: skip


def not_served(path: str) -> str:
    """What to tell who asks for a resource of OpenAI's that is not served; "" for any other path."""
    first, _, rest = path.removeprefix("/v1/").partition("/")
    if not path.startswith("/v1/"):
        return ""
    if first in _OTHERS:
        return f"OpenAI's '{first}' is not served by this gateway."
    return _TOLD.get(f"{first}/{rest.partition('/')[0]}") or _TOLD.get(first, "")


def no_socket(method: str, path: str, headers: Mapping[str, str]) -> errors.GatewayError | None:
    """For a client that offers to speak the Responses API over a WebSocket. Codex does so first, and at this status
    alone goes on by HTTP at once; at any other it tries again for some seconds. The offer itself was declined, and
    taken out of the headers, by whoever read them; its key is still there."""
    if method != "GET" or not path.endswith("/responses") or "sec-websocket-key" not in headers:
        return None
    message = f"No WebSocket is spoken at {path[:200]} by this gateway. Ask by HTTP: POST, with 'stream' if need be."
    return errors.BadRequest(message, status=426, code="method_not_allowed", headers={"upgrade": "HTTP/1.1"})
