"""Somebody else's guardrail: a signed message to your own address, a JSON verdict back.

    → {"type": "guardrail.check", "direction": "in", "project": "support", "texts": ["..."]}
    ← {"verdicts": [{"action": "allow"}]}           one for each text: allow | flag | block | rewrite (with "text")

Signed as Standard Webhooks prescribes, like the gateway's other webhooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

from gateway.guardrails.asking import Helpers, NoAnswer
from gateway.guardrails.guardrail import Outside, Scene
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, Direction, Verdict

_PLAIN = {"allow": ALLOW, "flag": FLAG, "block": BLOCK}


class Webhook(Outside, frozen=True, tag="webhook", tag_field="type"):
    """``secret`` signs what is sent. ``private_addresses``: whether the name in ``url`` may lead inside."""

    url: Annotated[str, Meta(pattern="^https?://")]
    secret: Annotated[str, Meta(min_length=16)]
    private_addresses: bool = False

    async def ask(
        self, texts: Sequence[str], direction: Direction, helpers: Helpers, scene: Scene
    ) -> list[Verdict]:
        message = {
            "type": "guardrail.check",
            "direction": direction,
            "project": scene.project,
            "texts": list(texts),
        }
        said = (await helpers.webhook(self.url, self.secret, message)).get("verdicts")
        if not isinstance(said, list) or len(said) != len(texts):
            raise NoAnswer("the webhook did not give one verdict for each text")
        return [_read(one, text) for one, text in zip(said, texts, strict=True)]


def _read(said: Any, text: str) -> Verdict:
    """Raises NoAnswer for what is no verdict: silence is not consent."""
    action = said.get("action") if isinstance(said, dict) else None
    if action == "rewrite" and isinstance(said.get("text"), str):
        return Verdict("rewrite", ((0, len(text), said["text"]),))
    if action not in _PLAIN:
        raise NoAnswer("the webhook gave a verdict that is none")
    return _PLAIN[action]
