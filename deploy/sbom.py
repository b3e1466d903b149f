"""A CycloneDX 1.6 list of what is in a release, from a lock: ``python deploy/sbom.py deploy/locks/runtime.txt``.

The same lock gives the same bytes: there is no clock in it, and its serial number is made of its contents
(https://cyclonedx.org/docs/1.6/json/). A component's hashes are those of all its files, one of which is installed.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_PINNED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+))?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def pinned(lock: str) -> list[dict[str, Any]]:
    """The packages of a lock: name, version, marker ("" for everywhere) and hashes. Raises ValueError for a line that
    is no package with an exact version and at least one SHA-256."""
    found: list[dict[str, Any]] = []
    lines = [line.strip() for line in lock.splitlines()]
    for line in (one for one in lines if one and not one.startswith("#")):
        package, hashes = _PINNED.match(line), _HASH.findall(line)
        if package is not None:
            marker = (package["marker"] or "").strip()
            one = {"name": package["name"].lower(), "version": package["version"], "marker": marker, "hashes": []}
            found.append(one)
        elif not hashes or not found:
            raise ValueError(f"this is neither a pinned package nor a hash: {line[:80]}")
        found[-1]["hashes"] += hashes
    for one in found:
        if not one["hashes"]:
            raise ValueError(f"{one['name']} has no hash")
    return found


def sbom(lock: str) -> dict[str, Any]:
    """The document as JSON. Raises ValueError for a lock that is none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = f"pkg:pypi/{project['name']}@{project['version']}"
    components = [_component(one) for one in sorted(pinned(lock), key=lambda one: (one["name"], one["version"]))]
    whole = hashlib.sha256(f"{own}\n{lock}".encode()).hexdigest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(whole[:32], version=5)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application", "bom-ref": own, "name": project["name"], "version": project["version"],
                "purl": own,
                "licenses": [{"license": {"id": project["license"]}}],
            },
        },
        "components": components,
    }  # fmt: skip


def _component(one: dict[str, Any]) -> dict[str, Any]:
    purl = f"pkg:pypi/{one['name']}@{one['version']}"
    made = {
        "type": "library", "bom-ref": purl, "name": one["name"], "version": one["version"], "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": content} for content in sorted(set(one["hashes"]))],
    }  # fmt: skip
    if one["marker"]:
        made["properties"] = [{"name": "understudy:marker", "value": one["marker"]}]
    return made


if __name__ == "__main__":
    json.dump(sbom(Path(sys.argv[1]).read_text(encoding="utf-8")), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
