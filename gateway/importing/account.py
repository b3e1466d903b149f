"""What an account at OpenAI, or at anything that speaks its API, holds of earlier answers: stored completions, files
for fine-tuning, outputs of batches, and the training files of jobs. Read with the stock client; a run that was broken
off goes on where it was.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai

from gateway.importing.load import Loader, load_file
from gateway.importing.report import Report
from gateway.importing.shapes import BadRow, Sample, sample_of
from gateway.importing.tables import NotReadable
from gateway.texts.masking import mask

_PAGE = 100


class AccountRefused(Exception):
    """The account could not be read on; the text says why, for a person."""


class Account:
    """``notes``: a folder in which each kind of import remembers how far it has come."""

    def __init__(self, base_url: str, key: str, loader: Loader, notes: Path, *, dry: bool) -> None:
        self._client = openai.OpenAI(base_url=base_url, api_key=key)
        self._loader, self._dry = loader, dry
        self._notes = notes
        self._account = f"{self._client.base_url}\0{hashlib.sha256(key.encode()).hexdigest()}\0{loader.scope}"
        self._batches: dict[str, str] | None = None

    def close(self) -> None:
        self._client.close()

    def stored_completions(self, model: str | None, metadata: dict[str, str]) -> Report:
        """Page by page, oldest first. Raises AccountRefused, Refused, WriterAway."""
        report = Report("import:openai:completions")
        note = self._note(f"completions\0{model}\0{sorted(metadata.items())}")
        after = note.read_text("utf-8") if note.exists() else None
        query: dict[str, Any] = {"limit": _PAGE, "order": "asc"}
        query |= {"model": model} if model else {}
        query |= {"metadata": metadata} if metadata else {}
        while True:
            more: dict[str, Any] = {"after": after} if after else {}
            try:
                page = self._client.chat.completions.list(**query, **more)
                found = [(one.id, self._asked(one)) for one in page.data]
            except openai.OpenAIError as problem:
                raise AccountRefused(_why(problem)) from None
            if not found:
                return report
            self._loader.take(self._samples(found, report), report)
            after = found[-1][0]
            self._remember(note, after)
            if not page.has_more:
                return report

    def _asked(self, completion: Any) -> dict[str, Any]:
        """A stored completion as a row: its messages beside what was answered."""
        messages = []
        for message in self._client.chat.completions.messages.list(completion.id, limit=_PAGE):
            turn = message.model_dump(exclude_none=True, exclude={"id", "content_parts"})
            if message.content is None and message.content_parts:
                turn["content"] = [part.model_dump(exclude_none=True) for part in message.content_parts]
            messages.append(turn)
        row: dict[str, Any] = completion.model_dump(exclude_none=True)
        return row | {"messages": messages}

    def _samples(self, found: list[tuple[str, dict[str, Any]]], report: Report) -> Iterator[tuple[int, Sample]]:
        for _, row in found:
            report.read += 1
            try:
                sample = sample_of(row, None, {})
            except BadRow as problem:
                report.wrong(report.read, str(problem))
                continue
            if sample is not None:
                yield report.read, sample

    def files(self) -> list[Report]:
        """Files for fine-tuning, and outputs of batches with their inputs. Raises as ``jobs``."""
        reports = []
        for purpose in ("fine-tune", "batch_output"):
            try:
                found = [(one.id, one.filename) for one in self._client.files.list(purpose=purpose)]
            except openai.OpenAIError as problem:
                raise AccountRefused(_why(problem)) from None
            reports += [self._file(file_id, name) for file_id, name in found]
        return [report for report in reports if report is not None]

    def jobs(self) -> list[Report]:
        """The training files of fine-tuning jobs, as far as they are still there. Raises AccountRefused
        and what a Loader raises."""
        try:
            found = [(job.id, job.training_file) for job in self._client.fine_tuning.jobs.list(limit=_PAGE)]
        except openai.OpenAIError as problem:
            raise AccountRefused(_why(problem)) from None
        reports = [self._file(file_id, f"training file of {job}", gone_is_fine=True) for job, file_id in found]
        return [report for report in reports if report is not None]

    def _file(self, file_id: str, name: str, *, gone_is_fine: bool = False) -> Report | None:
        """None for a file that was taken in before, or is gone. One that holds no answers is told of."""
        note = self._note(f"file\0{file_id}")
        if note.exists():
            return None
        with tempfile.TemporaryDirectory() as folder:
            asked = self._inputs().get(file_id)
            try:
                path = self._fetched(file_id, Path(folder))
                requests = self._fetched(asked, Path(folder)) if asked else None
            except openai.NotFoundError:
                if gone_is_fine:
                    return None
                raise AccountRefused(f"the file {file_id} is gone") from None
            except openai.OpenAIError as problem:
                raise AccountRefused(_why(problem)) from None
            try:
                report = load_file(path, self._loader, name=f"import:openai:{file_id}", requests=requests)
            except NotReadable as problem:
                report = Report(f"import:openai:{file_id}")
                report.wrong(0, f"{name}: {problem}")
        self._remember(note, str(report.new))
        return report

    def _inputs(self) -> dict[str, str]:
        """By output file: the input file of its batch."""
        if self._batches is None:
            batches = self._client.batches.list(limit=_PAGE)
            self._batches = {one.output_file_id: one.input_file_id for one in batches if one.output_file_id}
        return self._batches

    def _fetched(self, file_id: str, folder: Path) -> Path:
        path = folder / hashlib.sha256(file_id.encode()).hexdigest()
        with self._client.files.with_streaming_response.content(file_id) as answer:
            answer.stream_to_file(path)
        return path

    # ------------------------------------------------------------ how far it has come
    def _note(self, kind: str) -> Path:
        return self._notes / hashlib.sha256(f"{self._account}\0{kind}".encode()).hexdigest()[:32]

    def _remember(self, note: Path, text: str) -> None:
        if self._dry:
            return
        self._notes.mkdir(mode=0o700, exist_ok=True)
        draft = note.with_suffix(".draft")
        draft.write_text(text, "utf-8")
        draft.rename(note)


def _why(problem: openai.OpenAIError) -> str:
    """In the account's words, without what it may have said about the key."""
    if isinstance(problem, openai.APIStatusError):
        body = problem.body
        message = body.get("message") if isinstance(body, dict) else None
        code = problem.status_code
        if code in (401, 403):
            return f"the account does not accept the key (status {code})"
        said = f": {mask(message).text}" if isinstance(message, str) else ""
        return f"the account answered with status {code}{said}"
    return f"the account cannot be reached ({type(problem).__name__})"

