"""Commands about files, each inside an open write transaction."""

from __future__ import annotations

import time

import msgspec
import sqlalchemy as sa

from gateway.storage.commands import Refused
from gateway.storage.data_values import AddFile, DeleteFile, StoredFile, TrimFile
from gateway.storage.rows import storable
from gateway.storage.tables.data import FILES
from gateway.storage.writing.journal import append_journal


def add_file(connection: sa.Connection, command: AddFile) -> StoredFile:
    file = command.file
    known = connection.execute(sa.select(FILES).where(FILES.c.id == file.id)).mappings().first()
    if known is not None:
        return StoredFile(**known)
    used = connection.execute(
        sa.select(sa.func.coalesce(sa.func.sum(FILES.c.bytes), 0)).where(FILES.c.project == file.project)
    ).scalar_one()
    if used + file.bytes > command.quota:
        raise Refused(
            f"The project's files may take {command.quota} bytes; {used} are in use and this one has {file.bytes}. "
            "Delete files that are no longer needed."
        )
    connection.execute(sa.insert(FILES).values(**storable(msgspec.structs.asdict(file))))
    return file


def delete_file(connection: sa.Connection, command: DeleteFile) -> None:
    connection.execute(
        sa.delete(FILES).where(FILES.c.project == command.project, FILES.c.id == command.file_id)
    )


def trim_file(connection: sa.Connection, command: TrimFile) -> None:
    mine = (FILES.c.project == command.project, FILES.c.id == command.file_id)
    connection.execute(sa.update(FILES).where(*mine).values(bytes=command.bytes))
    append_journal(
        connection, "admin", at=time.time(), actor="trainer", subject=command.file_id, action="lines erased",
        detail={"project": command.project, "lines": command.lines},
    )  # fmt: skip
