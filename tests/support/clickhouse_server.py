"""ClickHouse's HTTP interface over chDB: what several processes of a test share, where no server is to be had as a package.

    python tests/support/clickhouse_server.py FOLDER PORT [PASSWORD [CERTIFICATE]]

With a certificate (a PEM file that holds its key as well) it speaks TLS.

ClickHouse itself answers; this only carries: queries and inserts with their settings and bound parameters in the URL, errors
with their code in a header. One call at a time. Not there: sessions, roles, progress, streaming.
"""

import contextlib
import email.parser
import email.policy
import gzip
import hmac
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

USER: Final = "roamlog"
LISTENS_WITHIN_S: Final = 60

# Parameters of the HTTP interface itself; every other one is a setting.
_OF_HTTP: Final = frozenset(
    {
        *("database", "query", "query_id", "session_id", "session_check", "session_timeout", "role", "default_format", "compress"),
        *("decompress", "enable_http_compression", "client_protocol_version", "wait_end_of_query", "buffer_size"),
        *("send_progress_in_http_headers", "http_headers_progress_interval_ms", "cancel_http_readonly_queries_on_client_close"),
    }
)
_NAME: Final = re.compile(r"[a-z0-9_]+")
_FORMAT: Final = re.compile(r"(?is)\bFORMAT\s+(\w+)\s*;?\s*$")
_INSERT: Final = re.compile(rb"(?is)\s*INSERT\s+INTO\s[^\n]*?\sFORMAT\s+\w+[ ]*\n")
_CODE: Final = re.compile(r"Code: (\d+)")


class ClickHouseServer:
    """The server as a process of its own; it keeps its port and its data over restarts."""

    def __init__(self, folder: Path, password: str = "", certificate: Path | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.folder = folder
        self.password = password
        self.certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return once it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "server.log").open("ab") as log:
            command = [sys.executable, __file__, str(self.folder / "data"), str(self.port), self.password]
            if self.certificate is not None:
                command.append(str(self.certificate))
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + LISTENS_WITHIN_S
        while time.monotonic() < until and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"ClickHouse did not come up: {(self.folder / 'server.log').read_text()[-2000:]}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(30)


@contextlib.contextmanager
def running(folder: Path, password: str = "", certificate: Path | None = None) -> Iterator[ClickHouseServer]:
    """Run a server for the length of the block."""
    server = ClickHouseServer(folder, password, certificate)
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)


