"""``understudy discover``: which tasks untagged traffic holds, and what each would save, before anything is trained."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace

from gateway.commands.common import policies_of, prepared_home


def discover(options: Namespace) -> int:
    """Exit status 1 when the policies capture no untagged calls. A process of its own, for its libraries."""
    command = [sys.executable, "-m", "trainer.discovery.find", "--home", str(prepared_home().root)]
    command += ["--policies", str(policies_of(options)), *(["--json"] if options.json else [])]
    return subprocess.run(command, check=False).returncode
