"""The writer's local protocol: a length (4 bytes, big-endian), then msgpack. Commands one way, replies the other."""

from __future__ import annotations

import socket
import struct
from typing import Any

import msgspec
from msgspec import Struct

from gateway.storage.commands import (
    AddDataset,
    AddForeign,
    AddStudent,
    CancelRun,
    ClaimRun,
    Command,
    CreateKey,
    EnqueueRun,
    FinishRun,
    HandleWish,
    MoveStudent,
    NoteDrift,
    PauseRun,
    PrioritiseRun,
    ReportRun,
    ResumeRun,
    RevokeKey,
    RotateKey,
)
from gateway.storage.data_values import (
    AddBatch,
    AddEvent,
    AddFile,
    Batch,
    CancelBatch,
    ClaimBatch,
    ClaimEvent,
    DeleteFile,
    Event,
    ReportBatch,
    SettleEvent,
    StoredFile,
    TrimFile,
)
from gateway.storage.erasure_values import EraseUser, Erasure, NoteErased
from gateway.storage.values import Dataset, Key, Run
from optimizer.rollout import Student

LONGEST = 16 * 1024 * 1024
_LENGTH = struct.Struct(">I")

RESULTS: dict[type[Any], Any] = {
    CreateKey: Key,
    RevokeKey: Key,
    RotateKey: Key,
    EnqueueRun: Run,
    ClaimRun: Run | None,
    ReportRun: Run,
    FinishRun: Run,
    CancelRun: Run,
    PauseRun: Run,
    ResumeRun: Run,
    PrioritiseRun: Run,
    AddDataset: Dataset,
    AddStudent: Student,
    MoveStudent: Student,
    HandleWish: None,
    NoteDrift: None,
    AddFile: StoredFile,
    DeleteFile: None,
    TrimFile: None,
    AddBatch: Batch,
    ClaimBatch: Batch | None,
    ReportBatch: Batch,
    CancelBatch: Batch | None,
    AddEvent: None,
    ClaimEvent: Event | None,
    SettleEvent: None,
    EraseUser: Erasure,
    NoteErased: None,
    AddForeign: int,
}


class Done(Struct, frozen=True, tag="ok"):
    value: msgspec.Raw


class NotDone(Struct, frozen=True, tag="refused"):
    """The command was understood and refused; ``reason`` is for a person."""

    reason: str


class NotNow(Struct, frozen=True, tag="away"):
    """The database behind the writer is away, or the writer is busy; try again."""

    reason: str


Reply = Done | NotDone | NotNow

encode = msgspec.msgpack.Encoder().encode
decode_command = msgspec.msgpack.Decoder(Command).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode


def send(connection: socket.socket, message: bytes) -> None:
    """Raises ValueError for a message nobody would accept, OSError when the peer is gone."""
    if len(message) > LONGEST:
        raise ValueError(f"The command is {len(message)} bytes long; at most {LONGEST} are allowed.")
    connection.sendall(_LENGTH.pack(len(message)) + message)


def receive(connection: socket.socket) -> bytes | None:
    """One message; None when the peer has closed. Raises ValueError for one that is too long, OSError when it
    breaks off or takes too long."""
    head = _exactly(connection, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > LONGEST:
        raise ValueError("message too long")
    body = _exactly(connection, length)
    if body is None:
        raise ConnectionError("the peer closed in the middle of a message")
    return body


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(min(count - len(data), 1 << 20))
        if not piece:
            if data:
                raise ConnectionError("the peer closed in the middle of a message")
            return None
        data += piece
    return bytes(data)
