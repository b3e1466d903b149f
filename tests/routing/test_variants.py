"""One model with several sets of decoding parameters: an experiment like one between models."""

from __future__ import annotations

from pathlib import Path

import httpx
from gateway_server import KEY, gateway, write_policies
from scripted import provider

from gateway.storage.records import CallRecord

EXTRA = """\
    policy: taste
    defaults: {temperature: 0.5}
policies:
  - name: taste
    strategy: {type: weighted, weights: {a/m@cool: 1, a/m@warm: 1, a/m: 0}}
    candidates:
      - {provider: a, model: m, variant: cool, parameters: {temperature: 0.0, max_completion_tokens: 9}}
      - {provider: a, model: m, variant: warm, parameters: {temperature: 1.5}}
      - {provider: a, model: m}
"""


async def test_each_variant_is_asked_with_its_own_parameters(tmp_path: Path) -> None:
    async with provider() as a:
        folder = write_policies(tmp_path / "policies", {"a": a.url})
        (folder / "routing.yaml").write_text("tasks:\n  - name: triage\n    capture: {rate: 1.0}\n" + EXTRA)
        async with gateway(tmp_path, folder) as served, httpx.AsyncClient(base_url=served.url) as http:

            async def ask(**more: object) -> httpx.Response:
                body = {"model": "triage", "messages": [{"role": "user", "content": "hello"}], **more}
                return await http.post(
                    "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"}
                )

            named = [(await ask()).headers["x-understudy-candidate"] for _ in range(24)]
            told = {"a/m@cool": (0.0, 9), "a/m@warm": (1.5, None)}
            assert set(named) == set(told)  # 1 in 8 million that one is never drawn
            for name, asked in zip(named, a.seen, strict=True):
                body = asked.body
                assert (body["temperature"], body.get("max_completion_tokens")) == told[name]
                assert body["model"] == "m"
            await ask(temperature=0.7, max_tokens=3)
            last = a.seen[-1].body
            assert (last["temperature"], last["max_tokens"]) == (0.7, 3)  # the client's own word stays
            assert "max_completion_tokens" not in last
        calls = [one for one in served.records() if isinstance(one, CallRecord)]
        assert [one.drawn for one in calls[:24]] == named
        assert all(one.propensity == 0.5 for one in calls)
        assert {one.attempts[0].variant for one in calls} == {"cool", "warm"}
