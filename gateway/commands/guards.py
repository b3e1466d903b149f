"""``understudy guards train``: the injection classifier, fitted on an operator's own labelled texts."""

from __future__ import annotations

import gzip
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from gateway.commands.common import fail, say
from gateway.commands.guard_options import REACHING, SPARING
from gateway.guardrails.injection.fitted import Fitted, save
from gateway.guardrails.injection.fitting import INDIRECT, Example, Lesson, halves, learn, read
from gateway.guardrails.injection.injection import score
from gateway.guardrails.toxicity.toxicity import listed
from optimizer.stats.intervals import wilson

_TOXIC = 0.5  # see Toxicity.threshold


def train(options: Namespace) -> int:
    """Fits and writes the model, or with ``--half`` tells what a model fitted on one half does on the other."""
    if not 0 < options.false_positives <= 0.2:
        return fail("--false-positives must be more than 0 and at most 0.2.")
    if not 0 < options.elsewhere <= 1:
        return fail("--elsewhere must be more than 0 and at most 1.")
    try:
        examples = _examples(options.data)
        if options.half:
            return _measure(examples, options)
        lesson = learn(examples)
        fitted = lesson.fitted(options.false_positives, options.elsewhere)
        save(options.out, fitted)
    except (ValueError, EOFError) as problem:
        return fail(str(problem))
    except OSError as problem:
        return fail(f"{problem.filename or options.data}: {problem.strerror or 'cannot be read'}.")
    say(f"Fitted on {fitted.manifest.attacks} attacks and {fitted.manifest.benign} benign texts.")
    _foretell(lesson, fitted, options)
    kind = "toxicity" if all(one.attack is None for one in examples) else "injection"
    say(f"Use it in safety.yaml: {{type: {kind}, action: flag, model: {options.out}}}")
    return 0


def _foretell(lesson: Lesson, fitted: Fitted, options: Namespace) -> None:
    """What to expect of texts like the examples, as set and with the other setting."""
    say("Stopped of texts like these, by models that had not seen them:")
    for name, (hits, count) in lesson.foreseen(fitted).items():
        say(f"  {name:25} {_share(hits, count)}")
    if lesson.others.any():
        other = _other(options.elsewhere)
        say(f"With --elsewhere {other} instead:")
        for name, (hits, count) in lesson.foreseen(lesson.fitted(options.false_positives, other)).items():
            say(f"  {name:25} {_share(hits, count)}")
    say("Texts of other kinds may fare worse: put ordinary prompts of your own among the benign ones.")


def _other(elsewhere: float) -> float:
    """The setting to compare with: one spares texts that nobody marked as look-alikes, one reaches for attacks."""
    return SPARING if elsewhere > SPARING else REACHING


def _share(hits: int, count: int) -> str:
    low, high = wilson(hits, count, 0.95)
    return f"{hits:4}/{count:<4} {hits / count:6.1%} ({low:.1%} to {high:.1%})"


def _examples(place: Path) -> list[Example]:
    """Raises OSError, or ValueError with file and line."""
    if not place.exists():
        raise ValueError(f"{place} does not exist.")
    files = [place] if place.is_file() else sorted([*place.glob("*.jsonl"), *place.glob("*.jsonl.gz")])
    found: list[Example] = []
    for file in files:
        data = file.read_bytes()
        try:
            found += read(gzip.decompress(data) if file.suffix == ".gz" else data)
        except ValueError as problem:
            raise ValueError(f"{file.name}, {problem}") from None
    return found


def _measure(examples: list[Example], options: Namespace) -> int:
    taught, held = halves(examples, options.seed)
    lesson = learn(taught)
    toxic = all(one.attack is None for one in examples)

    def by_rules(text: str) -> bool:
        return listed(text) >= _TOXIC if toxic else score(text) >= 1.0

    def by_both(elsewhere: float) -> Callable[[str], bool]:
        fitted = lesson.fitted(options.false_positives, elsewhere)
        return lambda text: fitted.attacks(text) or (not toxic and by_rules(text))

    say(f"Fitted on {len(taught)} texts, tested on {len(held)} of other groups (seed {options.seed}).")
    _tell("rules alone:", _lines(held, by_rules))
    name = "classifier" if toxic else "rules and classifier"
    if not lesson.others.any():
        _tell(f"{name}:", _lines(held, by_both(options.elsewhere)))
        return 0
    _tell(f"{name} (--elsewhere {options.elsewhere}):", _lines(held, by_both(options.elsewhere)))
    other = _other(options.elsewhere)
    _tell(f"{name} with --elsewhere {other} instead:", _lines(held, by_both(other), by_source=False))
    return 0


def _tell(title: str, lines: Iterable[str]) -> None:
    say(title)
    for line in lines:
        say(f"  {line}")


def _lines(held: Iterable[Example], judge: Callable[[str], bool], *, by_source: bool = True) -> list[str]:
    stopped: dict[tuple[int, str, str], list[bool]] = defaultdict(list)
    for one in held:
        kind = 2 - one.label if not one.unsafe or one.label else 3
        found = judge(one.text)
        if by_source:
            stopped[kind, one.family, one.source].append(found)
        stopped[kind, one.family, "all"].append(found)
        stopped[kind, "all", ""].append(found)
        if kind == 1 and one.family != INDIRECT:
            stopped[kind, "all but indirect", ""].append(found)
    names = {1: "attacks stopped", 2: "benign stopped", 3: "harmful requests stopped"}
    lines = []
    for (kind, family, source), flags in sorted(stopped.items()):
        lines.append(f"{names[kind]:25} {family:22} {source:18} {_share(sum(flags), len(flags))}")
    return lines
