"""Where guardrails look, whom they concern, what they change, and what only records."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_fakes import ALICE, Stream, chunk, exchange_of, read, runtime_of, texts, whole

from gateway.config import CandidateRef, Config, Match, Task
from gateway.errors import BadRequest, Unavailable
from gateway.guardrails import Blocklist, GuardrailSettings, Pii, Secrets
from gateway.protocol.assemble import assemble
from gateway.stages.guard import Guard

MAIL = "jane@example.org"


async def through(config: Config, body: dict[str, Any] | None = None, answer: Any = None, **more: Any) -> Any:
    """The exchange and the answer of one call."""
    exchange = exchange_of(runtime_of(config), body, **more)

    async def inner(_: Any) -> Any:
        return answer if answer is not None else whole("fine")

    return exchange, await Guard()(exchange, inner)


def only(**settings: Any) -> Config:
    return Config(guardrails={"words": Blocklist(phrases=["falcon"], **settings)})


TURNS: dict[str, dict[str, Any]] = {
    "input": {"messages": [{"role": "user", "content": "falcon"}]},
    "system": {"messages": [{"role": "system", "content": "falcon"}, {"role": "user", "content": "x"}]},
    "tool_results": {
        "messages": [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "1", "content": "falcon"}]
    },
    "context": {"messages": [{"role": "user", "content": "x"}], "documents": [{"text": "falcon"}]},
    "tool_arguments": {"messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"to": "falcon"}'}}
        ]},
    ]},
}  # fmt: skip


async def test_what_was_searched_for_here_is_retrieved_text_in_a_tools_result() -> None:
    part = {"type": "text", "text": "falcon", "retrieved": True}
    body = {"messages": [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "1", "content": [part]}]}
    with pytest.raises(BadRequest):
        await through(only(directions=["context"]), body)
    exchange, _ = await through(only(directions=["tool_results"]), body)
    assert exchange.verdicts == []


@pytest.mark.parametrize("place", TURNS)
async def test_a_guardrail_looks_where_it_is_told_to(place: Any) -> None:
    for where, body in TURNS.items():
        if where == place:
            with pytest.raises(BadRequest):
                await through(only(directions=[place]), body)
        else:
            exchange, _ = await through(only(directions=[place]), body)
            assert exchange.verdicts == []


async def test_answers_have_places_too() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"to":"falcon"}'}}
    in_call, in_text = whole("ok", tool_calls=[call]), whole("a falcon")
    for config, bad, good in (
        (only(directions=["tool_arguments"]), in_call, in_text),
        (only(directions=["output"]), in_text, in_call),
    ):
        with pytest.raises(BadRequest):
            await through(config, answer=bad)
        await through(config, answer=good)
    delta = {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "falcon!"}}]}
    stream = (await through(only(directions=["tool_arguments"]), answer=Stream(chunk(delta))))[1]
    with pytest.raises(BadRequest):
        await read(stream)
    stream = (await through(only(directions=["output"]), answer=Stream(chunk(delta), chunk({}, "stop"))))[1]
    await read(stream)


async def test_projects_keys_and_tasks_scope_a_guardrail() -> None:
    task = Task(name="t", candidates=[CandidateRef(provider="p", model="x")], match=[Match(model="gpt")])
    blocked: list[tuple[dict[str, Any], str]] = [
        ({"projects": ["p1"]}, "m"), ({"keys": ["key_alice"]}, "m"), ({"tasks": ["t"]}, "t"), ({"tasks": ["t"]}, "gpt"),
    ]  # fmt: skip
    for settings, model in blocked:
        config = Config(guardrails={"words": Blocklist(phrases=["falcon"], **settings)}, tasks=[task])
        with pytest.raises(BadRequest):
            await through(config, {"model": model}, text="falcon", principal=ALICE)
    for settings in ({"projects": ["p2"]}, {"keys": ["bob"]}, {"tasks": ["t"]}):
        exchange, _ = await through(only(**settings), text="falcon", principal=ALICE)
        assert exchange.verdicts == []


async def test_a_task_reached_by_its_match_has_its_own_guardrails() -> None:
    task = Task(
        name="t",
        candidates=[CandidateRef(provider="p", model="x")],
        match=[Match(model="gpt")],
        guardrails=["b"],
    )
    config = Config(guardrails={"a": Blocklist(phrases=["x"]), "b": Blocklist(phrases=["y"])}, tasks=[task])
    await through(config, {"model": "gpt"}, text="x")
    with pytest.raises(BadRequest, match="'b'"):
        await through(config, {"model": "gpt"}, text="y")


async def test_a_shadow_records_and_does_nothing() -> None:
    config = Config(guardrails={
        "words": Blocklist(phrases=["falcon"], shadow=True), "privacy": Pii(shadow=True),
    })  # fmt: skip
    exchange, answer = await through(config, text=f"falcon {MAIL}", answer=texts("fal", "con", " falcon"))
    assert await read(answer) == "falcon falcon"
    assert exchange.body["messages"][0]["content"] == f"falcon {MAIL}"
    assert exchange.verdicts == ["words:block:shadow", "privacy:mask:shadow", "words:block:shadow"]
    where = [(one.guardrail, one.action, one.place, one.shadow) for one in exchange.findings]
    assert where[-1] == ("words", "block", "output", True) and where[0][2] == "input"
    assert exchange.findings[0].sample == "falcon [EMAIL_1]"


async def test_rewriting_in_both_directions() -> None:
    config = only(action="rewrite", replacement="bird")
    exchange, answer = await through(config, text="a Falcon, falcons", answer=whole("FALCON!"))
    assert exchange.body["messages"][0]["content"] == "a bird, falcons"
    assert answer.text == "bird!" and exchange.verdicts == ["words:rewrite", "words:rewrite"]


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("… fal\u200bcon™ ½", "… bird™ ½"), ("weiß: ﬀ falcon ß", "weiß: ﬀ bird ß"), ("e\u0301 ﬀ… FALCON", "e\u0301 ﬀ… bird"),
        ("STRASSE 7, straße 7 and Straße 70 falcon", "bird, bird and Straße 70 bird"),
        ("cafe\u0301 café e\u0301t", "bird bird e\u0301t"), ("ｆａｌｃｏｎ 👩\u200d🚀 ß falcon", "bird 👩\u200d🚀 ß bird"),
    ],
)  # fmt: skip
async def test_letters_that_fold_into_more_or_fewer_move_no_place(text: str, becomes: str) -> None:
    """A text was stopped, or cut in the wrong place, where an ellipsis or a German ß stood beside the phrase."""
    phrases = ["falcon", "Straße 7", "caf\u00e9"]
    config = Config(guardrails={"words": Blocklist(phrases=phrases, action="rewrite", replacement="bird")})
    exchange, answer = await through(config, text=text, answer=whole(text))
    assert exchange.body["messages"][0]["content"] == becomes
    assert answer.text == becomes


@given(st.lists(st.integers(1, 40), max_size=40))
async def test_streams_are_rewritten_however_they_are_cut(cuts: list[int]) -> None:
    text = "one falcon, " + "falconer " * 12 + "falcon falcon " + "word " * 30 + "falcon"
    rest, pieces = text, []
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    exchange, stream = await through(only(action="rewrite"), text=MAIL, answer=texts(*pieces, rest))
    expected = "one ***, " + "falconer " * 12 + "*** *** " + "word " * 30 + "***"
    assert await read(stream) == expected
    assert exchange.verdicts == ["words:rewrite"]


_PIECES = [
    "falcon", "Falcon ", "project", " ", "\n ", "x", "straße 7", "STRASSE", " 7", "cafe", "\u0301", "é", "caf", "fal\u200b", "…", "™",
    "ﬀ", "&", "&#102;", "%", "\\", "word ", "pro", "ject fal", "con", "password: a1B2c3D4e5F6g7H8", "sk-", "a1B2c3D4e5F6g7H8i9J0",
]  # fmt: skip


@given(st.lists(st.sampled_from(_PIECES), max_size=24), st.lists(st.integers(1, 9), max_size=60))
async def test_what_is_held_back_is_enough_wherever_a_stream_is_cut(said: list[str], cuts: list[int]) -> None:
    """Letters, accents, spaces and halves of escapes that come later never let a phrase or a credential out."""
    rules: dict[str, GuardrailSettings] = {
        "words": Blocklist(phrases=["project falcon", "falcon x", "Straße 7", "caf\u00e9"], action="rewrite"),
        "keys": Secrets(action="mask"),
    }
    text = rest = "".join(said)
    pieces = []
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    _, stream = await through(Config(guardrails=rules), answer=texts(*pieces, rest))
    _, answer = await through(Config(guardrails=rules), answer=whole(text))
    assert await read(stream) == answer.text


@pytest.mark.parametrize(
    ("guard", "text", "most"),
    [
        (Blocklist(phrases=["project falcon", "nobody's business"], action="rewrite"), "we reject all of it, " * 9, 0),
        (Blocklist(phrases=["project falcon", "für Élise"], action="rewrite"), "schön, daß es für alle reicht… " * 9, 4),
        (Secrets(action="mask"), "a token is a word of a text like this one " * 9, 0),
    ],
)
async def test_a_rewritten_stream_waits_only_for_what_may_become_a_find(
    guard: GuardrailSettings, text: str, most: int
) -> None:
    """Ordinary words went out a hundred characters late, and past a mask for credentials six hundred."""
    words = [f"{word} " for word in text.split()]
    _, stream = await through(Config(guardrails={"it": guard}), answer=texts(*words))
    given_out, sent, late = 0, 0, [0]
    async for one in stream:
        given_out += len(one.text)
        late.append(len("".join(words[:sent])) - given_out)  # the first one says who speaks
        sent += 1
    assert max(late) <= most
    assert given_out == len("".join(words))


async def test_a_rewritten_stream_stays_behind_by_its_reach_and_no_more() -> None:
    guard = Blocklist(phrases=["falcon"], action="rewrite")
    config = Config(guardrails={"words": guard})
    _, stream = await through(config, answer=texts(*["0123456789"] * 40))
    given_out, sent = 0, 0
    async for one in stream:
        given_out += len(one.text)
        assert sent - given_out <= guard.reach
        sent += 10
    assert given_out == 400


async def test_rewritten_tool_arguments_and_the_clients_own_values() -> None:
    config = Config(guardrails={"privacy": Pii(), "words": Blocklist(phrases=["falcon"], action="rewrite")})
    call = {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": '{"to":"[EMA'}}
    more = {"index": 0, "function": {"arguments": 'IL_1] falcon"}'}}
    answer = Stream(chunk({"tool_calls": [call]}), chunk({"tool_calls": [more]}), chunk({}, "tool_calls"))
    _, stream = await through(config, text=f"falcon {MAIL}", answer=answer)
    found = assemble([one.data async for one in stream])
    assert (
        found["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == f'{{"to":"{MAIL} ***"}}'
    )


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_guardrail_that_fails_blocks_or_lets_pass_as_it_says(
    monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(Blocklist, "check", fail)
    guards: dict[str, GuardrailSettings] = {"words": Blocklist(phrases=["a"], on_error="allow")}
    exchange, answer = await through(Config(guardrails=guards), answer=texts("x") if streamed else whole("x"))
    if streamed:
        assert await read(answer) == "x"
    assert set(exchange.verdicts) == {"words:error-allow"}
    with pytest.raises(Unavailable):
        await through(only())


async def test_log_probabilities_do_not_spell_what_was_rewritten() -> None:
    def answering(answer: Any) -> Any:
        async def inner(_: Any) -> Any:
            return answer

        return inner

    spelt = {"content": [{"token": "project falcon", "logprob": -1.0, "bytes": None, "top_logprobs": []}]}
    rules = Config(guardrails={"words": Blocklist(phrases=["project falcon"], action="rewrite")})
    for said, expected in (("see project falcon", None), ("see project hawk", spelt)):
        answer = whole(said)
        answer.data["choices"][0]["logprobs"] = spelt
        got: Any = await Guard()(exchange_of(runtime_of(rules), text="hi"), answering(answer))
        assert got.data["choices"][0]["logprobs"] == expected
    parts = [chunk({"content": "see project fal"}), chunk({"content": "con"}, "stop")]
    for part in parts:
        part.data["choices"][0]["logprobs"] = spelt
    stream: Any = await Guard()(exchange_of(runtime_of(rules), text="hi"), answering(Stream(*parts)))
    seen = [one.data async for one in stream]
    assert "falcon" not in str(seen) and "see" in str(seen)
