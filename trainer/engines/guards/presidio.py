"""Presidio's analyzer, without a network: its patterns and checksums on a blank spaCy pipeline, the national
recognizers of the countries that are named, and names and places by a spaCy or transformers model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from trainer.engines.guards.pools import CannotLoad, Question

_KINDS = {
    "EMAIL_ADDRESS": "EMAIL", "CREDIT_CARD": "CARD", "IBAN_CODE": "IBAN", "PHONE_NUMBER": "PHONE", "IP_ADDRESS": "IP",
    "US_SSN": "SSN",
}  # fmt: skip
"""Presidio's names where the gateway's own patterns have another."""

_NAMES = {
    "PER": "PERSON", "PERSON": "PERSON", "LOC": "LOCATION", "GPE": "LOCATION", "LOCATION": "LOCATION",
    "FAC": "LOCATION", "ORG": "ORGANIZATION", "ORGANIZATION": "ORGANIZATION", "NORP": "NRP", "NRP": "NRP",
}  # fmt: skip
_KIND = re.compile(r"[A-Z][A-Z0-9_]{0,31}\Z")


class Spec(Struct, frozen=True):
    """What a policy asks for. ``countries`` as ISO 3166-1 alpha-2 in lower case, ``phone_regions`` in capitals;
    ``spacy`` and ``transformers``: a folder, or an installed package of spaCy's. ``entities``: only these kinds."""

    kind: str
    language: str = "en"
    countries: list[str] = []
    phone_regions: list[str] = []
    entities: list[str] = []
    min_score: float = 0.4
    spacy: str = ""
    transformers: str = ""


class Analyzer:
    """``answers``: [[start, end, kind], ...] each."""

    def __init__(self, engine: Any, spec: Spec, named: Any = None) -> None:
        """``named`` gives [[start, end, label, probability], ...] of each text, beside the engine."""
        self._engine, self._spec, self._named = engine, spec, named
        self._patterns = engine.registry.recognizers

    def answers(self, questions: Sequence[Question]) -> list[list[list[Any]]]:
        texts = [question if isinstance(question, str) else question[0] for question in questions]
        spec = self._spec
        found = [self._spans(text) for text in texts]
        for spans, more in zip(found, self._named.answers(texts) if self._named else [], strict=False):
            spans += [
                [start, end, _NAMES[label]]
                for start, end, label, score in more
                if label in _NAMES and score >= spec.min_score
            ]
        wanted = set(spec.entities)
        return [
            sorted(span for span in spans if (span[2] in wanted if wanted else True) and _KIND.match(span[2]))
            for spans in found
        ]

    def _spans(self, text: str) -> list[list[Any]]:
        """Context is looked at only where a pattern has found something: splitting a text into words costs most."""
        spec = self._spec
        if not spec.spacy and not any(
            one.analyze(text, one.supported_entities, None) for one in self._patterns
        ):
            return []
        return [
            [one.start, one.end, _KINDS.get(one.entity_type, one.entity_type)]
            for one in self._engine.analyze(text, spec.language, score_threshold=spec.min_score)
        ]


def presidio(asked: Mapping[str, Any]) -> Analyzer:
    """Raises CannotLoad."""
    import msgspec

    spec = msgspec.convert(dict(asked), Spec)
    try:
        import spacy
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    except ImportError:
        raise CannotLoad("Presidio needs the extra: pip install 'understudy[guardrails]'") from None
    named = None
    if spec.transformers:
        from trainer.engines.guards.sequences import namer

        named = namer({"path": spec.transformers})
    nlp = _nlp(spec, spacy)
    registry = RecognizerRegistry(supported_languages=[spec.language])
    for one in recognizers(spec):
        registry.add_recognizer(one)
    engine = AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=[spec.language])
    return Analyzer(engine, spec, named)


def recognizers(spec: Spec) -> list[Any]:
    """Those that need no model; that of spaCy's entities where a spaCy model is named."""
    from presidio_analyzer import predefined_recognizers as known

    language = {"supported_language": spec.language}
    found: list[Any] = [
        known.CreditCardRecognizer(**language), known.IbanRecognizer(**language), _emails(spec.language),
        known.IpRecognizer(**language), known.CryptoRecognizer(**language), known.MacAddressRecognizer(**language),
    ]  # fmt: skip
    if spec.phone_regions:
        found.append(known.PhoneRecognizer(supported_regions=tuple(spec.phone_regions), **language))
    national = {getattr(known, name) for name in dir(known) if name.endswith("Recognizer")}
    here = sorted(
        (one for one in national if getattr(one, "COUNTRY_CODE", None) in spec.countries),
        key=lambda one: one.__name__,
    )
    missing = set(spec.countries) - {one.COUNTRY_CODE for one in here}
    if missing:
        raise CannotLoad(f"Presidio has no recognizers for {', '.join(sorted(missing))}")
    found += [one(**language) for one in here if "supported_language" in inspect.signature(one).parameters]
    if spec.spacy:
        found.append(known.SpacyRecognizer(supported_entities=sorted({*_NAMES.values()}), **language))
    return found


def _emails(language: str) -> Any:
    """Presidio's, which fetches the list of public suffixes, with the list that comes with the library instead."""
    import tldextract
    from presidio_analyzer.predefined_recognizers import EmailRecognizer

    here = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    class Emails(EmailRecognizer):  # type: ignore[misc]
        def validate_result(self, pattern_text: str) -> bool:
            return bool(here(pattern_text).fqdn)

    return Emails(supported_language=language)


def _nlp(spec: Spec, spacy: Any) -> Any:
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    if spec.spacy and not (Path(spec.spacy).is_dir() or spacy.util.is_package(spec.spacy)):
        raise CannotLoad(f"spaCy's model {spec.spacy!r} is neither a folder nor installed")

    class Here(SpacyNlpEngine):  # type: ignore[misc]
        """What Presidio would download is refused above; a blank pipeline's words stand for their lemmas."""

        def load(self) -> None:
            try:
                nlp = spacy.load(spec.spacy) if spec.spacy else spacy.blank(spec.language)
            except Exception as problem:  # spaCy raises many kinds for a folder that does not fit
                raise CannotLoad(f"spaCy's {spec.spacy or spec.language!r}: {problem}"[:300]) from None
            self.nlp = {spec.language: nlp}

        def process_text(self, text: str, language: str) -> Any:
            doc = self.nlp[language](text)
            if not spec.spacy:
                for token in doc:
                    token.lemma_ = token.lower_
            return self._doc_to_nlp_artifact(doc, language)

    engine = Here(models=[{"lang_code": spec.language, "model_name": spec.spacy or "blank"}])
    engine.load()
    return engine
