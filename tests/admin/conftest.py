"""``desk``: nobody is logged in; ``inside``: the admin is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from admin_desk import BASE, Desk
from admin_fakes import FakeClock, FakeControl, app_of, configuration, plausible
from litestar.testing import TestClient


@pytest.fixture
def desk() -> Iterator[Desk]:
    control, clock = FakeControl(plausible(), configuration()), FakeClock()
    with TestClient(app_of(control, clock), base_url=BASE) as client:
        yield Desk(client, control, clock)


@pytest.fixture
def inside(desk: Desk) -> Desk:
    assert desk.login().status_code == 200
    return desk
