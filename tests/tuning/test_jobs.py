"""Fine-tuning through the stock client: from a file to a model that answers by name, and everything beside."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from gateway_server import Gateway
from tuning_parts import OTHER, tickets, until

sys.path.append(str(Path(__file__).resolve().parents[1] / "trainer"))
from lesson_home import captured, store_records

ENDED = ("succeeded", "failed", "cancelled")


async def uploaded(client: openai.AsyncOpenAI, data: bytes, purpose: str = "fine-tune") -> str:
    made = await client.files.create(file=("rows.jsonl", data), purpose=purpose)  # type: ignore[arg-type]
    return made.id


async def ended(client: openai.AsyncOpenAI, job: str):
    return await until(lambda: client.fine_tuning.jobs.retrieve(job), lambda found: found.status in ENDED)


async def test_from_a_file_to_a_model_that_answers_by_its_name(client, served, processes, jsonl) -> None:
    training = await uploaded(client, jsonl(tickets(300)))
    validation = await uploaded(client, jsonl(tickets(60, seed=9)))
    with processes("trainer.worker", "trainer.engines.classifier"):
        job = await client.fine_tuning.jobs.create(
            model="classifier", training_file=training, validation_file=validation, suffix="desk", seed=7,
            metadata={"team": "ops"},
        )  # fmt: skip
        assert job.id.startswith("ftjob-")
        assert (job.status, job.seed, job.fine_tuned_model) == ("queued", 7, None)
        job = await ended(client, job.id)
        assert (job.status, job.error) == ("succeeded", None)
        assert job.fine_tuned_model is not None
        assert job.fine_tuned_model.startswith("ft:classifier:default:desk:")
        assert job.trained_tokens
        assert job.finished_at
        # the model answers
        answer = await client.chat.completions.with_raw_response.create(
            model=job.fine_tuned_model,
            messages=[{"role": "user", "content": "zzz: the invoice fails since 5"}],
        )
        assert answer.headers["x-understudy-certified"] == "false"
        assert answer.parse().choices[0].message.content == "billing"
        stream = await client.chat.completions.create(
            model=job.fine_tuned_model,
            stream=True,
            messages=[{"role": "user", "content": "q: the wifi fails"}],
        )
        assert (
            "".join([part.choices[0].delta.content or "" async for part in stream if part.choices])
            == "network"
        )
        with pytest.raises(openai.BadRequestError, match="answers one question"):
            await client.chat.completions.create(
                model=job.fine_tuned_model, n=2, messages=[{"role": "user", "content": "x"}]
            )
        # what is told of it
        results = (await client.files.content(job.result_files[0])).text
        assert "valid_agreement," in results
        assert (await client.files.retrieve(job.result_files[0])).purpose == "fine-tune-results"
        events = await client.fine_tuning.jobs.list_events(job.id)
        assert "fine-tuned model created" in events.data[0].message
        assert "Validating" in events.data[-1].message
        checkpoint = (await client.fine_tuning.jobs.checkpoints.list(job.id)).data[0]
        assert checkpoint.fine_tuned_model_checkpoint == job.fine_tuned_model
        assert checkpoint.metrics.model_extra is not None
        assert checkpoint.metrics.model_extra["valid_agreement"] > 0.9
        # it is its project's alone
        assert job.fine_tuned_model in [one.id async for one in client.models.list()]
        async with openai.AsyncOpenAI(base_url=served.base_url, api_key=OTHER, max_retries=0) as stranger:
            assert job.fine_tuned_model not in [one.id async for one in stranger.models.list()]
            for attempt in (
                stranger.chat.completions.create(
                    model=job.fine_tuned_model, messages=[{"role": "user", "content": "x"}]
                ),
                stranger.models.delete(job.fine_tuned_model),
                stranger.fine_tuning.jobs.retrieve(job.id),
            ):
                with pytest.raises(openai.NotFoundError):
                    await attempt
        # and can be deleted
        assert (await client.models.delete(job.fine_tuned_model)).deleted
        assert job.fine_tuned_model not in [one.id async for one in client.models.list()]
        assert not (served.home.artifacts / job.fine_tuned_model).exists()
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(
                model=job.fine_tuned_model, messages=[{"role": "user", "content": "x"}]
            )


async def test_a_file_that_cannot_be_used_fails_its_job_with_the_line(client, processes, jsonl) -> None:
    good = jsonl(tickets(40))
    two_turns = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 2}
    broken = {
        "line 41: it is not valid JSON": good + b"{nonsense\n",
        "line 41: it must be one user message": good + json.dumps(two_turns).encode() + b"\n",
        "the file has 3 rows": jsonl(tickets(3)),
    }
    with processes("trainer.worker"):
        for message, data in broken.items():
            job = await client.fine_tuning.jobs.create(
                model="auto", training_file=await uploaded(client, data)
            )
            job = await ended(client, job.id)
            assert (job.status, job.fine_tuned_model) == ("failed", None)
            assert job.error is not None
            assert (job.error.code, job.error.param) == ("invalid_training_file", "training_file")
            assert message in job.error.message


async def test_jobs_wait_rest_go_on_and_end(
    client: openai.AsyncOpenAI, served: Gateway, processes, jsonl
) -> None:
    training = await uploaded(client, jsonl(tickets(120)))
    jobs = [
        await client.fine_tuning.jobs.create(
            model="classifier", training_file=training, metadata={"n": str(n)}
        )
        for n in range(3)
    ]
    assert (await client.fine_tuning.jobs.pause(jobs[0].id)).status == "paused"
    assert (await client.fine_tuning.jobs.cancel(jobs[1].id)).status == "cancelled"
    with pytest.raises(openai.ConflictError, match="cancelled already"):
        await client.fine_tuning.jobs.cancel(jobs[1].id)
    with pytest.raises(openai.ConflictError, match="cannot be resumed"):
        await client.fine_tuning.jobs.resume(jobs[1].id)
    listed = [one.id async for one in client.fine_tuning.jobs.list(limit=2)]
    assert listed == [job.id for job in reversed(jobs)]
    found = await client.fine_tuning.jobs.list(metadata={"n": "1"})
    assert [one.id for one in found.data] == [jobs[1].id]
    with processes("trainer.worker"):
        assert (await ended(client, jobs[2].id)).status == "succeeded"
        assert (await client.fine_tuning.jobs.retrieve(jobs[0].id)).status == "paused"
        await client.fine_tuning.jobs.resume(jobs[0].id)
        assert (await ended(client, jobs[0].id)).status == "succeeded"
    messages = [one.message async for one in client.fine_tuning.jobs.list_events(jobs[0].id, limit=2)]
    assert "It was paused." in messages
    assert "It was resumed." in messages


_WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"model": "gpt-4o"}, "cannot be fine-tuned here"),
    ({"model": "/etc"}, "cannot be fine-tuned here"),
    ({"training_file": "file-" + "0" * 32}, "must name a file"),
    ({"training_file": "../../etc/passwd"}, "must name a file"),
    ({"training_file": "dataset:private"}, "may_train_on_outputs"),
    ({"training_file": "dataset:triage"}, "no dataset"),
    ({"suffix": "x" * 65}, "1 to 64"),
    ({"seed": -1}, "whole number"),
    ({"method": {"type": "reinforcement"}}, "'supervised' or 'dpo'"),
    ({"method": {"type": "dpo"}}, "cannot learn from preferences"),
    ({"hyperparameters": {"n_epochs": 3}}, "takes no hyperparameters"),
    ({"hyperparameters": {"n_epochs": 0}}, "'auto' or a whole number"),
    ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "third parties"),
    ({"extra_body": {"grader": 1}}, "Unknown parameter"),
)


async def test_an_order_that_cannot_be_carried_out_says_what_to_mend(client, jsonl) -> None:
    usual = {"model": "classifier", "training_file": await uploaded(client, jsonl(tickets(20)))}
    for wrong, message in _WRONG:
        with pytest.raises(openai.BadRequestError, match=message):
            await client.fine_tuning.jobs.create(**usual | wrong)


async def test_only_files_uploaded_for_it_are_learnt_from(client, jsonl) -> None:
    file = await uploaded(client, jsonl(tickets(20)), purpose="batch")
    with pytest.raises(openai.BadRequestError, match="Upload it with 'fine-tune'"):
        await client.fine_tuning.jobs.create(model="auto", training_file=file)


async def test_captured_calls_are_a_training_file(client, served, processes) -> None:
    calls = [captured(number, *pair, at=1000.0) for number, pair in enumerate(tickets(300))]
    store_records(served.home, [msgspec.structs.replace(call, project="default") for call in calls])
    with processes("trainer.worker"):
        first = await client.fine_tuning.jobs.create(model="auto", training_file="dataset:triage")
        first = await ended(client, first.id)
        assert first.status == "succeeded", first.error
        again = await client.fine_tuning.jobs.create(model="auto", training_file="triage@1", seed=first.seed)
        again = await ended(client, again.id)
        assert again.status == "succeeded", again.error
    metrics = [
        (await client.fine_tuning.jobs.checkpoints.list(job.id)).data[0].metrics for job in (first, again)
    ]
    assert metrics[0] == metrics[1]
    assert metrics[0].model_extra is not None
    assert metrics[0].model_extra["valid_agreement"] > 0.9, "its holdout is what it is judged on"
    rows = (await client.files.content("triage@1")).text.splitlines()
    assert len(rows) > 100
    user, assistant = json.loads(rows[0])["messages"]
    assert (user["content"], assistant["content"]) in tickets(300)
    with pytest.raises(openai.NotFoundError):
        await client.files.content("triage@9")
    async with openai.AsyncOpenAI(base_url=served.base_url, api_key=OTHER, max_retries=0) as stranger:
        with pytest.raises(openai.NotFoundError):
            await stranger.files.content("triage@1")
        for source in ("dataset:triage", "triage@1"):
            with pytest.raises(openai.BadRequestError, match="no dataset"):
                await stranger.fine_tuning.jobs.create(model="auto", training_file=source)
