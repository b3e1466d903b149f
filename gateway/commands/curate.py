"""``understudy curate``: what a task's lesson would be made of, step by step, before anything is learnt from it."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace

from gateway.commands.common import policies_of, prepared_home


def preview(options: Namespace) -> int:
    """Exit status 1 when the task does not learn or has no calls. A process of its own, for the libraries it needs."""
    command = [sys.executable, "-m", "trainer.preview", options.task, "--home", str(prepared_home().root)]
    command += ["--policies", str(policies_of(options)), *(["--json"] if options.json else [])]
    return subprocess.run(command, check=False).returncode
