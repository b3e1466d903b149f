"""OpenAI's evals through the stock client: rows of files and stored completions, asked, graded, and gone on with."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import openai
import pytest
from gateway_server import KEY, Gateway, gateway, write_policies
from scripted import COMPLETION, Line, Provider, provider

from gateway.access.keys import new_key
from gateway.api.evals.shapes import Eval, EvalRun
from gateway.api.evals.store import EvalStore, Item, lines_of
from gateway.storage.commands import CreateKey
from gateway.storage.engine import write_engine
from gateway.storage.home import Home
from gateway.storage.records import CallRecord
from gateway.storage.spooling.ingester import Ingester
from gateway.storage.values import Key
from gateway.storage.writing.writer import SqlWriter
from gateway.storage.writing.writers import open_writer

LEARNS = """    teacher: {provider: big, model: m, may_train_on_outputs: true}
    learn: {min_calls: 1000}
"""
SAME = {
    "type": "string_check", "name": "same", "operation": "eq",
    "input": "{{sample.output_text}}", "reference": "{{item.label}}",
}  # fmt: skip
NEAR = {
    "type": "text_similarity", "name": "near", "evaluation_metric": "fuzzy_match", "pass_threshold": 0.5,
    "input": "{{sample.output_text}}", "reference": "{{item.label}}",
}  # fmt: skip
CUSTOM = {
    "type": "custom", "include_sample_schema": True,
    "item_schema": {"type": "object", "properties": {"label": {"type": "string"}}, "required": ["label"]},
}  # fmt: skip
ASKED = {"type": "template", "template": [
    {"role": "system", "content": "Name the queue."}, {"role": "user", "content": "{{item.text}}"},
]}  # fmt: skip


def saying(answer: Any) -> Any:
    """A provider that answers what ``answer`` makes of the last message."""

    async def behave(line: Line) -> None:
        content = answer(line.seen.body["messages"][-1]["content"])
        choice = {**COMPLETION["choices"][0], "message": {"role": "assistant", "content": content}}
        await line.answer(200, {**COMPLETION, "choices": [choice]})

    return behave


def policies(tmp: Path, upstream: Provider) -> Path:
    return write_policies(tmp / "policies", {"big": upstream.url}, LEARNS)


def stock(served: Gateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY, max_retries=0)


async def ended(client: openai.AsyncOpenAI, run: Any) -> Any:
    for _ in range(6000):
        run = await client.evals.runs.retrieve(run.id, eval_id=run.eval_id)
        if run.status not in ("queued", "in_progress"):
            return run
        await asyncio.sleep(0.05)
    raise AssertionError(f"the run is {run.status} still")


async def test_rows_of_a_file_are_asked_of_a_model_and_graded(tmp_path: Path) -> None:
    rows = [{"item": {"text": f"{word} please", "label": word}} for word in ("billing", "shipping", "refund")]
    async with provider() as big:
        big.behave = saying(lambda text: "billing" if "refund" in text else text.split()[0])
        async with gateway(tmp_path, policies(tmp_path, big)) as served, stock(served) as client:
            data = "\n".join(map(json.dumps, rows)).encode()
            file = await client.files.create(file=("rows.jsonl", data), purpose="evals")
            made = await client.evals.create(
                name="queues", data_source_config=CUSTOM, testing_criteria=[SAME, NEAR], metadata={"team": "desk"}
            )
            run = await client.evals.runs.create(made.id, name="first", data_source={
                "type": "completions", "model": "triage", "source": {"type": "file_id", "id": file.id},
                "input_messages": ASKED, "sampling_params": {"temperature": 0.0, "max_completion_tokens": 20},
            })  # fmt: skip
            assert (run.object, run.model, run.eval_id) == ("eval.run", "triage", made.id)
            run = await ended(client, run)
            assert run.status == "completed"
            found = run.result_counts
            assert (found.total, found.passed, found.failed, found.errored) == (3, 2, 1, 0)
            assert {one.testing_criteria: (one.passed, one.failed) for one in run.per_testing_criteria_results} == {
                "same": (2, 1), "near": (2, 1)
            }  # fmt: skip
            (usage,) = run.per_model_usage
            assert (usage.run_model_name, usage.invocation_count) == ("triage", 3)
            items = [one async for one in client.evals.runs.output_items.list(run.id, eval_id=made.id, limit=2)]
            assert [one.datasource_item["label"] for one in items] == ["billing", "shipping", "refund"]
            (failed,) = [
                one async for one in client.evals.runs.output_items.list(run.id, eval_id=made.id, status="fail")
            ]
            assert failed.sample.output[0].content == "billing"
            assert [(one.role, one.content) for one in failed.sample.input] == [
                ("system", "Name the queue."), ("user", "refund please")
            ]  # fmt: skip
            assert [(one.name, one.passed) for one in failed.results] == [("same", False), ("near", False)]
            again = await client.evals.runs.output_items.retrieve(failed.id, eval_id=made.id, run_id=run.id)
            assert again.id == failed.id
            calls = [one for one in served.records() if isinstance(one, CallRecord)]
            assert {(one.task, one.status) for one in calls} == {("triage", "ok")} and len(calls) == 3
            assert {(one.get("temperature"), one["max_completion_tokens"]) for one in (line.body for line in big.seen)} == {
                (0.0, 20)
            }  # fmt: skip


async def test_stored_completions_are_graded_as_they_are_or_asked_again(tmp_path: Path) -> None:
    matches = {**SAME, "reference": "{{item.output_text}}"}
    async with provider() as big:
        big.behave = saying(lambda text: "billing")
        async with gateway(tmp_path, policies(tmp_path, big)) as served, stock(served) as client:
            for number in range(4):
                tags = {"kind": "even" if number % 2 == 0 else "odd"}
                await client.chat.completions.create(
                    model="triage", messages=[{"role": "user", "content": f"bill {number}"}], store=True, metadata=tags
                )
            writer = SqlWriter(write_engine(served.home.database_url))
            Ingester(served.home, writer, threading.Event()).drain()
            writer.close()
            made = await client.evals.create(
                data_source_config={"type": "logs", "metadata": {"kind": "even"}}, testing_criteria=[matches]
            )
            stored: Any = {"type": "completions", "source": {"type": "stored_completions"}}
            asked = len(big.seen)
            run = await ended(client, await client.evals.runs.create(made.id, data_source=stored))
            assert (run.status, run.result_counts.total, run.result_counts.passed) == ("completed", 2, 2)
            assert len(big.seen) == asked
            big.behave = saying(lambda text: "shipping" if text == "bill 2" else "billing")
            run = await client.evals.runs.create(made.id, data_source=stored | {"model": "big/m"})
            run = await ended(client, run)
            assert (run.result_counts.passed, run.result_counts.failed) == (1, 1)
            assert len(big.seen) == asked + 2
            kept = [one async for one in client.evals.runs.list(made.id, order="desc")]
            assert kept[0].id == run.id and len(kept) == 2


async def test_stored_responses_are_graded_or_asked_again_with_what_they_continue(tmp_path: Path) -> None:
    matches = {**SAME, "reference": "{{item.output_text}}"}
    async with provider() as big:
        big.behave = saying(lambda text: "billing")
        async with gateway(tmp_path, policies(tmp_path, big)) as served, stock(served) as client:
            first = await client.responses.create(
                model="triage", input="bill 0", instructions="Name the queue.", metadata={"kind": "even"}, user="ann"
            )
            await client.responses.create(
                model="triage", input="bill 1", previous_response_id=first.id, metadata={"kind": "odd"}, temperature=0.5
            )
            gone = await client.responses.create(model="triage", input="bill 2", metadata={"kind": "odd"})
            await client.responses.delete(gone.id)
            await client.responses.create(model="triage", input="bill 3", store=False, metadata={"kind": "odd"})
            writer = SqlWriter(write_engine(served.home.database_url))
            Ingester(served.home, writer, threading.Event()).drain()
            writer.close()
            made = await client.evals.create(data_source_config={"type": "logs"}, testing_criteria=[matches])

            async def over(model: str = "", sampling: Any = None, **asked: Any) -> Any:
                source: Any = {"type": "responses", "source": {"type": "responses", **asked}}
                source |= {"model": model, "sampling_params": sampling or {}} if model else {}
                return await ended(client, await client.evals.runs.create(made.id, data_source=source))

            asked = len(big.seen)
            run = await over()
            assert (run.status, run.result_counts.total, run.result_counts.passed) == ("completed", 2, 2)
            for fits in ({"metadata": {"kind": "odd"}}, {"temperature": 0.5}, {"users": ["ann"]},
                         {"instructions_search": "queue"}):  # fmt: skip
                assert (await over(**fits)).result_counts.total == 1, fits
            assert (await over(created_before=5)).error.message == "There are no rows to evaluate."
            assert len(big.seen) == asked
            form = {"type": "json_schema", "name": "q", "schema": {"type": "object", "properties": {}}}
            again = await over("big/m", {"max_completion_tokens": 7, "text": {"format": form}}, temperature=0.5)
            assert again.result_counts.total == 1
            body = big.seen[-1].body
            assert [one["content"] for one in body["messages"]] == ["bill 0", "billing", "bill 1"]
            assert (body["max_completion_tokens"], body["response_format"]["json_schema"]["name"]) == (7, "q")


async def test_a_dataset_of_another_project_is_no_rows(tmp_path: Path) -> None:
    async with provider() as big, gateway(tmp_path, policies(tmp_path, big)) as served, stock(served) as client:
        made = await client.evals.create(data_source_config={"type": "logs"}, testing_criteria=[SAME])
        source: Any = {"type": "completions", "source": {"type": "file_id", "id": "triage@1"}}
        run = await ended(client, await client.evals.runs.create(made.id, data_source=source))
        assert run.status == "failed" and "no file 'triage@1'" in run.error.message


def test_what_is_deleted_is_not_written_again(tmp_path: Path) -> None:
    """By whoever was at work on it, or was about to change it."""
    store = EvalStore(Home(tmp_path))
    one = Eval("eval_" + "0" * 32, "mine", "key", 1.0, "", {"type": "logs"}, [], {})
    store.put_eval(one)
    run = EvalRun("evalrun_" + "1" * 32, one.id, "mine", "key", 2.0, "", "", {}, {})
    store.add_run(run)
    store.delete("mine", one.id, run.id)
    with pytest.raises(FileNotFoundError):
        store.put_run(run)
    assert store.runs("mine", one.id) == []
    store.delete("mine", one.id)
    for late in (lambda: store.change_eval(one), lambda: store.add_run(run)):
        with pytest.raises(KeyError):
            late()
    assert not [path for path in (tmp_path / "evals").rglob("*") if path.is_file()]


async def test_evals_are_changed_listed_and_deleted_within_their_project(tmp_path: Path) -> None:
    async with provider() as big, gateway(tmp_path, policies(tmp_path, big)) as served, stock(served) as client:
        made = [
            await client.evals.create(name=f"e{number}", data_source_config=CUSTOM, testing_criteria=[SAME])
            for number in range(3)
        ]
        assert [one.name async for one in client.evals.list(order="asc", limit=2)] == ["e0", "e1", "e2"]
        changed = await client.evals.update(made[0].id, name="new", metadata={"a": "b"})
        assert (changed.name, changed.metadata) == ("new", {"a": "b"})
        assert (await client.evals.retrieve(made[0].id)).data_source_config.type == "custom"
        graded = {"type": "jsonl", "source": {"type": "file_content", "content": [
            {"item": {"label": "a"}, "sample": {"output_text": "a"}},
            {"item": {"label": "a"}, "sample": {"choices": [{"message": {"content": "b"}}]}},
            {"item": {"label": "a"}},
        ]}}  # fmt: skip
        run = await ended(client, await client.evals.runs.create(made[0].id, data_source=graded))  # type: ignore[arg-type]
        counts = run.result_counts
        assert (counts.passed, counts.failed, counts.errored) == (1, 1, 1)
        assert big.seen == []
        deleted = await client.evals.runs.delete(run.id, eval_id=made[0].id)
        assert deleted.deleted and deleted.run_id == run.id
        assert (await client.evals.delete(made[0].id)).deleted
        for gone in (client.evals.retrieve(made[0].id), client.evals.runs.retrieve(run.id, eval_id=made[0].id)):
            with pytest.raises(openai.NotFoundError):
                await gone
        assert not list(served.home.evals.rglob("items.jsonl"))
        runs = [(await client.evals.runs.create(made[1].id, data_source=graded)).id for _ in range(3)]  # type: ignore[arg-type]
        seen = []
        async for run in client.evals.runs.list(made[1].id, limit=1, order="desc"):
            await client.evals.runs.delete(run.id, eval_id=made[1].id)
            seen.append(run.id)
        assert seen == runs[::-1]
        left = []
        async for one in client.evals.list(limit=1):
            await client.evals.delete(one.id)
            left.append(one.id)
        assert left == [made[1].id, made[2].id]
        with pytest.raises(openai.NotFoundError):
            await client.evals.list(after="eval_none")


@pytest.mark.parametrize(
    ("config", "criteria", "why"),
    [
        (CUSTOM, [{"type": "python", "name": "x", "source": "1"}], "executes no code"),
        (CUSTOM, [{**SAME, "input": "{{item.a|upper}}"}], "is no variable"),
        (CUSTOM, [SAME, SAME], "same name"),
        (CUSTOM, [{**NEAR, "pass_threshold": "high"}], "must be a number"),
        ({**CUSTOM, "item_schema": {"type": "nothing"}}, [SAME], "item_schema"),
        ({"type": "elsewhere"}, [SAME], "data_source_config"),
    ],
)
async def test_what_could_never_be_evaluated_is_refused(
    tmp_path: Path, config: dict[str, Any], criteria: list[dict[str, Any]], why: str
) -> None:
    async with provider() as big, gateway(tmp_path, policies(tmp_path, big)) as served, stock(served) as client:
        with pytest.raises(openai.BadRequestError, match=why):
            await client.evals.create(data_source_config=config, testing_criteria=criteria)  # type: ignore[arg-type]


async def test_a_run_that_cannot_begin_says_why_and_one_is_canceled(tmp_path: Path) -> None:
    async with provider() as big:
        held = asyncio.Event()

        async def slow(line: Line) -> None:
            await held.wait()
            await line.answer(200, COMPLETION)

        big.behave = slow
        async with gateway(tmp_path, policies(tmp_path, big)) as served, stock(served) as client:
            made = await client.evals.create(data_source_config=CUSTOM, testing_criteria=[SAME])
            content: Any = {"type": "file_content", "content": [{"item": {"label": 5}}]}
            for source, why in ((content, "item_schema"), ({"type": "file_id", "id": "file-x"}, "no file")):
                run = await client.evals.runs.create(made.id, data_source={"type": "jsonl", "source": source})
                run = await ended(client, run)
                assert run.status == "failed" and why in run.error.message
            rows: Any = [{"item": {"label": str(number), "text": "x"}} for number in range(20)]
            run = await client.evals.runs.create(made.id, data_source={
                "type": "completions", "model": "triage", "source": {"type": "file_content", "content": rows},
                "input_messages": ASKED,
            })  # fmt: skip
            while not big.seen:
                await asyncio.sleep(0.02)
            shown = await client.evals.runs.cancel(run.id, eval_id=made.id)
            assert shown.status == "canceled"  # type: ignore[attr-defined]
            held.set()
            assert (await ended(client, run)).status == "canceled"
            with pytest.raises(openai.ConflictError):
                while True:  # until whoever was at work has said so too
                    await client.evals.runs.cancel(run.id, eval_id=made.id)
            assert len(big.seen) < 20


async def test_what_was_done_before_a_gateway_died_is_not_asked_again(tmp_path: Path) -> None:
    rows: Any = [{"item": {"label": f"row {number}", "text": f"row {number}"}} for number in range(12)]
    async with provider() as big:

        heard: set[str] = set()

        async def stuck(line: Line) -> None:
            text = line.seen.body["messages"][-1]["content"]
            if text not in heard and len(heard) >= 6:  # by rows and not by requests: one may be asked twice
                await asyncio.sleep(600)
            heard.add(text)
            await saying(lambda text: text)(line)

        big.behave = stuck
        folder = policies(tmp_path, big)
        async with gateway(tmp_path, folder) as served, stock(served) as client:
            made = await client.evals.create(data_source_config=CUSTOM, testing_criteria=[SAME])
            run = await client.evals.runs.create(made.id, data_source={
                "type": "completions", "model": "triage", "source": {"type": "file_content", "content": rows},
                "input_messages": ASKED,
            })  # fmt: skip
            (lines,) = (served.home.evals_of("default") / made.id / run.id,)
            while len(done := list(lines_of(lines / "items.jsonl"))) < 6:
                await asyncio.sleep(0.02)
        with (lines / "items.jsonl").open("ab") as torn:
            torn.write(b'{"number": 11, "sta')
        before = {one.shown["datasource_item"]["label"] for one in done if isinstance(one, Item)}
        big.behave, asked = saying(lambda text: text), len(big.seen)
        async with gateway(tmp_path, folder) as served, stock(served) as client:
            run = await ended(client, run)
            assert (run.status, run.result_counts.passed, run.result_counts.total) == ("completed", 12, 12)
            later = {line.body["messages"][-1]["content"] for line in big.seen[asked:]}
            assert later == {f"row {number}" for number in range(12)} - before
            items = [one async for one in client.evals.runs.output_items.list(run.id, eval_id=made.id)]
            assert [one.datasource_item_id for one in items] == list(range(12))


async def test_a_run_shows_no_more_than_its_key_may_read(tmp_path: Path) -> None:
    async with provider() as big:
        folder = policies(tmp_path, big)
        async with gateway(tmp_path, folder) as served, stock(served) as client:
            file = await client.files.create(file=("r.jsonl", b'{"item": {"label": "a"}}'), purpose="evals")
            writer, key = open_writer(served.home), new_key("inference")
            try:
                command = CreateKey(Key(
                    id="key_t", name="t", project="default", digest=key.digest, hint=key.hint, scopes=("train",),
                    models=(), requests_per_minute=None, created_at=1.0, expires_at=None, revoked_at=None,
                ), "t")  # fmt: skip
                await asyncio.to_thread(writer.execute, command)
            finally:
                writer.close()
            async with openai.AsyncOpenAI(base_url=served.base_url, api_key=key.text, max_retries=0) as few:
                made = await until_known(few)
                stored: Any = {"type": "completions", "source": {"type": "stored_completions"}}
                from_file: Any = {"type": "jsonl", "source": {"type": "file_id", "id": file.id}}
                logs = await few.evals.create(data_source_config={"type": "logs"}, testing_criteria=[SAME])
                for name, source, scope in ((logs.id, stored, "inference"), (made.id, from_file, "data")):
                    with pytest.raises(openai.PermissionDeniedError, match=f"lacks the scope '{scope}'"):
                        await few.evals.runs.create(name, data_source=source)


async def until_known(client: openai.AsyncOpenAI) -> Any:
    """An eval, once the gateway has heard of the key."""
    for _ in range(2000):
        try:
            return await client.evals.create(data_source_config=CUSTOM, testing_criteria=[SAME])
        except openai.AuthenticationError:
            await asyncio.sleep(0.05)
    raise AssertionError("the gateway does not know the key")
