"""Several keys of one provider: who is taken, who rests, what a client, a log and a metric are told."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from gateway_server import ADMIN, KEY, Gateway, gateway, write_policies
from rough import ask
from scripted import COMPLETION, Line, Provider, usual

from gateway.errors import RateLimited
from gateway.policy.files import PolicyError, read
from gateway.providers import OpenAIProvider
from gateway.providers.codec import AttemptFailed, Codec, NobodyAsked, failed
from gateway.providers.credentials import ProviderKey
from gateway.providers.keyed import keyed_codecs
from gateway.providers.limit_headers import seconds_of, used_up_for
from gateway.resilience.provider_keys import KeyState, Lease, ProviderKeys, choose, free_in, rest_after
from gateway.runtime import Runtime
from gateway.upstreams.upstream import Upstream
from optimizer.routing.attempts import Failure

ONE, TWO, THREE = (f"sk-provider-key-number-{name}" for name in ("one-1111", "two-2222", "three-3333"))
HEADERS = {"authorization": f"Bearer {KEY}"}


class Running:
    """A gateway whose provider ``first`` has three keys, a client of it, and what each key was used for."""

    def __init__(self, served: Gateway, client: httpx.AsyncClient, first: Provider) -> None:
        self.served, self.client, self._first = served, client, first

    def used(self) -> list[str]:
        return [seen.headers["authorization"].removeprefix("Bearer ") for seen in self._first.seen]


def three(tmp: Path, urls: dict[str, str], keys: str = "", extra: str = "") -> Path:
    folder = write_policies(tmp / "policies", urls, extra)
    main = folder / "gateway.yaml"
    written = keys or f"api_key: {ONE}, api_keys: [{TWO}, {{key: {THREE}, weight: 1}}]"
    main.write_text(main.read_text().replace("api_key: sk-upstream-secret", written, 1))
    return folder


@pytest.fixture
async def running(tmp_path: Path, first: Provider) -> Any:
    async with (
        gateway(tmp_path, three(tmp_path, {"first": first.url})) as served,
        httpx.AsyncClient(base_url=served.url, headers=HEADERS, timeout=60) as client,
    ):
        yield Running(served, client, first)


def refusing(*keys: str, status: int, error: dict[str, Any] | None = None, **headers: str) -> Any:
    async def behave(line: Line) -> None:
        if line.seen.headers["authorization"].removeprefix("Bearer ") in keys:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            await line.answer(status, {"error": error or {"message": "no"}}, sent)
        else:
            await usual(line)

    return behave


async def test_calls_are_spread_over_the_keys(running: Running) -> None:
    for _ in range(9):
        assert (await ask(running.client)).status_code == 200
    assert sorted(running.used()) == [ONE] * 3 + [THREE] * 3 + [TWO] * 3


async def test_the_least_loaded_key_is_taken(running: Running, first: Provider) -> None:
    go_on = asyncio.Event()

    async def slow(line: Line) -> None:
        await go_on.wait()
        await usual(line)

    first.behave = slow
    calls = [asyncio.create_task(ask(running.client, stream=stream)) for stream in (False, True) * 3]
    while len(first.seen) < 6:
        await asyncio.sleep(0.005)
    assert sorted(running.used()) == [ONE] * 2 + [THREE] * 2 + [TWO] * 2
    go_on.set()
    assert {one.status_code for one in await asyncio.gather(*calls)} == {200}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, {"message": "slow down", "code": "rate_limit_exceeded"}),
        (401, {"message": f"Incorrect API key provided: {ONE}"}),
        (403, {"message": "not yours"}),
        (429, {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_that_is_refused_or_limited_rests_and_the_call_goes_on(
    running: Running, first: Provider, status: int, error: dict[str, Any], stream: bool
) -> None:
    first.behave = refusing(ONE, status=status, error=error, retry_after="30")
    for _ in range(5):
        answer = await ask(running.client, stream=stream)
        assert answer.status_code == 200 and answer.headers["x-understudy-candidate"] == "first/m"
    assert running.used().count(ONE) == 1
    for record in running.served.records():
        assert [one.outcome for one in record.attempts] == ["ok"]  # type: ignore[attr-defined]


async def test_embeddings_and_images_go_on_with_the_next_key_too(running: Running, first: Provider) -> None:
    async def behave(line: Line) -> None:
        if line.seen.headers["authorization"].endswith(ONE):
            await line.answer(401, {"error": {"message": "no"}})
        else:
            await line.answer(body={"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}]})

    first.behave = behave
    for path, body in (("embeddings", {"input": "hi"}), ("images/generations", {"prompt": "a hat"})):
        answer = await running.client.post(f"/v1/{path}", json={"model": "first/m", **body})
        assert answer.status_code == 200
    assert running.used()[:2] == [ONE, TWO] and running.used()[2] in (TWO, THREE)


async def test_all_keys_limited_is_a_429_with_the_shortest_wait(running: Running, first: Provider) -> None:
    async def behave(line: Line) -> None:
        wait = {ONE: "40", TWO: "20", THREE: "30"}[line.seen.headers["authorization"].removeprefix("Bearer ")]
        await line.answer(429, {"error": {"message": f"org of {ONE}"}}, {"retry-after": wait})

    first.behave = behave
    for _ in range(2):
        answer = await ask(running.client)
        assert answer.status_code == 429 and 18 <= int(answer.headers["retry-after"]) <= 20
        assert "sk-provider" not in answer.text
    assert len(first.seen) == 3  # nobody is asked again before its time


async def test_all_keys_refused_is_the_operators_trouble(running: Running, first: Provider) -> None:
    first.behave = refusing(ONE, TWO, THREE, status=429, error={"message": "quota", "code": "insufficient_quota"})
    for _ in range(2):
        answer = await ask(running.client)
        assert answer.status_code == 502 and answer.json()["error"]["code"] == "provider_credentials"
        assert answer.headers["x-should-retry"] == "false"
    assert len(first.seen) == 3


async def test_a_bad_request_is_not_tried_with_another_key(running: Running, first: Provider) -> None:
    first.behave = refusing(ONE, TWO, THREE, status=400, error={"message": "bad", "param": "tools"})
    answer = await ask(running.client)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "tools"
    assert len(first.seen) == 1


async def test_with_no_key_left_the_next_candidate_answers(tmp_path: Path, first: Provider, spare: Provider) -> None:
    first.behave = refusing(ONE, TWO, THREE, status=401)
    urls = {"first": first.url, "spare": spare.url}
    async with (
        gateway(tmp_path, three(tmp_path, urls)) as served,
        httpx.AsyncClient(base_url=served.url, headers=HEADERS) as client,
    ):
        answers = [await ask(client) for _ in range(3)]
    assert [one.headers["x-understudy-candidate"] for one in answers] == ["spare/m"] * 3
    assert len(first.seen) == 3 and {seen.headers["authorization"] for seen in spare.seen} == {"Bearer sk-upstream-secret"}


async def test_headers_that_say_used_up_rest_a_key_before_it_fails(running: Running, first: Provider) -> None:
    async def behave(line: Line) -> None:
        spent = line.seen.headers["authorization"].endswith(ONE)
        headers = {"x-ratelimit-remaining-requests": "0" if spent else "9", "x-ratelimit-reset-requests": "6m0s"}
        await line.answer(200, COMPLETION, headers)

    first.behave = behave
    for _ in range(6):
        assert (await ask(running.client)).status_code == 200
    assert running.used().count(ONE) == 1


async def test_a_keys_own_limits_spill_over(tmp_path: Path, first: Provider) -> None:
    keys = (
        f"api_keys: [{{key: {ONE}, requests_per_minute: 2}}, {{key: {TWO}, tokens_per_minute: 1000}}, "
        f"{{key: {THREE}, requests_per_minute: 3}}]"
    )
    async with (
        gateway(tmp_path, three(tmp_path, {"first": first.url}, keys)) as served,
        httpx.AsyncClient(base_url=served.url, headers=HEADERS) as client,
    ):
        running = Running(served, client, first)
        codes = [(await ask(client, stream=bool(number % 2))).status_code for number in range(7)]
    used = running.used()
    assert (used.count(ONE), used.count(TWO), used.count(THREE)) == (2, 1, 3)  # a call costs 1,100 tokens
    assert codes[:6] == [200] * 6 and codes[6] == 429


async def test_keys_that_may_not_be_used_yet_say_nothing_of_their_providers_health(tmp_path: Path, first: Provider) -> None:
    """The gateway keeps to what its operator allows: nobody was asked, so nobody failed."""
    keys = f"api_keys: [{{key: {ONE}, requests_per_minute: 1}}, {{key: {TWO}, requests_per_minute: 1}}]"
    async with (
        gateway(tmp_path, three(tmp_path, {"first": first.url}, keys)) as served,
        httpx.AsyncClient(base_url=served.url, headers=HEADERS, timeout=60) as client,
    ):
        answers = [await ask(client) for _ in range(30)]
        metrics = (await client.get("/metrics")).text
    assert [one.status_code for one in answers] == [200] * 2 + [429] * 28
    assert {one.json()["error"]["code"] for one in answers[2:]} == {"rate_limit_exceeded"}
    assert len(first.seen) == 2
    assert 'understudy_provider_open_breakers{provider="first"} 0.0' in metrics


async def test_who_waits_for_a_key_finds_it_free() -> None:
    """Timers may be a millisecond early; a call that waited must not find that the key still rests."""
    settings = OpenAIProvider(api_keys=[ONE, TWO])
    runtime = cast("Runtime", SimpleNamespace(keyed={"first": keyed_codecs("first", settings)}))
    keys = ProviderKeys(cast("Upstream", None), clock=lambda: 100.0)

    async def limited(codec: Codec) -> None:
        raise failed("throttled", RateLimited("slow down", code="rate_limit_exceeded"), retry_after=3.0)

    told = []
    for _ in range(2):
        with pytest.raises(AttemptFailed) as refused:
            await keys.open(runtime, "first", limited)
        told.append(refused.value)
    assert [isinstance(one, NobodyAsked) for one in told] == [False, True]
    for one in told:
        assert one.failure.kind == "throttled" and one.failure.retry_after == pytest.approx(3.005)
        assert one.error.headers["retry-after"] == "3"


async def test_a_client_that_leaves_gives_its_key_back(running: Running, first: Provider) -> None:
    async def hang(line: Line) -> None:
        await line.hang()

    first.behave = hang
    for _ in range(3):
        count = len(first.seen)
        call = asyncio.create_task(ask(running.client))
        while len(first.seen) == count:
            await asyncio.sleep(0.005)
        call.cancel()
        await asyncio.wait_for(first.seen[-1].peer_left.wait(), 30)
    first.behave = usual
    for _ in range(3):
        assert (await ask(running.client, stream=True)).status_code == 200
    assert sorted(running.used()) == [ONE] * 2 + [THREE] * 2 + [TWO] * 2
    page = (await running.client.get("/metrics")).text
    assert all(f'understudy_provider_key_active{{key="{n}",provider="first"}} 0.0' in page for n in (1, 2, 3))


async def test_no_text_of_a_key_gets_out(
    running: Running, first: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    first.behave = refusing(ONE, TWO, status=401, error={"message": f"Incorrect API key provided: {ONE}"})
    with caplog.at_level(logging.DEBUG):
        answers = [await ask(running.client, stream=stream) for stream in (False, True)]
    page = (await running.client.get("/metrics", headers={"authorization": f"Bearer {ADMIN}"})).text
    assert 'understudy_provider_key_calls_total{key="1",outcome="credentials",provider="first"} 1.0' in page
    assert 'understudy_provider_key_resting{key="2",provider="first"} 1.0' in page
    assert 'understudy_provider_key_resting{key="3",provider="first"} 0.0' in page
    said = caplog.text + page + "".join(one.text + str(one.headers) for one in answers)
    assert "key 1 (…1111) rests for 60 s: the provider refused it" in caplog.text
    for key in (ONE, TWO, THREE):
        assert key not in said and key[:-4] not in said


async def test_rest_outlives_a_change_of_the_policies(running: Running, first: Provider) -> None:
    first.behave = refusing(ONE, status=401)
    await ask(running.client)
    routing = running.served.policies / "routing.yaml"
    routing.write_text(routing.read_text() + "  - name: more\n    candidates: [{provider: first, model: m}]\n")
    async with asyncio.timeout(60):
        while (await ask(running.client, model="more")).status_code != 200:
            await asyncio.sleep(0.1)
    for _ in range(4):
        await ask(running.client)
    assert running.used().count(ONE) == 1


# ------------------------------------------------------------------ what the policies may say
def test_a_key_whose_variable_is_unset_is_left_out(tmp_path: Path) -> None:
    keys = 'api_keys: ["${KEY_A}", {key: "${KEY_B}"}]'
    folder = three(tmp_path, {"first": "http://127.0.0.1:1/v1"}, keys)
    loaded = read(folder, {"KEY_A": ONE})
    assert [str(one).partition(": ")[2] for one in loaded.warnings if "KEY_B" in str(one)]
    assert loaded.config.disabled_providers == ()
    with pytest.raises(PolicyError, match="KEY_A"):
        read(folder, {})  # the only candidate of a task is off


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (f"api_key: {ONE}, api_keys: [{ONE}]", "written twice"),
        ('api_keys: ["a b"]', "spaces"),
        ('api_keys: [""]', "empty"),
        (f"api_keys: [{{key: {ONE}, weight: 0}}]", "weight"),
        (f"api_keys: [{{key: {ONE}, rpm: 3}}]", "rpm"),
    ],
)
def test_what_is_wrong_with_keys_is_told(tmp_path: Path, keys: str, said: str) -> None:
    with pytest.raises(PolicyError) as refused:
        read(three(tmp_path, {"first": "http://127.0.0.1:1/v1"}, keys), {})
    assert said in str(refused.value) and "gateway.yaml:" in str(refused.value)
    assert ONE not in str(refused.value)


# ------------------------------------------------------------------ the decisions
def made(*keys: ProviderKey) -> Any:
    return keyed_codecs("p", OpenAIProvider(api_keys=list(keys)))


def test_weights_are_shares() -> None:
    keys = made(ProviderKey(ONE, weight=3), ProviderKey(TWO))
    states = [KeyState(), KeyState()]
    assert run(keys, states, 400, 0.0).count(0) == 300


def test_a_key_that_rested_does_not_make_up_for_it() -> None:
    keys, states = made(ProviderKey(ONE), ProviderKey(TWO)), [KeyState(), KeyState()]
    states[0].rests_until = 60.0
    assert set(run(keys, states, 100, 0.0)) == {1}
    assert 19 <= run(keys, states, 40, 61.0, turn=99.0).count(0) <= 21
    states[1].rests_until = 100.0
    assert run(keys, states, 3, 61.0) == [0] * 3
    assert choose(keys, states, {0}, 61.0) is None


def run(keys: Any, states: list[KeyState], calls: int, now: float, turn: float = 0.0) -> list[int]:
    taken = []
    for _ in range(calls):
        position = choose(keys, states, (), now)
        assert position is not None
        taken.append(position)
        turn = max(turn, states[position].turn)
        Lease(keys[position], states[position], now, turn).leave()
    return taken


def test_an_allowance_refills_and_a_debt_is_paid_back() -> None:
    (key, _), state = made(ProviderKey(ONE, requests_per_minute=2, tokens_per_minute=600), ProviderKey(TWO)), KeyState()
    for _ in range(2):
        assert free_in(key, state, 10.0) == 0
        Lease(key, state, 10.0)
    assert free_in(key, state, 10.0) == pytest.approx(30)
    assert free_in(key, state, 40.0) == pytest.approx(0)
    Lease(key, state, 40.0).used(900)
    assert free_in(key, state, 40.0) == pytest.approx(30)
    assert free_in(key, state, 1000.0) <= 0


def test_how_long_a_key_rests() -> None:
    limited, refused = Failure("throttled", 429), Failure("credentials", 502)
    assert [rest_after(limited, None, n) for n in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [rest_after(refused, None, n) for n in range(5)] == [60, 120, 240, 480, 600]
    assert rest_after(Failure("throttled", 429, 12.5), 300.0, 3) == 12.5
    assert rest_after(limited, 300.0, 3) == 300.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360), ("1h2m3.5s", 3723.5), ("120ms", 0.12), ("1s", 1), ("10", 10), ("", None), ("soon", None),
     ("-1", None), ("99999999", None), ("nan", None)],
)  # fmt: skip
def test_durations_in_headers(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


def test_what_is_used_up() -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2s", "x-ratelimit-remaining-requests": "5"}
    assert used_up_for(headers, 0.0) == 2
    claude = {
        "anthropic-ratelimit-requests-remaining": "0",
        "anthropic-ratelimit-requests-reset": "1970-01-01T00:01:40Z",
    }
    assert used_up_for(claude, 40.0) == pytest.approx(60)
    assert used_up_for({"x-ratelimit-remaining-requests": "0"}, 0.0) is None
