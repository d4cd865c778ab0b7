"""A ClickHouse server as it is reached: with TLS or without, many questions at a time, and a sentence where it cannot be."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from threading import Thread

import pytest
from clickhouse_server import USER, ClickHouseServer, running
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from serving import free_port

from streams.ports import StoreUnavailable
from streams.stores.clickhouse import ClickHouseStore, Server, StoreError


def certificate(folder: Path, name: str) -> Path:
    """Write a certificate of 127.0.0.1 that it signs itself, with its key, and return the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """A server that speaks TLS."""
    folder = tmp_path_factory.mktemp("clickhouse")
    with running(folder, "secret", certificate(folder, "server")) as started:
        yield started


def at(server: ClickHouseServer, *, password: str = "secret", secure: bool = True, cafile: Path | None = None) -> Server:
    return Server(
        host="127.0.0.1",
        port=server.port,
        user=USER,
        password=password,
        secure=secure,
        cafile=str(cafile or server.certificate),
        database="reached",
    )


async def test_a_server_with_tls_is_trusted_by_its_authority(server: ClickHouseServer) -> None:
    store = await asyncio.to_thread(ClickHouseStore.http, at(server))
    try:
        assert await store.query("SELECT currentDatabase()") == [(b"reached",)]
    finally:
        await store.close()


async def test_many_questions_share_a_client_and_each_has_its_own_answer(server: ClickHouseServer) -> None:
    store = await asyncio.to_thread(ClickHouseStore.http, at(server), readers=16)
    try:
        asked = "SELECT {one:UInt32}, repeat(toString({one:UInt32}), 1000)"
        answers = await asyncio.gather(*(store.query(asked, {"one": one}) for one in range(100)))
        assert answers == [[(one, str(one).encode() * 1000)] for one in range(100)]
    finally:
        await store.close()


def test_a_server_of_another_authority_is_not_trusted(server: ClickHouseServer, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=rf"^ClickHouse at https://127.0.0.1:{server.port} cannot be used now: TLS fails"):
        ClickHouseStore.http(at(server, cafile=certificate(tmp_path, "other")))


def test_a_wrong_password_is_told_as_such(server: ClickHouseServer) -> None:
    with pytest.raises(StoreError, match="Authentication failed"):
        ClickHouseStore.http(at(server, password="guess"))


def test_a_port_where_nobody_listens_is_a_sentence() -> None:
    port = free_port()
    text = rf"^ClickHouse at http://127.0.0.1:{port} cannot be used now: \[Errno 111\] Connection refused$"
    with pytest.raises(StoreUnavailable, match=text):
        ClickHouseStore.http(Server(host="127.0.0.1", port=port))


def test_what_is_no_clickhouse_is_told_as_such() -> None:
    class Other(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    other = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    serving = Thread(target=other.serve_forever)
    serving.start()
    try:
        with pytest.raises(StoreError, match=rf"^what answers at http://127.0.0.1:{other.server_port} is no ClickHouse$"):
            ClickHouseStore.http(Server(host="127.0.0.1", port=other.server_port))
    finally:
        other.shutdown()
        serving.join()
        other.server_close()
