"""Models like Llama Guard, served by any provider: they answer *safe*, or *unsafe* and why, in the next line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from gateway.guardrails.asking import Helpers, NoAnswer
from gateway.guardrails.guardrail import Outside, Rating, Scene
from gateway.guardrails.verdict import ALLOW, BLOCK, FLAG, Direction, Verdict

_SLOT = "{text}"
CATEGORIES = {
    "S1": "violence", "S2": "illicit", "S3": "sexual", "S4": "sexual/minors", "S5": "harassment",
    "S9": "illicit/violent", "S10": "hate", "S11": "self-harm", "S12": "sexual",
}  # fmt: skip
"""Llama Guard 3's hazards (MLCommons taxonomy) under the moderation API's names; the others have none."""


class JudgeModel(Outside, frozen=True, tag="judge_model", tag_field="type"):
    """``hazards``: only these (``S1``, ``S10``); empty: all. ``template``: what is said to the model instead of the
    bare text, which stands where it says ``{text}``; without one the model's own chat template frames it, as Llama
    Guard's does. ``characters``: a longer text is asked about in pieces of so many."""

    provider: str
    model: str
    hazards: list[str] = []
    template: str = _SLOT
    characters: Annotated[int, Meta(ge=200, le=200_000)] = 12_000
    action: Literal["block", "flag"] = "block"

    def __post_init__(self) -> None:
        if _SLOT not in self.template:
            raise ValueError("'template' must say where the text stands: write {text} there.")

    async def ask(
        self, texts: Sequence[str], direction: Direction, helpers: Helpers, scene: Scene
    ) -> list[Verdict]:
        """Texts that fit together are asked about together, so that a conversation is judged in one question."""
        said = await self._hazards(texts, direction, helpers, scene)
        found = BLOCK if self.action == "block" else FLAG
        return [found if hazards else ALLOW for hazards in said]

    async def rated(self, texts: Sequence[str], helpers: Helpers) -> list[dict[str, Rating]] | None:
        said = await self._hazards(texts, "in", helpers, Scene({}, ()))
        return [
            {CATEGORIES[one]: Rating(1.0, hit=True) for one in hazards if one in CATEGORIES}
            for hazards in said
        ]

    async def _hazards(
        self, texts: Sequence[str], direction: Direction, helpers: Helpers, scene: Scene
    ) -> list[frozenset[str]]:
        """By text; that of several asked about together is told of the last of them."""
        groups: list[tuple[int, str]] = []  # (the last text of a group, what is asked)
        for at, text in enumerate(texts):
            if groups and len(groups[-1][1]) + len(text) + 2 <= self.characters:
                groups[-1] = at, f"{groups[-1][1]}\n\n{text}"
            else:
                groups += [
                    (at, text[start : start + self.characters])
                    for start in range(0, len(text), self.characters)
                ]
        asked = scene.texts("input")[-1:] if direction == "out" else []
        answers = await asyncio.gather(*(self._asked(one, asked, helpers) for _, one in groups))
        found = [frozenset[str]() for _ in texts]
        for (at, _), hazards in zip(groups, answers, strict=True):
            found[at] |= hazards
        return found

    async def _asked(self, text: str, before: Sequence[str], helpers: Helpers) -> frozenset[str]:
        """``before``: the question that an answer answers."""
        messages = [{"role": "user", "content": one[-self.characters :]} for one in before]
        framed = self.template.replace(_SLOT, text)
        messages.append(
            {"role": "assistant" if before and self.template == _SLOT else "user", "content": framed}
        )
        body = {
            "messages": messages[-1:] if self.template != _SLOT else messages,
            "temperature": 0,
            "max_tokens": 64,
        }
        return self._read(await helpers.chat(self.provider, self.model, body))

    def _read(self, said: str) -> frozenset[str]:
        lines = [line.strip() for line in said.strip().splitlines() if line.strip()]
        first = lines[0].lower().rstrip(".") if lines else ""
        if first == "safe":
            return frozenset()
        if first != "unsafe":
            raise NoAnswer("the judging model says neither 'safe' nor 'unsafe'")
        named = frozenset(one.strip().upper() for one in ",".join(lines[1:]).split(",") if one.strip())
        if not self.hazards or not named:  # unsafe without a reason is unsafe
            return named or frozenset({"UNSAFE"})
        return named & {one.upper() for one in self.hazards}
