"""Importing a file and erasing a person from the page, in a real Chromium, against a running gateway."""

from __future__ import annotations

from pathlib import Path

import openai
from chromium import async_api, in_chromium, launching
from gateway_server import ADMIN, KEY, gateway, write_policies
from scripted import provider

from gateway.storage.reading.reader import open_reader

pytestmark = in_chromium
LEARNS = """    teacher: {provider: big, model: m, may_train_on_outputs: true}
    learn: {min_calls: 1000}
"""
HOSTILE = '<img src=x onerror="window.hurt=1">'


async def test_a_file_is_imported_and_a_person_erased_from_the_page(tmp_path: Path) -> None:
    async with provider() as upstream:
        folder = write_policies(tmp_path / "policies", {"big": upstream.url}, LEARNS)
        async with gateway(tmp_path, folder) as served, async_api.async_playwright() as playwright:
            async with openai.AsyncOpenAI(base_url=served.base_url, api_key=KEY) as client:
                table = f"question,queue\nwhere is my parcel,shipping\n{HOSTILE},other\nbroken\n".encode()
                file = await client.files.create(file=("rows.csv", table), purpose="fine-tune")
            browser = await playwright.chromium.launch(**launching())
            page = await browser.new_page()
            faults: list[str] = []
            page.on("pageerror", lambda problem: faults.append(str(problem)))
            page.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
            page.set_default_timeout(30_000)
            await page.goto(f"{served.url}/admin")
            await page.get_by_label("Admin key").fill(ADMIN)
            await page.keyboard.press("Enter")
            form = page.locator("#import")
            await form.get_by_label("Task").fill("nobody")
            await form.get_by_label("File", exact=True).fill(file.id)
            await form.get_by_role("button", name="Try without importing").click()
            await async_api.expect(form.get_by_role("alert")).to_contain_text("nobody", timeout=30_000)
            await form.get_by_label("Task").fill("triage")
            await form.get_by_role("button", name="Try without importing").click()
            await async_api.expect(form.get_by_role("status")).to_contain_text("2 of 3 rows would be new", timeout=30_000)
            await async_api.expect(form.get_by_role("status")).to_contain_text(HOSTILE)
            await async_api.expect(form.get_by_role("status")).to_contain_text("Line 4")
            await form.get_by_role("button", name="Import", exact=True).click()
            await async_api.expect(form.get_by_role("status")).to_contain_text("2 of 3 rows are new", timeout=30_000)

            erase = page.locator("#erase")
            await erase.get_by_label("End user").fill("anna@example.com")
            await erase.get_by_role("button", name="Erase…").click()
            await page.get_by_label("Reason, for the journal").fill("request of 3 May")
            await page.get_by_role("button", name="Erase", exact=True).click()
            await async_api.expect(page.locator("#toasts")).to_contain_text("Erased: 0 calls", timeout=30_000)
            await erase.get_by_text("Who was erased").click()
            await async_api.expect(page.locator("#erasure-list")).to_contain_text("request of 3 May", timeout=30_000)
            assert "anna@example.com" not in await page.content()
            assert await page.evaluate("window.hurt") is None
            assert faults == []
            await browser.close()
            reader = open_reader(served.home)
            try:
                assert [one.reason for one in reader.erasures()] == ["request of 3 May"]
                assert [one.action for one in reader.journal(kind="admin")].count("person erased") == 1
            finally:
                reader.close()
