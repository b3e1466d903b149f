"""Task discovery: the planted templates are found again, and the forecast covers what a student then does."""

from __future__ import annotations

import random

import msgspec
import pytest
import yaml

from gateway.protocol.fingerprint import group_of
from gateway.storage.reading.discovery import UntaggedCall, UntaggedTotal
from trainer.artifacts.predictor import answer
from trainer.discovery.find import Discovery, Found, discover, snippet, told
from trainer.discovery.forecast import share_at
from trainer.discovery.templates import HOLE, groups_of
from trainer.recipes import Example, train_first

WORDS = {
    "billing": ["invoice", "refund", "charge", "card", "amount", "paid", "twice", "receipt"],
    "shipping": ["parcel", "late", "courier", "box", "address", "arrived", "tracking", "delivery"],
    "access": ["login", "reset", "code", "password", "locked", "account", "sign", "forgot"],
}
CITIES = ["Berlin", "Paris", "New York", "Rome", "São Paulo", "Oslo"]
SORT = "Classify support tickets into billing, shipping or access. Answer with the label."
TRAVEL = "You are the travel concierge of {} and today is 2026-03-{:02}. Recommend sights, be brief and kind to guests."
EXTRACT = "Extract the order number and the city from a message as JSON."
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def call(number: int, system: str, text: str, said: str, **body: object) -> UntaggedCall:
    messages = [{"role": "system", "content": system}] if system else []
    request = {"model": "gpt-4o", "messages": [*messages, {"role": "user", "content": text}], **body}
    return UntaggedCall(
        call_id=f"c{number}", project="default", created_at=1000.0 + 60 * number, model="gpt-4o", provider="openai",
        served_by="gpt-4o-2024", fingerprint="", request=request, text=text, answer=said, finish_reason="stop",
        tokens=3, group=group_of(text), cost_usd=0.002,
    )  # fmt: skip


def ticket(rng: random.Random) -> tuple[str, str]:
    """A fifth of the tickets has words of any topic, so that their label is a guess."""
    label = rng.choice(sorted(WORDS))
    topic = WORDS[label] if rng.random() < 0.8 else sorted(word for words in WORDS.values() for word in words)
    return " ".join(rng.choices(topic, k=4)), label


def stream(count: int, seed: int) -> list[tuple[str, UntaggedCall]]:
    rng = random.Random(seed)
    made = []
    for number in range(count):
        kind = rng.choices(["sort", "travel", "extract", "weather", "chat"], [60, 15, 12, 8, 5])[0]
        text = f"tell me more about {rng.randrange(10**6)} {rng.choice(CITIES)}"
        if kind == "sort":
            one = call(number, SORT, *ticket(rng))
        elif kind == "travel":
            system = TRAVEL.format(rng.choice(CITIES), rng.randrange(1, 29))
            one = call(number, system, text, f"Visit number {rng.randrange(10**6)}.")
        elif kind == "extract":
            one = call(number, EXTRACT, text, "{}", response_format={"type": "json_object"})
        elif kind == "weather":
            one = call(number, "You look up the weather.", text, "", tools=[TOOL])
        else:
            one = call(number, "", text, f"It is {rng.randrange(10**6)}.")
        made.append((kind, one))
    return made


def found_in(calls: list[UntaggedCall], times: int = 1) -> Discovery:
    """What is found when one in ``times`` calls is captured."""
    total = UntaggedTotal("default", "gpt-4o", len(calls) * times, 1000.0, calls[-1].created_at)
    return discover(calls, [total], now=5000.0)


def test_the_planted_templates_are_the_groups_that_are_found() -> None:
    made = stream(600, 3)
    kinds = {one.call_id: kind for kind, one in made}
    groups = groups_of([one for _, one in made])
    assert len(groups) == 5
    assert all(len({kinds[shaped.call.call_id] for shaped in group.calls}) == 1 for group in groups)
    named = {kinds[group.calls[0].call.call_id]: group for group in groups}
    assert named["sort"].name == "classify-support-tickets"
    assert named["sort"].prefix == SORT
    assert HOLE in named["travel"].template and "Recommend sights" in named["travel"].template
    assert len(named["travel"].fingerprints()) > 20
    assert named["weather"].tools == ("get_weather",)
    assert named["extract"].json
    again = groups_of([one for _, one in stream(600, 4)])
    assert {group.name for group in again} == {group.name for group in groups}


@pytest.fixture(scope="module")
def found() -> Discovery:
    return found_in([one for _, one in stream(900, 5)], times=10)


def task(found: Discovery, name: str) -> Found:
    return next(one for one in found.tasks if name in one.name)


