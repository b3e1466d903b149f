"""Where the gateway calls: row 61. Names that lead inside, to metadata, or somewhere else the second time."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from gateway_server import write_policies
from scripted import Provider

from gateway.config import Timeouts
from gateway.policy.files import PolicyError, read
from gateway.providers.codec import AttemptFailed, UpstreamRequest
from gateway.upstreams.addresses import inside_hosts, permitted
from gateway.upstreams.reply import StreamedRequest
from gateway.upstreams.upstream import Upstream

METADATA = ["169.254.169.254", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
            "168.63.129.16", "100.100.100.200", "0.0.0.0", "224.0.0.1", "2002:a9fe:a9fe::1"]  # fmt: skip
PRIVATE = ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.9", "172.16.0.1", "fd12::1", "100.64.0.1", "::ffff:10.0.0.1"]


class Names(AbstractResolver):
    """Answers the next of the scripted addresses each time, the last one for ever."""

    def __init__(self, *script: list[str]) -> None:
        self.script, self.asked = list(script), 0

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        self.asked += 1
        found = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return [ResolveResult(hostname=host, host=one, port=port, family=family, proto=0, flags=0) for one in found]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("address", METADATA)
@pytest.mark.parametrize("host", ["api.example.com", "vllm", "metadata.google.internal", "allowed.example.com", "itself"])
def test_metadata_and_link_local_are_never_called(host: str, address: str) -> None:
    assert not permitted(address if host == "itself" else host, address, {"allowed.example.com"})


@pytest.mark.parametrize("address", PRIVATE)
def test_a_public_name_leads_inside_only_when_the_policies_say_so(address: str) -> None:
    for host in ("api.example.com", "127.1", "2130706433", "0x7f000001", "localhost.example.com", "evil-internal.example"):
        assert not permitted(host, address, ())
    for host in ("vllm", "gpu.internal", "printer.local", "llm.default.svc.cluster.local", address):
        assert permitted(host, address, ())
    assert permitted("API.example.com.", address, {"api.example.com"})
    assert permitted("api.example.com", "93.184.216.34", ()) and not permitted("api.example.com", "junk", ())


async def _asked(upstream: Upstream, url: str, *, streamed: bool) -> AttemptFailed | int:
    async def pieces():  # type: ignore[no-untyped-def]
        yield b"{}"

    kind = {"content-length": "2", "content-type": "application/json"}
    secret = {"authorization": "Bearer secret"}
    request = StreamedRequest(url, {**kind, **secret}, b"", pieces=pieces) if streamed else UpstreamRequest(url, secret, b"{}")
    try:
        reply = await upstream.send(request, name="p", remaining=2)
    except AttemptFailed as problem:
        return problem
    reply.release()
    return reply.status


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_name_that_leads_inside_is_refused_before_anything_is_sent(first: Provider, streamed: bool) -> None:
    upstream = Upstream(Timeouts(), resolver=Names(["127.0.0.1"]))
    refused = await _asked(upstream, f"http://api.test:{first.port}/v1/x", streamed=streamed)
    assert isinstance(refused, AttemptFailed)
    assert refused.error.code == "provider_address" and "127.0.0.1" not in refused.error.message
    assert "private_addresses" in refused.error.detail
    assert not first.seen
    allowed = Upstream(Timeouts(), resolver=Names(["127.0.0.1"]), inside=lambda: {"api.test"})
    assert await _asked(allowed, f"http://api.test:{first.port}/v1/x", streamed=streamed) == 200
    await upstream.close()
    await allowed.close()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_name_is_looked_up_once_and_what_was_checked_is_connected_to(first: Provider, streamed: bool) -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    upstream = Upstream(Timeouts(), resolver=names, inside=lambda: {"api.test"})
    assert await _asked(upstream, f"http://api.test:{first.port}/v1/x", streamed=streamed) == 200
    assert names.asked == 1 and len(first.seen) == 1
    await upstream.close()


async def test_a_name_that_turns_inwards_is_refused_then(first: Provider) -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    upstream = Upstream(Timeouts(), resolver=names, inside=lambda: {"api.test"})
    url = f"http://api.test:{first.port}/v1/x"
    assert await _asked(upstream, url, streamed=False) == 200  # not read to its end: the next call connects anew
    refused = await _asked(upstream, url, streamed=False)
    assert isinstance(refused, AttemptFailed) and refused.error.code == "provider_address"
    await upstream.close()


async def test_of_several_addresses_only_those_that_may_be_called_are(first: Provider) -> None:
    upstream = Upstream(Timeouts(), resolver=Names(["169.254.169.254", "127.0.0.1"]), inside=lambda: {"api.test"})
    assert await _asked(upstream, f"http://api.test:{first.port}/v1/x", streamed=False) == 200
    await upstream.close()


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0.0.0.0"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_forbidden_addresses_are_not_called_by_number_either(host: str, streamed: bool) -> None:
    upstream = Upstream(Timeouts())
    refused = await _asked(upstream, f"http://{host}/v1/x", streamed=streamed)
    assert isinstance(refused, AttemptFailed) and refused.error.code == "provider_address"
    assert await upstream.status(f"http://{host}/", within=1) == 0
    await upstream.close()


async def test_health_checks_do_not_lead_inside(first: Provider) -> None:
    upstream = Upstream(Timeouts(), resolver=Names(["127.0.0.1"]))
    assert await upstream.status(f"http://health.test:{first.port}/", within=1) == 0 and not first.seen
    allowed = Upstream(Timeouts(), resolver=Names(["127.0.0.1"]), inside=lambda: {"health.test"})
    assert await allowed.status(f"http://health.test:{first.port}/", within=1) == 200
    await upstream.close()
    await allowed.close()


def test_what_the_policies_allow(tmp_path: Path) -> None:
    urls = {"first": "https://api.example.com/v1", "spare": "https://other.example.com/v1"}
    rules = 'upstreams: {first: {private_addresses: true, health: {url: "https://Health.example.com/"}}, spare: {}}'
    config = read(write_policies(tmp_path / "p", urls, gateway=rules), {}).config
    assert inside_hosts(config) == {"api.example.com", "health.example.com"}


@pytest.mark.parametrize(
    ("url", "rules"),
    [
        ("http://169.254.169.254/v1", ""),
        ("http://[::ffff:169.254.169.254]/v1", ""),
        ("https://api.example.com", 'upstreams: {first: {health: {url: "http://169.254.169.254/latest"}}}'),
    ],
)
def test_policies_that_name_them_are_refused_with_file_and_line(tmp_path: Path, url: str, rules: str) -> None:
    with pytest.raises(PolicyError, match=r"gateway.yaml:\d+.*must not be called"):
        read(write_policies(tmp_path / "p", {"first": url}, gateway=rules), {})
