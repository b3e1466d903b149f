"""Runs one supervised process: ``python -I -S child.py PARENT NICE COMMAND...``.

The process asks the kernel to be killed when the supervisor dies, however that happens, makes itself as nice
as it was told, and becomes the command. Being killed is safe: what was answered is in the spool already. It
is run as a file, before site packages are looked for, so that it costs next to nothing, and imports nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; the setting survives execve


def main(arguments: list[str]) -> None:
    """Never returns: becomes the command, or exits with 1 when the parent is gone already."""
    parent, nice, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(1)
    if nice:
        os.nice(nice)
    os.execvp(command[0], command)  # noqa: S606 - the supervisor's own command line, no shell


if __name__ == "__main__":
    main(sys.argv[1:])
