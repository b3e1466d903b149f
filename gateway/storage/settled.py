"""Files that outlive a power cut: the bytes first, then the name, then the folder that holds it. A leaf.

A rename is seen at once by everybody, and is on the disk only when the folder was fsynced, too (Pillai et al., "All
File Systems Are Not Created Equal", OSDI 2014). All of it blocks, and raises OSError.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

_CANNOT = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM})


def sync_folder(folder: Path) -> None:
    """Makes the names in ``folder`` outlive a power cut; where its file system cannot do that for folders (some of
    networks), or we may write into a folder and not read it, they are as safe as they are made there."""
    try:
        _sync(folder, os.O_DIRECTORY)
    except OSError as problem:
        if problem.errno not in _CANNOT:
            raise


def sync_file(path: Path) -> None:
    """Makes the bytes of ``path`` outlive a power cut, whoever wrote them; its name is the folder's."""
    _sync(path, 0)


def _sync(path: Path, kind: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | kind)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def settle(draft: Path, target: Path) -> None:
    """Gives a file or a folder, whose bytes are on the disk, its name in place of what had it."""
    draft.rename(target)
    sync_folder(target.parent)


def write_whole(path: Path, data: bytes, *, mode: int = 0o600, folders: bool = True) -> None:
    """Writes a file so that a reader, and a crash, find all of it or what was there before. Without ``folders`` a
    folder that is gone is not made again: FileNotFoundError."""
    if folders:
        make_folders([path.parent])
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
        settle(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """However many writes that takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def make_folders(folders: Iterable[Path]) -> None:
    """Makes what is missing of ``folders``, with those above, for their owner alone."""
    for folder in folders:
        missing = [one for one in (folder, *folder.parents) if not one.is_dir()]
        for one in reversed(missing):
            one.mkdir(mode=0o700, exist_ok=True)
        for parent in {one.parent for one in missing}:
            sync_folder(parent)
