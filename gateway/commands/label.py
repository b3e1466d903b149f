"""``understudy label``: people say which of two answers is better, so that the judge can be held against them."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from gateway.commands.common import fail, prepared_home, say, told
from gateway.protocol.counted import counted
from gateway.storage import labels
from gateway.storage.protocols import Reader
from gateway.storage.reading.reader import open_reader
from gateway.storage.values import Pair, StoredCompletion
from optimizer.rollout import Student
from optimizer.stats.ppi import powered

_FEWEST = 2


def label(options: Namespace) -> int:
    """Draws pairs for a person to judge, or takes in what a person said of them."""
    home = prepared_home()
    reader = open_reader(home, bulk=True)
    try:
        student = next((one for one in reader.students() if one.id == options.student), None)
        if student is None:
            return fail(f"There is no student '{options.student}'.")
        pairs = reader.pairs(student=student.id)
        if options.draw is not None:
            return _draw(reader, student, pairs, home.labels, options.draw, options.file)
        return _take(student, pairs, home.labels, options.file)
    except SQLAlchemyError as error:
        return fail(told(error))
    except OSError as error:
        return fail(f"{options.file}: {error.strerror}.")
    finally:
        reader.close()


def _draw(reader: Reader, student: Student, pairs: list[Pair], folder: Path, count: int, file: Path) -> int:
    chosen = labels.drawn(pairs, labels.read(folder, student.id), count)
    if not chosen:
        return fail("No judged pair is left to label: configure promotion.judge, and wait for calls.")
    sheets = [
        labels.sheet(pair, _request(reader.completion(student.project, pair.call_id))) for pair in chosen
    ]
    file.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in sheets))
    say(
        f"{counted(len(sheets), 'pair is', 'pairs are')} in {file}, drawn at random. "
        "Set 'better' to 1, 2 or 0 (neither) in each line, then:"
    )
    say(f"  understudy label {student.id} {file}")
    return 0


def _take(student: Student, pairs: list[Pair], folder: Path, file: Path) -> int:
    judged = {
        pair.call_id: pair.scores["judge"] for pair in pairs if pair.answered and "judge" in pair.scores
    }
    found: dict[str, float] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        try:
            filled = msgspec.json.decode(line, type=labels.Sheet)
            if filled.better is None:
                continue
            if filled.call not in judged:
                raise ValueError(f"no judged pair of {student.id} belongs to '{filled.call[:80]}'")
            found[filled.call] = labels.human_of(filled)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as problem:
            return fail(f"{file}:{number}: {problem}. Nothing was taken in.")
    labels.add(folder, student.id, found)
    known = labels.read(folder, student.id)
    say(f"{counted(len(found), 'label was', 'labels were')} taken in; there are {len(known)}.")
    _report(judged, known)
    return 0


def _report(judged: dict[str, float], known: dict[str, float]) -> None:
    both = [(human, judged[call]) for call, human in known.items() if call in judged]
    if len(both) < _FEWEST:
        return
    same = sum(human == said for human, said in both)
    found = powered([said for call, said in judged.items() if call not in known], both, 0.05)
    say(f"The judge says what people say on {same} of {len(both)}.")
    say(
        f"People prefer the student's answer {found.mean:.1%} of the time (95 % interval {found.low:.1%} to "
        f"{found.high:.1%}, prediction-powered from {found.verdicts} verdicts); 50 % means as good as its teacher."
    )


def _request(stored: StoredCompletion | None) -> str:
    """The turns of the request as text; "" once it was erased."""
    turns: list[Any] = stored.request.get("messages") or [] if stored is not None else []
    return "\n\n".join(
        f"{turn.get('role')}: {turn.get('content')}" for turn in turns if isinstance(turn, dict)
    )
