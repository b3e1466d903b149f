from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from gateway.protocol.assemble import answer_text, assemble, chunk_text, finish_reason, split


def chunk(delta: dict[str, Any], *, index: int = 0, finish: str | None = None, **more: Any) -> dict[str, Any]:
    part = {"index": index, "delta": delta, "finish_reason": finish, **more}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [part]}


def whole(message: dict[str, Any], finish: str = "stop", logprobs: Any = None) -> dict[str, Any]:
    full = {"role": "assistant", "content": None, "refusal": None, "annotations": [], **message}
    choice = {"index": 0, "message": full, "logprobs": logprobs, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion", "created": 7, "model": "m", "choices": [choice]}


def test_text_is_joined_and_usage_and_finish_reason_are_kept() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    tail = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": []}
    answer = assemble(
        [
            chunk({"role": "assistant", "content": "", "refusal": None}),
            chunk({"content": "Hel"}),
            chunk({"content": "lo"}),
            chunk({}, finish="stop"),
            {**tail, "usage": usage},
        ]
    )
    assert answer == {**whole({"content": "Hello"}), "usage": usage}
    ChatCompletion.model_validate(answer, strict=True)


def test_tool_calls_are_put_together_by_index() -> None:
    answer = assemble(
        [
            chunk({"role": "assistant", "content": None}),
            chunk({"tool_calls": [{"index": 0, "id": "a", "type": "function",
                                   "function": {"name": "f", "arguments": ""}}]}),
            chunk({"tool_calls": [{"index": 1, "id": "b", "type": "function",
                                   "function": {"name": "g", "arguments": '{"x"'}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
            chunk({"tool_calls": [{"index": 1, "function": {"arguments": ":1}"}}]}),
            chunk({}, finish="tool_calls"),
        ]
    )  # fmt: skip
    message = answer["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"x":1}'}},
    ]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


def test_several_choices_are_kept_apart() -> None:
    answer = assemble(
        [
            chunk({"content": "a"}, index=1),
            chunk({"content": "b"}),
            chunk({"content": "a"}, index=1, finish="stop"),
            chunk({}, finish="length"),
        ]
    )
    texts = [(c["index"], c["message"]["content"], c["finish_reason"]) for c in answer["choices"]]
    assert texts == [(0, "b", "length"), (1, "aa", "stop")]


def test_refusal_logprobs_and_a_vendors_own_fields_survive() -> None:
    one = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
    answer = assemble(
        [
            chunk({"role": "assistant", "content": None, "reasoning_content": "th"}),
            chunk({"reasoning_content": "ink"}, logprobs={"content": [one], "refusal": None}),
            chunk({"refusal": "no"}, logprobs={"content": [one], "refusal": None}),
            chunk({}, finish="stop"),
        ]
    )
    choice = answer["choices"][0]
    assert choice["message"]["refusal"] == "no"
    assert choice["message"]["content"] is None
    assert choice["message"]["reasoning_content"] == "think"
    assert choice["logprobs"] == {"content": [one, one], "refusal": None}


def test_old_function_calls_and_custom_tools() -> None:
    message = {"function_call": {"name": "f", "arguments": "{}"}}
    assert assemble(split(whole(message, "function_call"))) == whole(message, "function_call")
    custom = {"tool_calls": [{"id": "x", "type": "custom", "custom": {"name": "sql", "input": "select 1"}}]}
    assert assemble(split(whole(custom, "tool_calls"))) == whole(custom, "tool_calls")


def test_malformed_chunks_are_skipped_over() -> None:
    bad: list[dict[str, Any]] = [
        {}, {"choices": None}, {"choices": [None, 3]}, {"choices": [{"index": "x", "delta": None}]},
        {"choices": [{"delta": {"tool_calls": "no", "content": 5, "function_call": []}, "logprobs": []}]},
        {"usage": 3},
    ]  # fmt: skip
    answer = assemble([*bad, chunk({"content": "ok"})])
    assert answer_text(answer) == "ok"
    assert assemble([])["choices"] == []


def test_split_speaks_the_sdks_chunks() -> None:
    chunks = split(whole({"content": "Hello"}))
    deltas = [one["choices"][0]["delta"] for one in chunks]
    assert deltas == [{"role": "assistant", "content": "", "refusal": None}, {"content": "Hello"}, {}]
    assert [one["choices"][0]["finish_reason"] for one in chunks] == [None, None, "stop"]
    assert {one["id"] for one in chunks} == {"c1"}
    assert all("usage" not in one for one in chunks)
    for one in chunks:
        ChatCompletionChunk.model_validate(one, strict=True)
    assert [chunk_text(one) for one in chunks] == ["", "Hello", ""]
    assert [finish_reason(one) for one in chunks] == [None, None, "stop"]


names = st.sampled_from(["f", "lookup"])
calls = st.lists(
    st.builds(
        lambda at, name, text: {"id": f"call_{at}", "type": "function",
                                "function": {"name": name, "arguments": text}},
        st.integers(0, 9), names, st.text(max_size=8),
    ),
    min_size=1, max_size=3,
)  # fmt: skip
messages = st.one_of(
    st.builds(lambda text: {"content": text}, st.text(max_size=20)),
    st.builds(lambda text: {"refusal": text}, st.text(min_size=1, max_size=20)),
    st.builds(lambda found: {"tool_calls": found}, calls),
)


@given(messages, st.sampled_from(["stop", "length", "tool_calls"]), st.booleans())
def test_splitting_and_assembling_gives_the_same_answer(
    message: dict[str, Any], finish: str, with_logprobs: bool
) -> None:
    logprobs = {"content": [{"token": "x", "logprob": -1.0}], "refusal": None} if with_logprobs else None
    answer = whole(message, finish, logprobs)
    assert assemble(split(answer)) == answer
