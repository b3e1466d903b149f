"""Puts pip into the virtual environment that runs this, where Python came without it (Debian's and Ubuntu's do).

    .venv/bin/python deploy/pip_alone.py

The newest wheel of pip is fetched from the index that pip itself would ask (PIP_INDEX_URL, pip's configuration files,
PyPI; https://packaging.python.org/en/latest/specifications/simple-repository-api/), held against the digest that the
index tells, and installs itself: a wheel is an archive that Python can import from.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as Misconfigured
from html import unescape
from pathlib import Path
from urllib.parse import urljoin
from urllib.request import urlopen

PYPI = "https://pypi.org/simple/"
_LINK = re.compile(r"<a\s[^>]*?href=\"([^\"]+)\"([^>]*)>\s*pip-([0-9.]+)-py3-none-any\.whl\s*</a>", re.I)
_DIGEST = re.compile(r"#sha256=([0-9a-f]{64})")
_TIMEOUT_S = 60.0


def index_of(environment: Mapping[str, str], home: Path) -> str:
    """The address of the package index, with a slash at its end."""
    found = environment.get("PIP_INDEX_URL", "")
    own, everybodys = (home / ".config/pip", home / ".pip"), (Path("/etc/xdg/pip"), Path("/etc"))
    for path in (folder / "pip.conf" for folder in (*own, *everybodys)):
        told = ConfigParser(interpolation=None)
        try:
            told.read(path)
        except Misconfigured:
            continue
        found = found or told.get("global", "index-url", fallback="")
    return (found or PYPI).strip().rstrip("/") + "/"


def newest(page: str, at: str) -> tuple[str, str, str]:
    """(address, name, digest) of the newest wheel of pip in an index's ``page``, which stands at the address ``at``.
    Raises ValueError when there is none with a digest."""
    wheels = []
    for link, attributes, version in _LINK.findall(page):
        digest = _DIGEST.search(link)
        if digest is not None and "data-yanked" not in attributes:
            numbers = tuple(int(one) for one in version.strip(".").split("."))
            wheels.append((numbers, urljoin(at, unescape(link).partition("#")[0]), digest[1]))
    if not wheels:
        raise ValueError(f"{at} lists no wheel of pip with a sha256 digest.")
    numbers, url, digest_told = max(wheels)
    return url, f"pip-{'.'.join(map(str, numbers))}-py3-none-any.whl", digest_told


def _fetched(url: str) -> bytes:
    with urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - the operator's own index
        return bytes(answer.read())


def main() -> int:
    if sys.prefix == sys.base_prefix:
        sys.exit("pip_alone.py puts pip into the virtual environment that runs it, and this is none.")
    try:
        page = index_of(os.environ, Path.home()) + "pip/"
        url, name, digest = newest(_fetched(page).decode("utf-8", "replace"), page)
        wheel = _fetched(url)
    except (OSError, ValueError) as problem:
        sys.exit(f"pip could not be fetched: {problem}")
    if hashlib.sha256(wheel).hexdigest() != digest:
        sys.exit(f"{url} is not what the index says it is; nothing was installed.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(wheel)
        command = [sys.executable, f"{path}/pip", "install", "--quiet", "--no-deps", "--no-index", str(path)]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
