"""An uploaded file taken into a task over the admin API."""

from __future__ import annotations

from pathlib import Path

import httpx
import openai
from gateway_server import ADMIN, KEY, gateway, write_policies
from scripted import provider

LEARNS = """    teacher: {provider: big, model: m, may_train_on_outputs: true}
    learn: {min_calls: 1000}
"""


async def test_an_uploaded_table_is_imported_over_the_admin_api(tmp_path: Path) -> None:
    async with provider() as upstream:
        folder = write_policies(tmp_path / "policies", {"big": upstream.url}, LEARNS)
        async with gateway(tmp_path, folder) as served, httpx.AsyncClient(base_url=served.url) as http:
            async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY) as client:
                table = b"question,queue\nwhere is my parcel,shipping\nwho are you,other\nbroken\n"
                file = await client.files.create(file=("rows.csv", table), purpose="fine-tune")
            login = await http.post("/admin/login", json={"key": ADMIN})
            http.headers["x-csrf-token"] = login.json()["csrf"]
            body = {"project": "default", "task": "triage", "file_id": file.id}
            dry = (await http.post("/admin/api/imports", json={**body, "dry_run": True})).json()
            done = (await http.post("/admin/api/imports", json=body)).json()
            again = (await http.post("/admin/api/imports", json=body)).json()
            wrong = [
                await http.post("/admin/api/imports", json={**body, **change})
                for change in ({"file_id": "file-x"}, {"task": "nobody"}, {"input": "nothing"}, {"project": "other"})
            ]
    assert [one["new"] for one in (dry, done, again)] == [2, 2, 0]
    assert done["columns"] == {"input": "question", "answer": "queue"}
    assert done["problems"] == [{"line": 4, "message": "it has 1 cells where the table has 2 columns"}]
    assert [one.status_code for one in wrong] == [404, 400, 400, 404]
