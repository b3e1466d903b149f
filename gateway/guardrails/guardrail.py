"""What every guardrail has in common: where it looks, whom it concerns, and how it is tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.guardrails.asking import Helpers
from gateway.guardrails.verdict import ALLOW, Direction, Scope, Verdict
from gateway.protocol.lists import dicts

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


class Scene(Struct, frozen=True):
    """What a text stands in: the body of its request, and every text of it with its place. Of an answer it is the
    request as the provider saw it, placeholders and all."""

    body: Mapping[str, Any]
    said: tuple[tuple[Place, str], ...]
    project: str = ""

    def texts(self, *places: Place) -> list[str]:
        return [text for place, text in self.said if place in places]

    def names(self) -> list[str]:
        """What its documents are called: they stand with what documents say, and say nothing of it."""
        turns = [dicts(message.get("content")) for message in dicts(self.body.get("messages"))]
        return [name for turn in turns for part in turn if is_document(part) for name in _names_of(part)]

    def told(self, *places: Place) -> list[str]:
        """The texts of ``places`` but for the names of documents. One that nobody could read tells nothing."""
        found, names = [], Counter(self.names())
        for text in self.texts(*places):
            if names[text]:
                names[text] -= 1
            else:
                found.append(text)
        return found


class Rating(Struct, frozen=True):
    """How likely a text is (0 to 1) to be of a category, and whether that is enough to say that it is."""

    score: float
    hit: bool


DATA = frozenset[Place]({"tool_results", "context"})
"""Where nobody who may give orders speaks."""
_DOCUMENT_PARTS = frozenset({"document", "search_result", "file"})


def is_document(part: Any) -> bool:
    """Whether a part of a message is retrieved text and not its author's; also a text that a client of Anthropic's
    handed over as a document (``gateway.protocol.messages.request``)."""
    return isinstance(part, dict) and (part.get("type") in _DOCUMENT_PARTS or "document" in part)


def _names_of(part: Mapping[str, Any]) -> Iterator[str]:
    for where, field in ((part, "title"), (part.get("document"), "title"), (part.get("file"), "filename")):
        name = where.get(field) if isinstance(where, Mapping) else None
        if isinstance(name, str):
            yield name


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
    ``timeout_ms`` and ``parallel``: how long it may wait for whom it asks (:attr:`asks`), and how many such questions
    are on their way at once; a question that is late counts as a failure of the guardrail.
    ``documents``: what becomes of a PDF or an Office document in which something is to be masked or rewritten, since
    nothing is changed inside one: the request is refused, or its text goes on in its place. ``unread_documents``: what
    becomes of one that cannot be read.
    ``category``: under what ``/v1/moderations`` tells a find when it is answered here; None: the guardrail's name.
    """

    shadow: bool = False
    directions: list[Place] = []
    projects: list[str] = []
    keys: list[str] = []
    tasks: list[str] = []
    on_error: Literal["block", "allow"] = "block"
    timeout_ms: Annotated[int, Meta(ge=1, le=60_000)] = 2_000
    parallel: Annotated[int, Meta(ge=1, le=1_024)] = 32
    documents: Literal["block", "text"] = "block"
    unread_documents: Literal["block", "allow"] = "block"
    category: Category | None = None
    tests: list[Trial] = []

    def reads(self, place: Place) -> bool:
        """Whether it looks at what stands at ``place``."""
        return place in self.directions if self.directions else self.scope == "all" or place != "system"

    def weighs(self, place: Place) -> bool:
        """Whether it judges answers by what stands at ``place`` in their request, of which it says nothing itself."""
        return False

    def judges_documents(self, places: Iterable[Place]) -> bool:
        """Whether it says something of a document that stands at ``places``."""
        return not self.prepares and any(self.reads(place) and not self.weighs(place) for place in places)

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
        """Whether it may mask or rewrite in an answer. A stream then stays behind by what is ``held``."""
        return False

    def held(self, text: str) -> int:
        """How many characters at the end of a streamed ``text`` without escapes may still become part of what it
        changes: those stay behind, at most ``reach`` of them."""
        return self.reach

    @property
    def reads_escapes(self) -> bool:
        """Whether it reads what JSON's escapes spell as well, and not only a text as it stands."""
        return True

    @property
    def reads_names(self) -> bool:
        """Whether it reads the names of called functions too, where it reads their arguments."""
        return True

    @property
    def reads_labels(self) -> bool:
        """Whether it reads what says who is calling: ``user``, ``metadata`` and the like."""
        return True

    @property
    def stops(self) -> bool:
        """Whether it may stop or change a text, rather than only record."""
        return not self.shadow and getattr(self, "action", "block") != "flag"

    # ------------------------------------------------------------------ what depends on the rest of the request
    @property
    def needs_scene(self) -> bool:
        """Whether ``check_in`` is called in place of ``check``."""
        return False

    def check(self, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        """What it says about a text by itself, at once: no waiting, time linear in the text. ``final``: nothing more
        will be streamed after it."""
        return ALLOW

    def check_data(self, text: str) -> Verdict:
        """What it says about what a tool returned, or a document: whoever wrote it has no orders to give."""
        return self.check(text, "in")

    def check_in(self, scene: Scene, text: str, direction: Direction, *, final: bool = True) -> Verdict:
        """What it says about a text in the light of its request."""
        return self.check(text, direction, final=final)

    @property
    def prepares(self) -> bool:
        """Whether ``prepared`` changes requests."""
        return False

    def prepared(self, body: dict[str, Any]) -> dict[str, Any]:
        """A masked chat request as it is to go on. The same body always becomes the same: caches stand behind."""
        return body

    # ------------------------------------------------------------------ what takes others to answer
    @property
    def asks(self) -> bool:
        """Whether it asks others (a model's process, a provider, a webhook) about what ``check`` has let pass."""
        return False

    @property
    def models(self) -> list[dict[str, Any]]:
        """What the process of the guard models has to load for it, as that process takes it."""
        return []

    @property
    def asks_outside(self) -> bool:
        """Whether those are on other machines: they are shown texts as masked as the provider's."""
        return False

    @property
    def asks_to_change(self) -> bool:
        """Whether ``ask`` may mask or rewrite in requests."""
        return False

    @property
    def asked_reach(self) -> int:
        """Characters of a streamed answer that are asked about together; ``WHOLE``: all of it, at its end; 0: none."""
        return 0

    def asks_about(self, text: str, direction: Direction) -> bool:
        """Whether a text is worth asking about: a cheap look, so that clean text costs nothing."""
        return True

    async def ask(
        self, texts: Sequence[str], direction: Direction, helpers: Helpers, scene: Scene
    ) -> list[Verdict]:
        """What it says about each text once others were asked. Whatever it raises is a failure of the guardrail."""
        return [ALLOW] * len(texts)

    async def rated(self, texts: Sequence[str], helpers: Helpers) -> list[dict[str, Rating]] | None:
        """For each text what it is by the moderation API's categories; None: it finds or does not find, no more."""
        return None


class Outside(Guardrail, frozen=True, kw_only=True):
    """What guardrails have in common that ask on other machines. ``window``: characters of a streamed answer that are
    judged together; 0: the whole, at its end. Whoever is asked sees texts as masked as every provider does."""

    window: Annotated[int, Meta(ge=0, le=100_000)] = 2_000

    @property
    def asks(self) -> bool:
        return True

    @property
    def asks_outside(self) -> bool:
        return True

    @property
    def asked_reach(self) -> int:
        return self.window or WHOLE
