"""A logged-in or logged-out client of the admin API, with its control and its clock."""

from __future__ import annotations

from typing import Any

from admin_fakes import KEY, FakeClock, FakeControl
from litestar.testing import TestClient

BASE = "http://127.0.0.1"


class Desk:
    """A client, its control and its clock."""

    def __init__(self, client: TestClient[Any], control: FakeControl, clock: FakeClock) -> None:
        self.client, self.control, self.clock = client, control, clock
        self.csrf = ""

    def login(self, key: str = KEY) -> Any:
        answer = self.client.post("/admin/login", json={"key": key})
        if answer.status_code == 200:
            self.csrf = answer.json()["csrf"]
        return answer

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(f"/admin/api/{path}", headers=headers)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.client.post(
            f"/admin/api/{path}", json=body, headers={"x-csrf-token": self.csrf, **headers}
        )
