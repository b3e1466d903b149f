"""What guardrails say about a request, whatever API it came by, and what becomes of it then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from types import TracebackType

from gateway.context import Exchange, Finding
from gateway.errors import BadRequest, GatewayError, Unavailable
from gateway.guardrails import Guardrail, GuardrailSettings, Place
from gateway.guardrails.guardrail import WHOLE
from gateway.guardrails.reading import meant
from gateway.guardrails.verdict import ALLOW, BLOCK, MASK, SEVERITY, Direction, Verdict, changed, spelled_out
from gateway.stages.assign import task_of
from gateway.stages.guarding.texts import Said
from gateway.texts.escapes import has_escapes
from gateway.texts.masking import Masker

Guards = Mapping[str, GuardrailSettings]
Fixed = Callable[[], Collection[Said]]
"""The texts that can only be left or stopped."""
_SAMPLE = 160  # characters of a text that an incident shows
_MOST_FINDINGS = 1_000  # of one call: a session that lasts may have more, and each is looked for among the others


def nothing_fixed() -> Collection[Said]:
    return ()


def guards_for(exchange: Exchange) -> Guards:
    """The guardrails of a call: those its task names, else every configured one, as far as they concern its
    project, key and task."""
    runtime, principal = exchange.runtime, exchange.principal
    configured = runtime.config.guardrails
    task = _task(exchange)
    if task:
        named = runtime.tasks[task].guardrails
        configured = {name: configured[name] for name in named} if named else configured
    project, key = (principal.project, principal.key_id) if principal is not None else ("", "")
    for guard in configured.values():
        if guard.projects or guard.keys or guard.tasks:
            break
    else:
        return configured
    keys = {key, runtime.key_names.get(key, key)}
    return {
        name: guard
        for name, guard in configured.items()
        if (not guard.projects or project in guard.projects)
        and (not guard.keys or not keys.isdisjoint(guard.keys))
        and (not guard.tasks or task in guard.tasks)
    }


def project_of(exchange: Exchange) -> str:
    return exchange.principal.project if exchange.principal is not None else ""


def _task(exchange: Exchange) -> str:
    """A task that is reached by its match takes a fingerprint to know: only where something hangs on it."""
    runtime, request = exchange.runtime, exchange.request
    name = runtime.aliases.get(request.model, request.model)
    if name in runtime.tasks:
        return name
    matching = runtime.matches.get(request.model, ())
    if not matching:
        return ""
    hangs = any(task.guardrails for task in matching) or any(
        guard.tasks for guard in runtime.config.guardrails.values()
    )
    if not hangs or not request.messages:
        return ""
    task = task_of(runtime, request)[0]
    return task.name if task is not None else ""


def settle(
    exchange: Exchange,
    name: str,
    guard: GuardrailSettings,
    verdicts: Iterable[tuple[Place, str, Verdict]],
    direction: Direction,
    changes: dict[str, list[Verdict]],
    fixed: Fixed = nothing_fixed,
) -> None:
    """Notes the worst of what one guardrail said, raises BadRequest when that is *block*, and adds to ``changes``
    what is to become of which text. What is to be changed and is ``fixed`` is blocked: that
    is asked for only then."""
    found = [one for one in verdicts if one[2].action not in ("allow", "wait")]
    if not found:
        return
    within = _within_documents(exchange, guard, found) if exchange.documents else frozenset()
    found = _stopped(found, fixed, within)
    place, text, worst = max(found, key=lambda one: SEVERITY[one[2].action])
    note(exchange, name, guard, worst, place, text)
    if guard.shadow:
        return
    if worst.action == "block":
        raise blocked(name, direction, in_document=text in within)
    for _, text, verdict in found:
        if verdict.action in ("mask", "rewrite"):
            changes.setdefault(text, []).append(verdict)


def _within_documents(exchange: Exchange, guard: Guardrail, found: list[tuple[Place, str, Verdict]]) -> frozenset[str]:
    """The texts of documents that ``guard`` would change, and that are not to go on in their place."""
    if guard.documents == "text":
        return frozenset()
    changed = {text for _, text, verdict in found if verdict.action in ("mask", "rewrite")}
    return exchange.documents & changed


def _stopped(
    found: list[tuple[Place, str, Verdict]], fixed: Fixed, within: Collection[str]
) -> list[tuple[Place, str, Verdict]]:
    """``found``, with what would change what is fixed, or stands ``within`` a document, as a reason to block."""
    if all(verdict.action not in ("mask", "rewrite") for _, _, verdict in found):
        return found
    kept = fixed()

    def stays(place: Place, text: str) -> bool:
        return text in within or (place, text) in kept

    return [
        (place, text, BLOCK if verdict.action in ("mask", "rewrite") and stays(place, text) else verdict)
        for place, text, verdict in found
    ]


def judged(
    exchange: Exchange,
    name: str,
    guard: GuardrailSettings,
    text: str,
    direction: Direction,
    *,
    final: bool = True,
    data: bool = False,
    in_json: bool | None = None,
) -> Verdict:
    """What a guardrail says; ``data``: a tool or a document said it; ``in_json``: whether the text is JSON, or a piece
    of it (None: look). One that fails blocks, unless its settings let the text pass. Raises Unavailable."""

    try:
        if has_escapes(text) and guard.reads_escapes and (final or guard.reach < WHOLE):
            return meant(text, partial(_said, exchange, guard, direction, final, data), in_json=in_json, final=final)
        return spelled_out(_said(exchange, guard, direction, final, data, text), text)
    except Exception as problem:
        failed(exchange, name, guard, direction, problem)
        return ALLOW


def _said(
    exchange: Exchange, guard: GuardrailSettings, direction: Direction, final: bool, data: bool, text: str
) -> Verdict:
    if guard.needs_scene and exchange.scene is not None:
        return guard.check_in(exchange.scene, text, direction, final=final)
    return guard.check_data(text) if data else guard.check(text, direction, final=final)


def failed(exchange: Exchange, name: str, guard: Guardrail, direction: Direction, problem: Exception) -> None:
    """Notes that a guardrail failed. Raises Unavailable unless its settings let the text pass."""
    place: Place = "input" if direction == "in" else "output"
    failed_open = guard.on_error == "allow" or guard.shadow
    action = "error-allow" if failed_open else "error-block"
    note_finding(exchange, Finding(name, action, place, shadow=guard.shadow, sample=""))
    if not failed_open:
        raise guard_failed(problem) from problem


def note(exchange: Exchange, name: str, guard: Guardrail, verdict: Verdict, place: Place, text: str) -> None:
    """Puts a verdict on the call: for the ledger without text, for incidents with a masked sample."""
    note_finding(exchange, Finding(name, verdict.action, place, guard.shadow, _sample(text, verdict)))


def note_finding(exchange: Exchange, finding: Finding) -> None:
    """Puts a finding on the call, once."""
    found = exchange.findings
    if finding in found or (len(found) >= _MOST_FINDINGS and any(_alike(one, finding) for one in found)):
        return  # a window of a stream is judged many times
    exchange.findings.append(finding)
    if exchange.late is not None:
        exchange.late(finding)
        return
    exchange.verdicts.append(finding.spelled)


def _alike(one: Finding, other: Finding) -> bool:
    return (one.spelled, one.place) == (other.spelled, other.place)


def _sample(text: str, verdict: Verdict) -> str:
    """The beginning of a text, with everything personal and what is to be masked behind placeholders."""
    hides = [meant(text, lambda said: spelled_out(MASK, said)), *([verdict] if verdict.action == "mask" else [])]
    shown = changed(text, hides, Masker())
    return shown if len(shown) <= _SAMPLE else shown[: _SAMPLE - 1] + "…"


def blocked(name: str, direction: Direction, *, in_document: bool = False) -> BadRequest:
    """The refusal; it names the guardrail and never the text. ``in_document``: what it would take out stands in one."""
    what = "request" if direction == "in" else "answer"
    message = f"The {what} was blocked by the guardrail '{name}'."
    if in_document:
        message += (
            " What it would take out stands in a PDF or an Office document, and nothing is changed inside one. Send "
            "the document's text instead, or let the gateway's operator say 'documents: text' for this guardrail."
        )
    return BadRequest(message, code="guardrail_blocked")


def guard_failed(problem: Exception) -> Unavailable:
    """Fails closed: whatever goes wrong in a guardrail, the text does not pass."""
    return Unavailable(
        "A guardrail failed, and nothing passes unchecked. Try again later.",
        code="guardrail_failed",
        detail=repr(problem),
    )


def broke(exchange: Exchange, place: Place, problem: Exception) -> Unavailable:
    """Notes that what puts guardrails to work failed itself. → the refusal."""
    note_finding(exchange, Finding("error", "block", place, shadow=False, sample=""))
    return guard_failed(problem)


class FailClosed:
    """A context: what goes wrong inside and is no refusal of ours stops the call. Each piece of a stream has one."""

    __slots__ = ("_exchange", "_place")

    def __init__(self, exchange: Exchange, place: Place) -> None:
        self._exchange, self._place = exchange, place

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(problem, Exception) and not isinstance(problem, GatewayError):
            raise broke(self._exchange, self._place, problem) from problem
