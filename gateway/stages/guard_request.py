"""What guardrails say about a request, whatever API it came by, and what becomes of it then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from gateway.context import Exchange, Finding
from gateway.errors import BadRequest, GatewayError, Unavailable
from gateway.guardrails import Guardrail, GuardrailSettings, Place
from gateway.guardrails.verdict import ALLOW, MASK, SEVERITY, Direction, Verdict, changed, spelled_out
from gateway.masking import Masker, map_texts
from gateway.stages.assign import task_of
from gateway.stages.guard_texts import Said, joined_turns, said_in

T = TypeVar("T")
Guards = Mapping[str, GuardrailSettings]
_SAMPLE = 160  # characters of a text that an incident shows


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
    keys = {key, key.removeprefix("yaml:"), runtime.key_names.get(key, key)}
    return {
        name: guard
        for name, guard in configured.items()
        if (not guard.projects or project in guard.projects)
        and (not guard.keys or not keys.isdisjoint(guard.keys))
        and (not guard.tasks or task in guard.tasks)
    }


def _task(exchange: Exchange) -> str:
    """A task that is reached by its match takes a fingerprint to know: only where something hangs on it."""
    runtime, request = exchange.runtime, exchange.request
    name = runtime.aliases.get(request.model, request.model)
    if name in runtime.tasks:
        return name
    matching = runtime.matches.get(request.model, ())
    hangs = any(task.guardrails for task in matching) or any(
        guard.tasks for guard in runtime.config.guardrails.values()
    )
    if not matching or not hangs or not request.messages:
        return ""
    task = task_of(runtime, request)[0]
    return task.name if task is not None else ""


def masked_prose(exchange: Exchange, guards: Guards, prose: dict[str, Any]) -> dict[str, Any] | None:
    """Judges every text of ``prose`` (a request, or what of it is prose), notes what was found, and returns it
    masked and rewritten: None when it may go as it is. Raises BadRequest for what is blocked."""
    said = said_in(prose)
    joined = joined_turns(prose) if any(guard.scope == "untrusted" for guard in guards.values()) else ""
    changes: dict[str, list[Verdict]] = {}
    for name, guard in guards.items():
        texts: Iterable[Said] = [one for one in said if guard.reads(one[0])]
        verdicts = [(place, text, judged(exchange, name, guard, text, "in")) for place, text in texts]
        if joined and guard.scope == "untrusted" and guard.reads("input"):
            whole = judged(exchange, name, guard, joined, "in")
            if whole.action in ("flag", "block"):  # nothing can be cut out of what nobody sent
                verdicts.append(("input", joined, whole))
        settle(exchange, name, guard, verdicts, "in", changes)
    return _changed(exchange, prose, said, changes) if changes else None


def settle(
    exchange: Exchange,
    name: str,
    guard: GuardrailSettings,
    verdicts: Iterable[tuple[Place, str, Verdict]],
    direction: Direction,
    changes: dict[str, list[Verdict]],
) -> None:
    """Notes the worst of what one guardrail said, raises BadRequest when that is *block*, and adds to ``changes``
    what is to become of which text."""
    found = [one for one in verdicts if one[2].action not in ("allow", "wait")]
    if not found:
        return
    place, text, worst = max(found, key=lambda one: SEVERITY[one[2].action])
    note(exchange, name, guard, worst, place, text)
    if guard.shadow:
        return
    if worst.action == "block":
        raise blocked(name, direction)
    for _, text, verdict in found:
        if verdict.action in ("mask", "rewrite"):
            changes.setdefault(text, []).append(verdict)


def _changed(
    exchange: Exchange, prose: dict[str, Any], said: list[Said], changes: Mapping[str, list[Verdict]]
) -> dict[str, Any]:
    masker = Masker()
    for _, text in said:
        masker.reserve(text)
    new: dict[str, Any] = map_texts(
        prose, lambda text: changed(text, changes[text], masker) if text in changes else text
    )
    exchange.placeholders = masker.values
    return new


def judged(
    exchange: Exchange,
    name: str,
    guard: GuardrailSettings,
    text: str,
    direction: Direction,
    *,
    final: bool = True,
) -> Verdict:
    """What a guardrail says. One that fails blocks, unless its settings let the text pass. Raises Unavailable."""
    try:
        return spelled_out(guard.check(text, direction, final=final), text)
    except Exception as problem:
        place: Place = "input" if direction == "in" else "output"
        failed_open = guard.on_error == "allow" or guard.shadow
        action = "error-allow" if failed_open else "error-block"
        _note(exchange, Finding(name, action, place, shadow=guard.shadow, sample=""))
        if failed_open:
            return ALLOW
        raise guard_failed(problem) from problem


def note(exchange: Exchange, name: str, guard: Guardrail, verdict: Verdict, place: Place, text: str) -> None:
    """Puts a verdict on the call: for the ledger without text, for incidents with a masked sample."""
    _note(exchange, Finding(name, verdict.action, place, guard.shadow, _sample(text, verdict)))


def _note(exchange: Exchange, finding: Finding) -> None:
    if finding in exchange.findings:
        return  # a window of a stream is judged many times
    exchange.findings.append(finding)
    exchange.verdicts.append(f"{finding.guardrail}:{finding.action}" + (":shadow" if finding.shadow else ""))


def _sample(text: str, verdict: Verdict) -> str:
    """The beginning of a text, with everything personal and what is to be masked behind placeholders."""
    hides = [spelled_out(MASK, text), *([verdict] if verdict.action == "mask" else [])]
    shown = changed(text, hides, Masker())
    return shown if len(shown) <= _SAMPLE else shown[: _SAMPLE - 1] + "…"


def blocked(name: str, direction: Direction) -> BadRequest:
    """The refusal; it names the guardrail and never the text."""
    what = "request" if direction == "in" else "answer"
    return BadRequest(f"The {what} was blocked by the guardrail '{name}'.", code="guardrail_blocked")


def guard_failed(problem: Exception) -> Unavailable:
    """Fails closed: whatever goes wrong in a guardrail, the text does not pass."""
    return Unavailable(
        "A guardrail failed, and nothing passes unchecked. Try again later.",
        code="guardrail_failed",
        detail=repr(problem),
    )


def closed(exchange: Exchange, check: Callable[[], T]) -> T:
    """``check``; what goes wrong in it and is no refusal of ours stops the call."""
    try:
        return check()
    except GatewayError:
        raise
    except Exception as problem:
        exchange.verdicts.append("error:block")
        raise guard_failed(problem) from problem
