"""What every guardrail has in common: where it looks, whom it concerns, and how it is tried."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from gateway.guardrails.verdict import Scope

WHOLE = 1 << 30
"""The reach of a guardrail that judges an answer only as a whole: it says *wait* until the text is final."""

Place = Literal["input", "system", "tool_results", "context", "tool_arguments", "output"]
"""Where a text stands. input: what users say and earlier answers said; system: what the application's author wrote
(instructions, tool definitions, schemas); tool_results; context: retrieved documents; tool_arguments: what a model
hands to tools, in answers and in earlier turns; output: the rest of an answer."""


Category = Literal[
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
]  # fmt: skip
"""The categories of OpenAI's moderation API."""


class Trial(Struct, frozen=True, forbid_unknown_fields=True):
    """A guardrail's own test, run by ``understudy check``: what it has to say to ``text`` in ``direction``.
    ``becomes``: the text that passes on after mask or rewrite."""

    text: str
    expect: Literal["allow", "flag", "mask", "rewrite", "block"]
    direction: Place = "input"
    becomes: str | None = None


class Guardrail(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of all guardrails. Empty lists mean: everywhere, everybody.

    ``shadow``: what it would do is recorded and not done. ``on_error``: what becomes of a text when the guardrail
    itself fails. ``keys`` are names or ids.
    ``category``: under what ``/v1/moderations`` tells a find when it is answered here; None: the guardrail's name.
    """

    shadow: bool = False
    directions: list[Place] = []
    projects: list[str] = []
    keys: list[str] = []
    tasks: list[str] = []
    on_error: Literal["block", "allow"] = "block"
    category: Category | None = None
    tests: list[Trial] = []

    def reads(self, place: Place) -> bool:
        """Whether it looks at what stands at ``place``."""
        return place in self.directions if self.directions else self.scope == "all" or place != "system"

    @property
    def scope(self) -> Scope:
        """Which texts of a request it reads when the policies name no directions."""
        return "all"

    @property
    def reach(self) -> int:
        """Characters of an answer that have to be seen together; 0: it does not read answers as they stream."""
        return 0

    @property
    def changes_answers(self) -> bool:
        """Whether it may mask or rewrite in an answer. A stream then stays behind by its ``reach``."""
        return False
