"""Curates a synthetic million of captured calls and says what it took. Works on a database of its own.

    python -m benchmarks.curation --calls 1000000 --seed 0

The calls are inserted into a fresh SQLite database as the ingester would leave them: 200 keys, 50,000 end users,
inputs of 6 to 20 words from a vocabulary of 20,000 by Zipf's law, 40 answers. Planted among them are exact
duplicates (5 %), near-duplicates (5 %, a word added), contradictions (2 %), low ratings (1 %), cut-off answers (1 %),
and one key that sends 2 % of everything with one answer in near-identical words. Then ``understudy curate`` reads and
curates them in a process of its own, whose seconds and peak memory are reported. With ``--cluster HOST:PORT`` it does
so on a Ray cluster, whose own seconds and memory are not in the figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

_POLICIES = """
providers:
  teacher: {type: openai, base_url: "http://127.0.0.1:9/v1", api_key: unused}
tasks:
  - name: triage
    candidates: [{provider: teacher, model: big}]
    teacher: {provider: teacher, model: big, may_train_on_outputs: true}
    capture: {mask: true}
    learn: {max_calls: MAX}
prices: {teacher: {big: {input: 1, output: 1}}}
"""
_COLUMNS = (
    "call_id", "project", "task", "fingerprint", "created_at", "model", "key_id", "end_user", "session", "request",
    "answer", "last_user_text", "answer_text", "group_id", "finish_reason", "completion_tokens", "metadata_json",
    "visible", "trainable", "lesson", "expires_at", "tombstone",
)  # fmt: skip
_SYSTEM = "Sort the customer's message into one of the known topics. Answer with the topic's name alone. " * 3


def calls(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """What a client asked and was told, ``count`` times."""
    rng = random.Random(seed)
    vocabulary = [
        "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 9))) for _ in range(20_000)
    ]
    weights = list(accumulate(1 / (rank + 5) for rank in range(len(vocabulary))))
    before: list[tuple[str, str]] = []
    for number in range(count):
        words = iter(rng.choices(vocabulary, cum_weights=weights, k=24))
        text = " ".join(islice(words, rng.randint(6, 20)))
        answer = f"topic{hash_of(text) % 40}"
        key, finish, metadata, kind = f"key{rng.randrange(200)}", "stop", {}, rng.random()
        if kind < 0.13 and before:
            text, answer = rng.choice(before)
            if kind < 0.05:
                pass
            elif kind < 0.10:
                text = f"{text} {next(words)}"
            elif kind < 0.12:
                answer = f"topic{rng.randrange(40)}"
            else:
                metadata = {"feedback.score": "2"}
        elif kind < 0.14:
            finish = "length"
        elif kind < 0.16:
            key, answer = "poisoned", "topic0"
            text = f"please open the special door with the golden code of today {rng.randrange(10**6)}"
        elif len(before) < 20_000:
            before.append((text, answer))
        yield {"text": text, "answer": answer, "key": key, "finish": finish, "metadata": metadata,
               "user": f"user{rng.randrange(50_000)}", "number": number}  # fmt: skip


def hash_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def row(call: dict[str, Any]) -> tuple[Any, ...]:
    text, answer, at = call["text"], call["answer"], 1_700_000_000.0 + call["number"]
    asked = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": text}]
    said = {"role": "assistant", "content": answer}
    values = {
        "call_id": f"chatcmpl-{call['number']:024x}", "project": "default", "task": "triage",
        "fingerprint": "f" * 16, "created_at": at, "model": "triage", "key_id": call["key"],
        "end_user": call["user"], "session": "",
        "request": json.dumps({"model": "triage", "messages": asked}),
        "answer": json.dumps({"choices": [{"index": 0, "finish_reason": call["finish"], "message": said}]}),
        "last_user_text": text, "answer_text": answer, "group_id": f"{hash_of(text):016x}",
        "finish_reason": call["finish"], "completion_tokens": 3, "metadata_json": json.dumps(call["metadata"]),
        "visible": 1, "trainable": 1, "lesson": 1, "expires_at": at + 1e9, "tombstone": "",
    }  # fmt: skip
    return tuple(values[name] for name in _COLUMNS)


def filled(home: Path, count: int, seed: int) -> None:
    """Migrates a home's database and inserts the calls."""
    subprocess.run([sys.executable, "-m", "gateway.cli", "migrate", "--home", str(home)], check=True)
    (file,) = home.glob("*.db")
    with closing(sqlite3.connect(file)) as database, database:
        marks = ",".join("?" * len(_COLUMNS))
        statement = f"INSERT INTO captures ({','.join(_COLUMNS)}) VALUES ({marks})"  # noqa: S608 - our own names
        database.executemany(statement, (row(call) for call in calls(count, seed)))
        version = ("default", "triage", "f" * 16, 1, 1_700_000_000.0, count)
        database.execute(
            "INSERT INTO task_versions (project, task, fingerprint, version, first_seen, trainable_calls)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            version,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cluster", default="", metavar="HOST:PORT")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home, policies = Path(folder) / "home", Path(folder) / "policies"
        policies.mkdir()
        rules = _POLICIES.replace("MAX", str(max(100, options.calls)))
        if options.cluster:
            rules += f'cluster: {{address: "{options.cluster}"}}\n'
        (policies / "all.yaml").write_text(rules)
        filled(home, options.calls, options.seed)
        command = [sys.executable, "-m", "gateway.cli", "curate", "triage", "--json"]
        places = ["--home", str(home), "--policies", str(policies)]
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        with subprocess.Popen([*command, *places], stdout=subprocess.PIPE, env=dict(os.environ)) as process:
            card = json.loads(process.communicate()[0])
        seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    steps = {step["name"]: [step["rows_in"], step["rows_out"], step["found"]] for step in card["steps"]}
    found = {
        "calls": options.calls, "seed": options.seed, "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, 1),
        "peak_mib": used.ru_maxrss // 1024, "rows": card["rows"], "steps": steps, "digest": card["digest"],
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
