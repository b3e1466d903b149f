"""What is installed in a container is what was looked at: exact versions, hashed, complete, and nothing runs by
itself."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "deploy" / "locks"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _script() -> Any:
    spec = spec_from_file_location("understudy_sbom", ROOT / "deploy" / "sbom.py")
    assert spec is not None and spec.loader is not None
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


SBOM = _script()
TEXT = (LOCKS / "runtime.txt").read_text()
RUNTIME = {canonicalize_name(one["name"]): one for one in SBOM.pinned(TEXT)}


@pytest.mark.parametrize("name", ["runtime", "build", "extras"])
def test_every_package_has_its_version_and_its_hashes_and_no_address(name: str) -> None:
    text = (LOCKS / f"{name}.txt").read_text()
    assert SBOM.pinned(text)
    assert "://" not in text and "index" not in text.split("\n", 3)[-1]


def test_a_line_without_a_hash_or_a_version_is_refused() -> None:
    for text in ("requests==2.0\n", "requests\n", "requests>=2 \\\n    --hash=sha256:" + "0" * 64, "-r other.txt\n"):
        with pytest.raises(ValueError, match=r"requests|neither"):
            SBOM.pinned(text)


def test_the_lock_holds_what_the_product_asks_for() -> None:
    for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["postgres"]):
        wanted = Requirement(text)
        one = RUNTIME.get(canonicalize_name(wanted.name))
        assert one is not None, f"{text} is not in the lock: make lock"
        assert wanted.specifier.contains(one["version"]), f"{text} is not met by the lock: make lock"


def test_the_lock_of_the_extras_holds_them_all_but_torch_and_agrees_with_the_other() -> None:
    """torch has a build for each accelerator, which brings a driver's libraries along."""
    locked = SBOM.pinned((LOCKS / "extras.txt").read_text())
    found = {canonicalize_name(one["name"]) for one in locked}
    assert not {name for name in found if name.startswith(("torch", "nvidia", "cuda", "triton"))}
    extras = PROJECT["optional-dependencies"]
    for text in {text for name in extras.keys() - {"dev", "browser"} for text in extras[name]}:
        wanted = Requirement(text)
        versions = [one["version"] for one in locked if canonicalize_name(one["name"]) == canonicalize_name(wanted.name)]
        assert wanted.name == "torch" or any(map(wanted.specifier.contains, versions)), f"{text}: make lock"
    here = {(canonicalize_name(one["name"]), one["version"]) for one in locked}
    assert {(canonicalize_name(one["name"]), one["version"]) for one in SBOM.pinned(TEXT)} <= here


def test_nothing_comes_along_that_is_not_in_the_lock() -> None:
    """Through what is installed here: a package that a newer version brings along must be looked at and locked."""
    waiting = [Requirement(text) for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["postgres"])]
    seen, missing = set(), set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *wanted.extras):
            if (name, extra) in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
                continue
            seen.add((name, extra))
            if name not in RUNTIME:
                missing.add(name)
            for text in _brought_along(name):
                inner = Requirement(text)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    inner.marker = None
                    waiting.append(inner)
    assert len(seen) > 30 and not missing


def _brought_along(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # an extra that is not installed here; where CI runs all are
        return []


def test_no_package_of_the_lock_runs_something_at_every_start_of_python() -> None:
    """A ``.pth`` file is how a stolen package ran in every process; none of ours needs one."""
    found = []
    for name in RUNTIME:
        try:
            files = metadata.files(name) or ()
        except metadata.PackageNotFoundError:
            continue  # for another system than this
        found += [f"{name}: {path}" for path in files if path.name.endswith(".pth")]
    assert not found


def test_the_container_installs_from_the_lock_alone() -> None:
    installs = re.findall(r"pip install[^\n]*(?:\\\n[^\n]*)*", (ROOT / "Containerfile").read_text())
    assert installs
    for one in installs:
        assert "--require-hashes" in one or ("--no-deps" in one and "--no-build-isolation" in one), one


def test_the_list_of_components_is_whole_and_always_the_same() -> None:
    made = SBOM.sbom(TEXT)
    assert made == SBOM.sbom(TEXT) and (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made["serialNumber"])
    assert {one["name"] for one in made["components"]} == {one["name"] for one in RUNTIME.values()}
    references = [one["bom-ref"] for one in made["components"]]
    assert len(references) == len(set(references))
    for one in made["components"]:
        assert one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}" and one["hashes"]
    assert made["metadata"]["component"]["version"] == PROJECT["version"]
    assert made["serialNumber"] != SBOM.sbom(TEXT.replace("aiohttp==", "aiohttp==9"))["serialNumber"]
