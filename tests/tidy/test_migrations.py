"""Two people who each add a migration must not leave two heads: every start would fail."""

from __future__ import annotations

import re
from pathlib import Path

VERSIONS = Path(__file__).resolve().parents[2] / "gateway" / "storage" / "migrations" / "versions"


def test_migrations_form_one_chain() -> None:
    texts = [path.read_text() for path in VERSIONS.glob("*.py")]
    known = [re.search(r'^revision = "(.+)"', text, re.MULTILINE) for text in texts]
    before = [re.search(r'^down_revision = "(.+)"', text, re.MULTILINE) for text in texts]
    revisions = {one.group(1) for one in known if one}
    parents = [one.group(1) for one in before if one]
    assert len(revisions) == len(texts) == len(parents) + 1
    assert len(set(parents)) == len(parents), "two migrations stand behind the same one"
    assert set(parents) < revisions
