"""Guardrails that have a model judge, before helpers that answer for it: thresholds, readings, sentences, categories."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.guardrails import Classifier, Detoxify, Entailment, Injection, Scene
from gateway.guardrails.asking import NoAnswer
from gateway.guardrails.injection.injection import Transformer
from gateway.judges import Alone

NOTHING = Scene({}, ())


class Told(Alone):
    """``say`` gives the scores of one question; what was asked is kept."""

    def __init__(self, say: Callable[[Any], Mapping[str, float]]) -> None:
        self.say, self.asked = say, list[Any]()

    async def model(self, question: Mapping[str, Any]) -> list[Mapping[str, float]]:
        self.asked += question["questions"]
        return [self.say(one) for one in question["questions"]]


def folder(path: Path, labels: Sequence[str]) -> str:
    (path / "config.json").write_text(json.dumps({"id2label": {str(at): name for at, name in enumerate(labels)}}))
    (path / "tokenizer.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"")
    return str(path)


async def test_a_classifier_has_a_threshold_for_each_label(tmp_path: Path) -> None:
    guard = Classifier(
        model=folder(tmp_path, ["OK", "RUDE", "SPAM"]), labels={"RUDE": 0.8, "SPAM": 0.3}, categories={"RUDE": "harassment"}
    )
    scores = {"a": (0.2, 0.7, 0.1), "b": (0.1, 0.9, 0.0), "c": (0.6, 0.0, 0.4)}
    helpers = Told(lambda text: dict(zip(("OK", "RUDE", "SPAM"), scores[text], strict=True)))
    said = await guard.ask(["a", "b", "c"], "in", helpers, NOTHING)
    assert [one.action for one in said] == ["allow", "block", "block"]
    rated = await guard.rated(["a", "b"], helpers)
    assert rated is not None and [(one["harassment"].score, one["harassment"].hit) for one in rated] == [
        (0.7, False), (0.9, True),
    ]  # fmt: skip
    with pytest.raises(NoAnswer):
        await guard.ask(["a"], "in", Alone(), NOTHING)


async def test_a_transformer_reads_a_text_without_its_disguises_too(tmp_path: Path) -> None:
    guard = Injection(transformer=Transformer(model=folder(tmp_path, ["SAFE", "INJECTION"])))
    helpers = Told(lambda text: {"SAFE": 0.1, "INJECTION": 0.9 if text == "obey me" else 0.1})
    said = await guard.ask(["hello", "ｏｂｅｙ ｍｅ"], "in", helpers, NOTHING)
    assert [one.action for one in said] == ["allow", "block"] and helpers.asked == ["hello", "ｏｂｅｙ ｍｅ", "obey me"]
    assert not guard.asks_about("x", "out") and guard.models and not Injection().asks


async def test_an_answer_is_grounded_when_each_sentence_is(tmp_path: Path) -> None:
    path = folder(tmp_path, ["contradiction", "entailment"])
    helpers = Told(lambda pair: {"contradiction": 0.0, "entailment": 0.9 if pair[1].split()[0] in pair[0] else 0.1})
    scene = Scene({}, (("context", "Paris is large"), ("tool_results", "Rome is old"), ("input", "Oslo")))
    guard = Entailment(model=path, action="block")
    for text, action in (
        ("Paris is very large. Rome is very old.", "allow"), ("Paris is very large. Oslo is very cold.", "block"), ("Oslo.", "allow")
    ):  # fmt: skip
        assert (await guard.ask([text], "out", helpers, scene))[0].action == action
    half = Entailment(model=path, action="block", ungrounded=0.5)
    assert (await half.ask(["Paris is very large. Oslo is very cold."], "out", helpers, scene))[0].action == "allow"
    assert (await guard.ask(["Oslo is very cold."], "out", helpers, NOTHING))[0].action == "allow"
    with pytest.raises(ValueError, match="too many"):
        await guard.ask(["Oslo is very cold. " * 65], "out", helpers, scene)
    assert not guard.asks_about("x", "in")


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        (Classifier, {"labels": {"NOT": 0.5}}, "has no label 'NOT'; it has A, B"),
        (Classifier, {"labels": {}}, "at least one label"),
        (Entailment, {}, "has no label 'entailment'"),
        (Detoxify, {"model": "original", "checkpoint": "/nowhere"}, "belong together"),
        (Detoxify, {"model": "original", "download": True, "thresholds": {"sexual_explicit": 0.5}}, "'unbiased' has"),
        (Detoxify, {"model": "original", "checkpoint": "/nowhere", "config": "/nowhere"}, "no checkpoint"),
    ],
)
def test_a_wrong_model_is_refused_with_a_reason(tmp_path: Path, kind: Any, settings: dict[str, Any], says: str) -> None:
    model = {"model": folder(tmp_path, ["A", "B"]), **settings}
    tag = kind.__struct_config__.tag
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert({"type": tag, **model}, kind)


def test_detoxify_is_downloaded_only_when_that_is_allowed() -> None:
    assert Detoxify(download=True).models == [{"kind": "toxic", "model": "original", "download": True}]
