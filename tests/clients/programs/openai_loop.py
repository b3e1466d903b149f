"""The whole loop through the openai client for Python, whichever version is on the path, told as one JSON object.

Arguments: base url, key, the folder of a language model, a webhook as it came (JSON: body, headers, secret).
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import openai

ENDED = ("succeeded", "failed", "cancelled")
QUEUES = {"printer": "hardware", "wifi": "network", "invoice": "billing", "password": "access"}


def ticket(number: int) -> tuple[str, str]:
    thing = list(QUEUES)[number % 4]
    return f"case {number * 7919 % 1000}: the {thing} fails since {number}", QUEUES[thing]


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[Any]:
    return [{"role": "assistant", "content": text}]


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def stored(client: openai.OpenAI) -> dict[str, Any]:
    """Captured calls: found, labelled, read, deleted."""
    made = [
        client.chat.completions.create(
            model="triage", store=True, metadata={"n": str(number % 2)}, messages=user(ticket(number)[0])
        )
        for number in range(6)
    ]
    page = client.chat.completions.list(model="triage", metadata={"n": "1"}, limit=2, order="asc")
    odd = [one.id for one in page]
    labelled = client.chat.completions.update(made[1].id, metadata={"n": "1", "feedback.score": "0.2"})
    asked = [one.content for one in client.chat.completions.messages.list(made[2].id)]
    again = client.chat.completions.retrieve(made[1].id)
    gone = client.chat.completions.delete(made[0].id)
    left = [one.id for one in client.chat.completions.list(model="triage")]
    return {
        "odd": odd == [made[at].id for at in (1, 3, 5)],
        "label": [labelled.metadata, again.metadata],
        "asked": asked == [ticket(2)[0]],
        "deleted": [gone.deleted, made[0].id in left, len(left)],
    }


def files(client: openai.OpenAI) -> tuple[str, str, dict[str, Any]]:
    rows = [{"messages": user(text) + assistant(answer)} for text, answer in map(ticket, range(160))]
    pairs = [
        {"input": {"messages": user(text)}, "preferred_output": assistant(answer),
         "non_preferred_output": assistant("nothing")}
        for text, answer in map(ticket, range(20))
    ]  # fmt: skip
    training = client.files.create(file=("rows.jsonl", lines(rows)), purpose="fine-tune")
    preferences = client.files.create(file=("pairs.jsonl", lines(pairs)), purpose="fine-tune")
    client.files.wait_for_processing(training.id)
    told = {
        "listed": {training.id, preferences.id} <= {one.id for one in client.files.list(purpose="fine-tune")},
        "same": client.files.content(training.id).read() == lines(rows),
        "status": client.files.retrieve(training.id).status,
    }
    return training.id, preferences.id, told


def ended(client: openai.OpenAI, job: str) -> Any:
    while (found := client.fine_tuning.jobs.retrieve(job)).status not in ENDED:
        time.sleep(0.1)
    return found


def jobs(client: openai.OpenAI, training: str, preferences: str, base: str) -> dict[str, Any]:
    create, told = client.fine_tuning.jobs.create, {}
    plain = create(
        model="classifier", training_file=training, suffix="desk", seed=3, metadata={"team": "ops"}
    )
    client.fine_tuning.jobs.pause(plain.id)
    auto = create(
        model="auto", training_file="dataset:tickets",
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}},
    )  # fmt: skip
    dpo = create(
        model=base, training_file=preferences,
        method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 2}}},
    )  # fmt: skip
    client.fine_tuning.jobs.pause(dpo.id)
    old = create(model="tiny", training_file=training, hyperparameters={"n_epochs": 2, "batch_size": "auto"})
    assert old.hyperparameters.n_epochs == 2
    told["cancelled"] = [client.fine_tuning.jobs.cancel(one.id).status for one in (dpo, old)]
    assert (
        dpo.method is not None and dpo.method.dpo is not None and dpo.method.dpo.hyperparameters is not None
    )
    told["dpo"] = [dpo.model == base, dpo.method.type, dpo.method.dpo.hyperparameters.beta]
    told["by_metadata"] = [one.id for one in client.fine_tuning.jobs.list(metadata={"team": "ops"})] == [
        plain.id
    ]
    told["all"] = len(list(client.fine_tuning.jobs.list(limit=1)))
    told["resumed"] = client.fine_tuning.jobs.resume(plain.id).status in (
        "queued",
        "running",
        "validating_files",
    )
    found = [ended(client, one.id) for one in (auto, plain)]
    told["status"] = [one.status for one in found]
    told["error"] = [one.error.message if one.error else None for one in found]
    events = list(client.fine_tuning.jobs.list_events(plain.id, limit=3))
    told["events"] = sorted({one.message for one in events} & {"It was paused.", "It was resumed."})
    point = client.fine_tuning.jobs.checkpoints.list(plain.id).data[0]
    told["checkpoint"] = point.fine_tuned_model_checkpoint == found[1].fine_tuned_model
    told["metrics"] = client.files.content(found[0].result_files[0]).text.startswith("metric,value")
    told["served"] = [served(client, one.fine_tuned_model) for one in found]
    told["dataset"] = len(client.files.content("tickets@1").text.splitlines()) > 50
    told["model_deleted"] = client.models.delete(found[1].fine_tuned_model).deleted
    return told


def graders(client: openai.OpenAI) -> list[Any]:
    alpha = client.fine_tuning.alpha.graders
    same: Any = {
        "type": "string_check", "name": "same", "operation": "eq",
        "input": "{{sample.output_json.queue}}", "reference": "{{item.queue}}",
    }  # fmt: skip
    near: Any = {
        "type": "text_similarity", "name": "near", "evaluation_metric": "fuzzy_match",
        "input": "{{sample.output_json.why}}", "reference": "{{item.why}}",
    }  # fmt: skip
    both: Any = {"same": same, "near": near}
    multi: Any = {"type": "multi", "name": "all", "graders": both, "calculate_output": "(same + near) / 2"}
    valid: Any = alpha.validate(grader=multi).grader
    sample = json.dumps({"queue": "billing", "why": "an invoice"})
    found = alpha.run(grader=multi, model_sample=sample, item={"queue": "billing", "why": "an invoice"})
    junk = alpha.run(grader=same, model_sample="no json", item={"queue": "billing"})
    try:
        alpha.validate(grader={"type": "python", "name": "p", "source": "print(1)"})
    except openai.BadRequestError as problem:
        refused = problem.param
    return [
        valid.type,
        found.reward,
        found.sub_rewards,
        junk.reward,
        junk.metadata.errors.sample_parse_error,
        refused,
    ]


def evals(client: openai.OpenAI) -> dict[str, Any]:
    """What is held out of a captured dataset, and rows of the request asked in the words of the Responses API."""
    as_taught: Any = {
        "type": "string_check", "name": "as taught", "operation": "eq",
        "input": "{{sample.output_text}}", "reference": "{{item.output_text}}",
    }  # fmt: skip
    made = client.evals.create(name="held out", data_source_config={"type": "logs"}, testing_criteria=[as_taught])
    named = client.evals.update(made.id, name="kept out").name
    source: Any = {"type": "completions", "source": {"type": "file_id", "id": "tickets@1"}}
    taught = run_ended(client, client.evals.runs.create(made.id, data_source=source))
    rows = [{"item": {"text": ticket(number)[0], "output_text": "nobody says this"}} for number in range(3)]
    asked: Any = {
        "type": "responses", "model": "triage", "source": {"type": "file_content", "content": rows},
        "input_messages": {"type": "template", "template": [{"role": "user", "content": "{{item.text}}"}]},
        "sampling_params": {"max_completion_tokens": 9, "text": {"format": {"type": "text"}}},
    }  # fmt: skip
    wrong = run_ended(client, client.evals.runs.create(made.id, data_source=asked))
    items = list(client.evals.runs.output_items.list(wrong.id, eval_id=made.id, limit=2))
    one = client.evals.runs.output_items.retrieve(items[0].id, eval_id=made.id, run_id=wrong.id)
    told = {
        "named": [named, made.id in [each.id for each in client.evals.list()]],
        "taught": [taught.status, taught.result_counts.total > 5, taught.result_counts.failed],
        "asked": [wrong.status, wrong.result_counts.failed, wrong.per_model_usage[0].invocation_count],
        "items": [len(items), one.status, one.results[0].passed if hasattr(one.results[0], "passed") else one.results[0]["passed"]],
        "runs": len(list(client.evals.runs.list(made.id))),
    }
    told["gone"] = [client.evals.runs.delete(wrong.id, eval_id=made.id).deleted, client.evals.delete(made.id).deleted]
    return told


def run_ended(client: openai.OpenAI, run: Any) -> Any:
    while run.status in ("queued", "in_progress"):
        time.sleep(0.05)
        run = client.evals.runs.retrieve(run.id, eval_id=run.eval_id)
    return run


def served(client: openai.OpenAI, model: str) -> str | None:
    answer = client.chat.completions.create(model=model, messages=user("case 4: the invoice fails since 9"))
    return answer.choices[0].message.content


def webhook(client: openai.OpenAI, told: dict[str, Any]) -> list[str]:
    event: Any = client.webhooks.unwrap(told["body"].encode(), told["headers"], secret=told["secret"])
    return [event.type, event.data.id]


def main() -> None:
    url, key, base, hook = sys.argv[1:]
    with openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60) as client:
        training, preferences, about_files = files(client)
        told = {
            "version": openai.__version__,
            "stored": stored(client),
            "files": about_files,
            "graders": graders(client),
            "jobs": jobs(client, training, preferences, base),
            "evals": evals(client),
            "webhook": webhook(client, json.loads(hook)),
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
