"""What the rules of promotion must hold beyond their shape: gates that prove something, slices that are slices."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.money.pricing import price_of
from gateway.policy.convert import did_you_mean
from gateway.policy.reading import Path, Problem
from gateway.policy.view import View
from gateway.providers import ClassifierProvider
from optimizer.gates.agreement import Agreement
from optimizer.gates.truth import Truth
from optimizer.languages import KNOWN as LANGUAGES
from optimizer.slices import FOUND, REST, Slice


def promotion(view: View) -> Iterator[Problem]:
    for stage in ("shadow", "canary"):
        path: Path = ("promotion", stage, "gates")
        if ("promotion",) not in view.unclean:
            gates = getattr(view.config.promotion, stage).gates
            if not any(isinstance(gate, Agreement | Truth) for gate in gates):
                message = "without the gate 'agreement' a student would be promoted without evidence."
                yield view.problem(path, message, "Add 'agreement', or 'truth', to the list.")
            kinds = {(type(gate), getattr(gate, "scorer", ""), getattr(gate, "event", "")) for gate in gates}
            if len(kinds) < len(gates):
                yield view.problem(path, "the same gate is listed twice.", "Keep one of the two.")


def judge(view: View) -> Iterator[Problem]:
    """A judge is somebody the policies know, at a price that its budget can count."""
    rules, here = view.config.promotion.judge, ("promotion", "judge")
    if rules is None or ("promotion",) in view.unclean:
        return
    settings = view.config.providers.get(rules.provider)
    if settings is None:
        hint = did_you_mean(rules.provider, view.names("providers"))
        yield view.problem((*here, "provider"), f"no provider is named '{rules.provider}'.", hint)
        return
    profile = "" if isinstance(settings, ClassifierProvider) else settings.profile
    if price_of(view.config.prices, rules.provider, profile, rules.model) is None:
        message = f"what '{rules.model}' costs is unknown, and the judge has a budget in money."
        hint = f"Add 'prices: {{{rules.provider}: {{{rules.model}: {{input: ..., output: ...}}}}}}'."
        yield view.problem((*here, "model"), message, hint)


def slices(view: View) -> Iterator[Problem]:
    for path, task in view.clean("tasks"):
        if task.learn is not None:
            yield from _slices(view, (*path, "learn", "slices"), task.learn.slices)
            for number, one in enumerate(task.learn.slices):
                if one.name.startswith(FOUND) or one.centroid:
                    message = f"the slice '{one.name}' is written like one that was found."
                    hint = f"Names that begin with '{FOUND}', and centroids, are for 'found_slices'."
                    yield view.problem((*path, "learn", "slices", number, "name"), message, hint)


def _slices(view: View, path: Path, slices: list[Slice]) -> Iterator[Problem]:
    seen = {REST}
    for number, one in enumerate(slices):
        if one.name in seen:
            why = "is what is left over" if one.name == REST else "is declared twice"
            yield view.problem(
                (*path, number, "name"), f"the slice '{one.name}' {why}.", "Give it another name."
            )
        seen.add(one.name)
        if not one.says_something:
            message = f"the slice '{one.name}' has no condition, so every call would belong to it."
            hint = "Give it metadata, min_chars, max_chars, language or answer."
            yield view.problem((*path, number), message, hint)
        for code in one.language:
            if code not in LANGUAGES:
                message = f"the language '{code}' cannot be told from others here."
                yield view.problem((*path, number, "language"), message, did_you_mean(code, LANGUAGES))
