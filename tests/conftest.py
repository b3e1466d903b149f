"""What every test may rely on."""

from __future__ import annotations

from collections.abc import Iterator

import certifi
import pytest


@pytest.fixture(scope="session", autouse=True)
def little_trust(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One certificate authority instead of some hundred and forty. Nothing here leaves the machine, and every client of
    HTTP that is made reads them all: that was half of what many a test took."""
    folder = tmp_path_factory.mktemp("trust")
    first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
    (folder / "one.pem").write_text(first + end)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(folder / "one.pem"))
        patch.setenv("SSL_CERT_DIR", str(folder))
        yield
