"""What a lesson would be made of, without learning: ``python -m trainer.preview TASK --home DIR --policies DIR``.

Reads and curates a task's captured calls as a run would, prints the dataset's card and keeps nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec

from gateway.policy import files as policy_files
from gateway.policy.withheld import stood_in
from gateway.protocol.visible import visible
from gateway.storage.home import Home
from gateway.storage.reading.reader import open_reader
from gateway.storage.values import TaskVersion
from trainer.cluster import spread
from trainer.cluster.joined import ClusterAway, cluster_of
from trainer.datasets.card import readable
from trainer.datasets.curate import Chain
from trainer.datasets.forms import form_of
from trainer.datasets.versions import assemble
from trainer.job import Fruitless, learning_task


def main() -> None:
    parser = argparse.ArgumentParser(prog="trainer.preview", description="Curates without learning.")
    parser.add_argument("task")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--policies", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        card, digest = _card(options.task, Home(options.home.resolve()), options.policies)
    except (Fruitless, ClusterAway) as problem:
        sys.exit(f"understudy: {problem}.")
    except policy_files.PolicyError as problem:
        sys.exit(visible(str(problem)))
    if options.json:
        sys.stdout.buffer.write(msgspec.json.encode(card | {"digest": digest}) + b"\n")
    else:
        sys.stdout.write(visible(readable(card, digest)))


def _card(name: str, home: Home, policies: Path) -> tuple[dict[str, object], str]:
    """(the card, the digest) of the task's version with the most calls. Raises Fruitless."""
    config = policy_files.read(policies, stood_in(os.environ)).config  # its warnings are for `check`
    task, learn = learning_task(config, name)
    reader = open_reader(home, bulk=True)
    known = [version for version in reader.task_versions() if version.task == name]
    if not known:
        raise Fruitless(f"nothing was captured for the task {name!r} yet")
    most: TaskVersion = max(known, key=lambda version: version.trainable_calls)
    scope = (most.project, name, most.fingerprint)
    calls = reader.training_calls(
        *scope, limit=learn.max_calls, tick=lambda count: _tell(f"{count:,} calls read")
    )
    form = form_of(reader.training_request(*scope))
    version = assemble(
        calls, project=most.project, task=name, fingerprint=most.fingerprint, run="(none: a preview)",
        masked=task.capture.mask if task.capture else False, crossfit=learn.calibration == "crossfit",
        corrections=reader.corrections(*scope) if learn.corrections else None,
        chain=Chain(
            learn.curation, form, lambda done, what: _tell(f"{done:4.0%} {what}"),
            spread.where(cluster_of(config)),
        ),
    )  # fmt: skip
    return version.card, version.digest


def _tell(progress: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{progress}")
        sys.stderr.flush()


if __name__ == "__main__":
    main()
