"""Connections: slow ones, too many, the end of the process, certificates and names."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import json
import os
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from free_ports import free_port
from gateway_server import ADMIN, KEY, write_policies
from migrated import migrated
from peak import Peak
from rough import BODY, Start, ask, events
from scripted import Line, Provider, chunk, sse
from stopwatch import Stopwatch

from gateway.config import Timeouts
from gateway.providers.codec import AttemptFailed, UpstreamRequest
from gateway.resilience.connections import Bounds, Doors
from gateway.storage.home import Home
from gateway.upstreams.upstream import LastGood, Upstream

HEAD = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"


def _port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


async def test_row_16_a_client_that_does_not_read_is_disconnected_and_memory_stays_flat(
    start: Start, first: Provider
) -> None:
    sent = 0

    async def flood(line: Line) -> None:
        nonlocal sent
        await line.start(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        part = sse([chunk({"content": "x" * 1000})] * 60, done=False)
        with contextlib.suppress(ConnectionError):
            for _ in range(900):  # 50 MiB and more
                line.writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                await line.writer.drain()
                sent += len(part)

    first.behave = flood
    async with start({"first": first.url}, settings="server: {write_idle_s: 0.4}") as (served, _):
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", _port(served.url)))
        body = json.dumps({**BODY, "stream": True}).encode()
        raw.sendall(f"{HEAD}content-length: {len(body)}\r\n\r\n".encode() + body)
        peak = Peak()
        async with asyncio.timeout(60):
            while not first.seen:
                await asyncio.sleep(0.01)
            while served.app.state.upstream.connections()[0] or len(served.app.state.drain):
                await asyncio.sleep(0.02)
        raw.close()
        assert sent < 30_000_000  # backpressure reached the provider
        assert peak.grown_mib < 20
        (call,) = served.records()
        assert call.status == "client_closed"  # type: ignore[attr-defined]


@pytest.mark.parametrize("trickle", [b"POST /v1/chat/completions HTTP/1.1\r\nx: ", b""])
async def test_row_17_trickled_headers_are_cut(start: Start, first: Provider, trickle: bytes) -> None:
    async with start({"first": first.url}, settings="server: {header_timeout_s: 0.3}") as (served, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", _port(served.url))
        watch = Stopwatch()
        writer.write(trickle)

        async def more() -> None:
            with contextlib.suppress(ConnectionError):
                while trickle:
                    await asyncio.sleep(0.03)
                    writer.write(b"y")

        task = asyncio.create_task(more())
        answer = await asyncio.wait_for(reader.read(20), 30)
        task.cancel()
        assert watch.seconds < 1.5
        assert answer.startswith(b"HTTP/1.1 408")
        writer.close()
        assert (await ask(client)).status_code == 200


@pytest.mark.parametrize("pause", [0.05, 60])
async def test_row_17_trickled_bodies_are_cut(start: Start, first: Provider, pause: float) -> None:
    async with start({"first": first.url}, settings="server: {body_timeout_s: 0.3}") as (served, client):
        reader, writer = await asyncio.open_connection("127.0.0.1", _port(served.url))
        watch = Stopwatch()
        writer.write(f"{HEAD}content-length: 5000\r\n\r\n{{".encode())

        async def trickle() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    await asyncio.sleep(pause)
                    writer.write(b" ")

        task = asyncio.create_task(trickle())
        answer = await asyncio.wait_for(reader.read(20), 30)
        task.cancel()
        assert watch.seconds < 2
        assert answer.startswith(b"HTTP/1.1 408")
        writer.close()
        assert (await ask(client)).status_code == 200


def test_connections_are_bounded_altogether_and_by_address() -> None:
    doors, bounds = Doors(), Bounds(total=5, per_address=2)
    assert [doors.admit("192.0.2.1", bounds) for _ in range(3)] == [True, True, False]
    assert [doors.admit("127.0.0.1", bounds) for _ in range(4)] == [True, True, True, False]
    assert not doors.admit("192.0.2.2", bounds)
    doors.leave("192.0.2.1")
    assert doors.admit("192.0.2.1", bounds) and doors.total == 5


async def test_too_many_connections_are_refused_politely(start: Start, first: Provider) -> None:
    async with start({"first": first.url}, settings="server: {max_connections: 5}") as (served, _):
        held = [await asyncio.open_connection("127.0.0.1", _port(served.url)) for _ in range(5)]
        reader, writer = await asyncio.open_connection("127.0.0.1", _port(served.url))
        answer = await asyncio.wait_for(reader.read(), 30)
        assert (
            answer.startswith(b"HTTP/1.1 503")
            and b"retry-after" in answer
            and b"too_many_connections" in answer
        )
        for _, one in [*held, (reader, writer)]:
            one.close()
        async with asyncio.timeout(60):
            while True:
                async with httpx.AsyncClient(base_url=served.url) as fresh:
                    if (await fresh.get("/healthz")).status_code == 200:
                        break
                await asyncio.sleep(0.02)


async def test_row_51_a_heavy_body_holds_up_nobody(start: Start, first: Provider) -> None:
    heavy = json.dumps({**BODY, "messages": BODY["messages"] * 100_000}).encode()
    async with start({"first": first.url}) as (_, client):
        alone = 0.0
        for _ in range(10):
            watch = Stopwatch()
            await ask(client)
            alone = max(alone, watch.seconds)
        big = asyncio.create_task(client.post("/v1/chat/completions", content=heavy))
        worst = 0.0
        while not big.done():
            watch = Stopwatch()
            assert (await ask(client)).status_code == 200
            worst = max(worst, watch.seconds)
        answer = big.result()
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "array_above_max_length"
    assert worst < 0.25 + 10 * alone, (worst, alone)  # on a busy machine everything takes longer
    assert len(first.seen) > 1


async def test_row_51_deep_bodies_are_refused(start: Start, first: Provider) -> None:
    async with start({"first": first.url}) as (_, client):
        for depth in (101, 100_000):
            deep = b'{"model": "triage", "messages": [], "x": ' + b"[" * depth + b"]" * depth + b"}"
            answer = await client.post("/v1/chat/completions", content=deep)
            assert answer.status_code == 400 and "100 levels" in answer.json()["error"]["message"]


# ------------------------------------------------------------------ the process
@contextlib.asynccontextmanager
async def _process(tmp: Path, first: Provider, settings: str, files: int = 1024) -> Any:
    home = await asyncio.to_thread(migrated, Home(tmp / "home").prepare())
    policies = write_policies(tmp / "policies", {"first": first.url}, gateway=settings)
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", f'ulimit -n {files}; exec "$0" "$@"', sys.executable, "-m", "gateway.server",
        "--policies", str(policies), "--home", str(tmp / "home"), "--port", str(port),
        env={**os.environ, "UNDERSTUDY_ADMIN_KEY": ADMIN}, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {KEY}"}, timeout=60
        ) as client:
            async with asyncio.timeout(90):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        if (await client.get("/readyz")).status_code == 200:
                            break
                    await asyncio.sleep(0.05)
            yield process, client, port, home
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("whole", [True, False])
async def test_row_49_sigterm_lets_streams_end(tmp_path: Path, first: Provider, whole: bool) -> None:
    go = asyncio.Event()

    async def slow(line: Line) -> None:
        text = sse([chunk({"content": "x"})] * 10 + [chunk({}, "stop")])
        with contextlib.suppress(ConnectionError):
            await line.start(200, {"content-type": "text/event-stream", "content-length": str(len(text))})
            line.writer.write(text[:600])
            await go.wait()
            line.writer.write(text[600:])
            await line.writer.drain()

    first.behave = slow
    patience = 60 if whole else 2
    async with _process(tmp_path, first, f"server: {{shutdown_s: {patience}}}") as (process, client, _, home):
        calls = [asyncio.create_task(ask(client, stream=True)) for _ in range(5)]
        while len(first.seen) < 5:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        if whole:
            async with asyncio.timeout(60):
                while (await client.get("/readyz")).status_code != 503:
                    await asyncio.sleep(0.02)
            assert (await ask(client)).status_code == 503
            go.set()
        texts = [events(one.text) for one in await asyncio.gather(*calls)]
        assert await asyncio.wait_for(process.wait(), 60) == 0
        from gateway.storage.spooling.reader import SpoolReader

        records = [one for one in SpoolReader(home).read(1000).records if hasattr(one, "http_status")]
    if whole:
        assert [one[-1] for one in texts] == ["[DONE]"] * 5
        assert [one.status for one in records] == ["ok"] * 5
    else:
        assert [one[-1].get("error", {}).get("code") for one in texts] == ["shutting_down"] * 5
        assert len(records) == 5


async def test_row_53_running_out_of_file_descriptors_passes(tmp_path: Path, first: Provider) -> None:
    async with _process(tmp_path, first, "", files=128) as (process, client, port, _):
        held = []
        for _ in range(300):
            with contextlib.suppress(OSError):
                held.append(await asyncio.open_connection("127.0.0.1", port))
        used = _cpu(process.pid)
        await asyncio.sleep(0.5)
        assert _cpu(process.pid) - used < 0.25  # the accept loop does not spin
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0.3)
        for _ in range(5):
            assert (await ask(client)).status_code == 200


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ------------------------------------------------------------------ names and certificates
class _Flapping(AbstractResolver):
    def __init__(self) -> None:
        self.works = True

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        if not self.works:
            raise OSError("NXDOMAIN")
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


async def test_row_61_the_last_good_address_outlives_a_name_server(first: Provider) -> None:
    inner = _Flapping()
    names = LastGood(inner)
    found = await names.resolve("api.test", 80)
    inner.works = False
    assert await names.resolve("api.test", 80) == found
    with pytest.raises(OSError, match="NXDOMAIN"):
        await names.resolve("other.test", 80)
    upstream = Upstream(Timeouts(), resolver=inner)
    with pytest.raises(AttemptFailed) as unknown:
        await upstream.send(UpstreamRequest("http://nowhere.test/", {}, b"{}"), name="p", remaining=2)
    assert unknown.value.error.code == "provider_unreachable"
    await upstream.close()


def _certificate(folder: Path, kind: str) -> tuple[Path, Path]:
    """(what the client trusts, what the server shows: certificate and key)."""
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)

    def made(name: str, key: Any, issuer: str, signer: Any, *, ca: bool) -> x509.Certificate:
        end = now - day if kind == "expired" and not ca else now + day
        host = ipaddress.ip_address("127.0.0.2" if kind == "wrong host" else "127.0.0.1")
        found = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * day)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(host)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(  # Python 3.13 and later take no certificate without these
                x509.KeyUsage(
                    digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False,
                    key_encipherment=False, data_encipherment=False, key_agreement=False,
                    encipher_only=False, decipher_only=False,
                ),
                critical=True,
            )
        )
        if kind != "no identifier" or ca:
            issuers = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
            found = found.add_extension(issuers, critical=False)
        return found.sign(signer, hashes.SHA256())

    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = made("ca", authority, "ca", authority, ca=True)
    leaf = made("leaf", own, *(("leaf", own) if kind == "self-signed" else ("ca", authority)), ca=False)
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    (folder / "leaf.pem").write_bytes(
        leaf.public_bytes(pem)
        + own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "ca.pem", folder / "leaf.pem"


@pytest.mark.parametrize(
    ("kind", "why"),
    [("good", ""), ("expired", "expired"), ("wrong host", "mismatch"), ("self-signed", "self"),
     ("no identifier", "Missing Authority Key Identifier")],
)  # fmt: skip
async def test_row_62_a_certificate_that_does_not_hold_is_refused(tmp_path: Path, kind: str, why: str) -> None:
    trusted, shown = await asyncio.to_thread(_certificate, tmp_path, kind)
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(shown)
    reached: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=ours)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    theirs = ssl.create_default_context(cafile=str(trusted))
    if kind == "no identifier":
        theirs.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 and later have it from the start
    upstream = Upstream(Timeouts(), tls=theirs)
    request = UpstreamRequest(url, {"authorization": "Bearer secret"}, b"{}")
    try:
        if kind == "good":
            reply = await upstream.send(request, name="p", remaining=5)
            assert (reply.status, await reply.read()) == (200, b"{}")
            reply.release()
        else:
            with pytest.raises(AttemptFailed) as refused:
                await upstream.send(request, name="p", remaining=5)
            error = refused.value.error
            assert error.code == "provider_certificate" and why in error.detail and why not in error.message
            assert "provider 'p'" in error.detail and ("SSL_CERT_FILE" in error.detail) == (kind == "self-signed")
            assert not reached  # nothing was sent, the key least of all
    finally:
        await upstream.close()
        server.close()
