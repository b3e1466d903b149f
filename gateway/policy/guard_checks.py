"""Checks of guardrails: the tests that stand beside their settings, and whom they name."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from gateway.config import Config
from gateway.guardrails import GuardrailSettings, Trial, Webhook
from gateway.guardrails.guardrail import DATA
from gateway.guardrails.reading import meant
from gateway.guardrails.verdict import Direction, Verdict, changed, spelled_out
from gateway.policy.convert import did_you_mean
from gateway.policy.reading import Path, Problem, Source
from gateway.policy.view import View
from gateway.retrieval.documents import INSTALL, missing
from gateway.texts.masking import Masker
from gateway.upstreams.addresses import AddressRefused, check_literal

_ANSWERS = frozenset({"output", "tool_arguments"})


def guardrails(view: View) -> Iterator[Problem]:
    """What is wrong with each guardrail that could be read."""
    tasks = view.names("tasks")
    for name, guard in view.config.guardrails.items():
        path: Path = ("guardrails", name)
        if path in view.unclean:
            continue
        for index, task in enumerate(guard.tasks):
            if task not in tasks:
                hint = did_you_mean(task, tasks)
                yield view.problem((*path, "tasks", index), f"no task is named '{task}'.", hint)
        if not guard.asks:
            raw = view.source.data.get("guardrails", {}).get(name, {})
            for setting in ("timeout_ms", "parallel"):
                if isinstance(raw, dict) and setting in raw:
                    message = "this guardrail asks nobody, so there is nothing to bound."
                    yield view.problem((*path, setting), message, "Leave it out.")
        yield from _asked(view, path, guard)
        lacking = missing() if guard.documents == "text" else []
        if lacking:
            message = f"no document's text is had without {', '.join(lacking)}, which is not installed."
            yield view.problem((*path, "documents"), message, f"Install it: {INSTALL}")
        for index, trial in enumerate(guard.tests):
            why = failure(guard, trial)
            if why:
                yield view.problem((*path, "tests", index), f"this test fails: {why}.")


_PACKAGES = {
    "sorter": ("torch", "transformers", "tokenizers"),
    "toxic": ("torch", "transformers", "detoxify"),
    "presidio": ("presidio_analyzer", "spacy", "tldextract"),
}


def _asked(view: View, path: Path, guard: GuardrailSettings) -> Iterator[Problem]:
    """Whom a guardrail asks is there: a provider that is switched on, the packages of a model, an address that may be
    called. Absence is an error now, not with the first call."""
    provider = getattr(guard, "provider", None)
    if provider is not None and provider not in view.names("providers"):
        hint = did_you_mean(provider, view.names("providers")) or "Add it to 'providers:' in gateway.yaml."
        yield view.problem((*path, "provider"), f"no provider is named '{provider}'.", hint)
    elif provider in view.config.disabled_providers:
        message = (
            f"provider '{provider}' has no key in the environment, so this guardrail would stop every call."
        )
        yield view.problem(
            (*path, "provider"), message, "Set it, name another provider or take the guardrail out."
        )
    if isinstance(guard, Webhook):
        try:
            check_literal(guard.url)
        except (AddressRefused, ValueError) as refused:
            hint = "Link-local and metadata addresses are never called."
            yield view.problem((*path, "url"), f"{refused}.", hint)
    missing = {name for spec in guard.models for name in _PACKAGES[spec["kind"]] if find_spec(name) is None}
    if missing:
        message = f"this guardrail needs {', '.join(sorted(missing))}, which is not installed."
        yield view.problem(path, message, "Install it: pip install 'understudy[guardrails]'")


def unread_documents(config: Config, source: Source) -> Iterator[Problem]:
    """Warns of guardrails that stop every request with a document, since nobody here can read it."""
    stops = [
        name for name, guard in config.guardrails.items()
        if guard.judges_documents(["context"]) and not guard.shadow and guard.unread_documents == "block"
    ]  # fmt: skip
    if stops and missing():
        message = (
            f"requests with PDFs or Office documents are refused: guardrails ({', '.join(stops)}) read them, and "
            f"{', '.join(missing())} is not installed."
        )
        hint = (
            f"Install it: {INSTALL}. Or say 'unread_documents: allow' for each (an entry of your own goes before a "
            "template's) to let them pass unread."
        )
        yield source.problem(("guardrails", stops[0]), message, hint)


def failure(guard: GuardrailSettings, trial: Trial) -> str:
    """Why a guardrail does not do what its test expects; "" when it does."""
    if trial.becomes is not None and trial.expect not in ("mask", "rewrite"):
        return f"a text can become another by mask or rewrite, and '{trial.expect}' is expected"
    try:
        action, becomes = outcome(guard, trial)
    except Exception as problem:
        return f"the guardrail itself failed ({type(problem).__name__})"
    if action != trial.expect:
        return f"expected {trial.expect}, got {action}"
    if trial.becomes is not None and becomes != trial.becomes:
        return f"expected {trial.becomes!r}, got {becomes!r}"
    return ""


def outcome(guard: GuardrailSettings, trial: Trial) -> tuple[str, str]:
    """(action, the text that passes on), as in a call that is not in shadow."""
    if not guard.reads(trial.direction):
        return "allow", trial.text
    text = trial.text
    direction: Direction = "out" if trial.direction in _ANSWERS else "in"

    def say(text: str) -> Verdict:
        return guard.check_data(text) if trial.direction in DATA else guard.check(text, direction)

    verdict = meant(text, say) if guard.reads_escapes else spelled_out(say(text), text)
    masker = Masker()
    masker.reserve(trial.text)
    return verdict.action, changed(trial.text, [verdict], masker)