def test_the_forecast_covers_the_share_that_a_student_then_serves(found: Discovery) -> None:
    sort = task(found, "classify")
    assert found.tasks[0] == sort  # the dearest thing that can be learnt stands first
    probed, ahead = sort.probe, sort.forecast
    assert probed.served is not None and ahead.saved_usd is not None
    learnt = [one for kind, one in stream(900, 5) if kind == "sort"]
    fresh = [one for kind, one in stream(6000, 77) if kind == "sort"]
    trained = train_first("auto", [Example(c.text, c.answer) for c in learnt], seed=1, tick=lambda *_: None)[1]
    ranked = answer(trained.parameters, trained.answers, [one.text for one in fresh])
    import numpy as np

    right = np.array([best[0][0] == one.answer for best, one in zip(ranked, fresh, strict=True)], dtype=float)
    sure = np.array([best[0][1] for best in ranked])
    realised = share_at(sure, right, np.ones(len(fresh)))
    assert probed.served.low <= realised <= probed.served.high
    assert 0.4 < probed.served.low < probed.served.high <= 1
    real = 9000 * 0.6 * 30 * 86_400 / (899 * 60)
    assert ahead.calls.low < real < ahead.calls.high
    saved = real * 0.002 * realised
    assert ahead.saved_usd.low < saved < ahead.saved_usd.high
    assert 1.4 < probed.entropy_bits < 1.6


def test_what_cannot_be_forecast_says_why(found: Discovery) -> None:
    travel, weather = task(found, "travel"), task(found, "weather")
    assert travel.probe.served is None and "varies from call to call" in travel.probe.why
    assert weather.probe.served is None and "captured calls" in weather.probe.why  # no answer was a call
    assert travel.forecast.saved_usd is None
    assert "classify-support-tickets" in told(found) and "unknown" in told(found)


def test_calls_of_tools_are_forecast_too() -> None:
    rng = random.Random(9)
    asked = [f"weather in {rng.choice(CITIES)} please" for _ in range(200)]
    calls = [
        call(number, "You look up the weather.", text, f'[{{"name":"get_weather","arguments":{{"city":"{text.split()[2]}"}}}}]', tools=[TOOL])
        for number, text in enumerate(asked)
    ]
    (found,) = found_in(calls).tasks
    assert found.tools == ("get_weather",)
    assert found.probe.served is not None and found.probe.served.value > 0.9 and found.forecast.saved_usd is not None


def test_conversations_of_several_turns_are_no_proposal() -> None:
    turns = [{"role": "user", "content": "help"}, {"role": "assistant", "content": "With what?"}]
    calls = []
    for number in range(80):
        one = call(number, SORT, "my card was charged", "billing")
        request = {**one.request, "messages": [one.request["messages"][0], *turns, one.request["messages"][-1]]}
        calls.append(msgspec.structs.replace(one, request=request))
    (found,) = found_in(calls).tasks
    assert found.probe.served is None and "more than one turn" in found.probe.why
    assert found.forecast.saved_usd is None


def test_an_unknown_price_stays_unknown() -> None:
    calls = [msgspec.structs.replace(one, cost_usd=None) for kind, one in stream(300, 6) if kind == "sort"]
    (sort,) = found_in(calls).tasks
    assert sort.forecast.cost_usd is None and sort.forecast.saved_usd is None
    assert sort.probe.served is not None


def test_the_snippet_is_a_policy_once_the_operator_has_said_the_word(tmp_path) -> None:
    from gateway.policy import files

    (group,) = groups_of([one for kind, one in stream(200, 6) if kind == "sort"])
    text = snippet(group)
    assert yaml.safe_load(text)["tasks"][0]["teacher"]["may_train_on_outputs"] is False
    base = "providers: {openai: {type: openai, base_url: 'http://127.0.0.1:9/v1', api_key: x}, students: {type: classifier}}\n"
    (tmp_path / "a.yaml").write_text(base + text.replace("outputs: false", "outputs: true"))
    (made,) = files.load(tmp_path, {}).tasks
    assert made.name == "classify-support-tickets" and made.match[0].fingerprint


def test_no_calls_are_no_tasks() -> None:
    assert discover([], [], now=1.0).tasks == []
    assert groups_of([msgspec.structs.replace(call(1, "s", "t", "a"), request={"messages": 3})]) == []


def test_prompts_do_not_steer_the_terminal() -> None:
    rng = random.Random(3)
    calls = [call(number, "\x1b]0;owned\x07\u202eSort this.", *ticket(rng)) for number in range(80)]
    shown = told(found_in(calls))
    assert "Sort this." in shown and not set(shown) & set("\x1b\x07\u202e")