def serve(folder: str, port: int, password: str, certificate: str = "") -> None:
    """Answer until the process is ended."""
    import chdb.session

    session: Any = chdb.session.Session(folder)  # type: ignore[no-untyped-call]
    standing = _Standing(session)
    alone = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            if self.headers.get("Transfer-Encoding", "") == "chunked":
                body = b"".join(iter(self._chunk, b""))
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer(_plain(body, self.headers.get("Content-Encoding", "")))

        def _chunk(self) -> bytes:
            chunk = self.rfile.read(int(self.rfile.readline().strip(), 16))
            self.rfile.readline()
            return chunk

        def _answer(self, body: bytes) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/ping":
                return self._send(200, b"Ok.\n")
            asked = dict(parse_qsl(parts.query, keep_blank_values=True))
            if self.headers.get("Content-Type", "").startswith("multipart/form-data"):  # parameters that are too long for a URL
                asked |= _fields(self.headers["Content-Type"], body)
                body = b""
            if password and not self._known(asked):
                return self._send(403, b"Code: 516. DB::Exception: Authentication failed. (AUTHENTICATION_FAILED)", code="516")
            try:
                with alone:
                    answer = _run(session, standing, asked, body)
            except Exception as fault:  # chDB raises RuntimeError with ClickHouse's text
                found = _CODE.search(str(fault))
                said = f"{fault} (of the statement {_statement(asked, body)[0][:500]!r})"
                return self._send(500, said.encode(), code=found[1] if found else "1002")
            # Outside the lock: a client that stands still must not hold up the others.
            return self._send(200, answer, shape=_shape(asked, body))

        def _known(self, asked: dict[str, str]) -> bool:
            said = self.headers.get("X-ClickHouse-Key") or asked.get("password", "")
            kind, _, text = self.headers.get("Authorization", "").partition(" ")
            if kind == "Basic":
                said = b64decode(text).decode().partition(":")[2]
            return hmac.compare_digest(said, password)

        def _send(self, status: int, body: bytes, *, code: str = "", shape: str = "") -> None:
            self.send_response(status)
            self.send_header("X-ClickHouse-Summary", '{"written_rows":"0"}')
            if code:
                self.send_header("X-ClickHouse-Exception-Code", code)
            if shape:
                self.send_header("X-ClickHouse-Format", shape)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that went away

    server = Server(("127.0.0.1", port), Handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        # The handshake is the handler's thread's: a client that says nothing must not hold up the others.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.serve_forever()


class _Standing:
    """What is set in the session now: most calls are made with the same, so only what is different is said."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._database = "default"
        self._settings: dict[str, str] = {}

    def become(self, database: str, settings: dict[str, str]) -> None:
        """Set these, and nothing else."""
        if database != self._database:
            self._session.query(f"USE {database}")
            self._database = database
        for name in [name for name in self._settings if name not in settings]:
            self._session.query(f"SET {name}=DEFAULT")
            del self._settings[name]
        for name, value in settings.items():
            if self._settings.get(name) != value:
                quoted = value.replace("\\", "\\\\").replace("'", "\\'")
                self._session.query(f"SET {name}='{quoted}'")
                self._settings[name] = value


def _run(session: Any, standing: _Standing, asked: dict[str, str], body: bytes) -> bytes:
    settings = {name: value for name, value in asked.items() if name not in _OF_HTTP and not name.startswith("param_")}
    parameters = {name[6:]: value for name, value in asked.items() if name.startswith("param_")}
    settings = {name: value for name, value in settings.items() if _NAME.fullmatch(name) and name not in {"user", "password"}}
    sql, data = _statement(asked, body)
    standing.become(asked.get("database") or "default", settings)
    if data:
        return _insert(session, sql, data)
    found = _FORMAT.search(sql)
    answer = session.query(sql, found[1] if found else asked.get("default_format", "TabSeparated"), params=parameters or None)
    return answer.bytes() if answer else b""


def _statement(asked: dict[str, str], body: bytes) -> tuple[str, bytes]:
    """Return the statement and the rows that follow it: from the URL and the body, or both from the body."""
    if "query" in asked:
        return asked["query"], body
    found = _INSERT.match(body)
    return (body.decode(), b"") if found is None else (found[0].decode().strip(), body[found.end() :])


def _insert(session: Any, sql: str, data: bytes) -> bytes:
    found = _FORMAT.search(sql)
    if found is None:  # the statement goes on in the body, or has no data after all
        answer = session.query(f"{sql}\n{data.decode()}")
        return answer.bytes() if answer else b""
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(data)
    try:
        session.query(f"{sql[: found.start()]} FROM INFILE '{file.name}' FORMAT {found[1]}")
    finally:
        os.unlink(file.name)
    return b""


def _shape(asked: dict[str, str], body: bytes) -> str:
    found = _FORMAT.search(_statement(asked, body)[0])
    return found[1] if found else asked.get("default_format", "TabSeparated")


def _fields(content_type: str, body: bytes) -> dict[str, str]:
    """Return the fields of a form."""
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    return {
        str(part.get_param("name", header="content-disposition")): str(part.get_content()).removesuffix("\n")
        for part in form.iter_parts()
    }


def _plain(body: bytes, encoding: str) -> bytes:
    match encoding:
        case "gzip":
            return gzip.decompress(body)
        case "lz4":
            import lz4.frame  # type: ignore[import-untyped]

            plain = b""
            while body:  # a frame for each block of rows that the client sends
                frame = lz4.frame.LZ4FrameDecompressor()
                plain += frame.decompress(body)
                body = frame.unused_data or b""
            return plain
        case _:
            return body


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), *sys.argv[3:5])
