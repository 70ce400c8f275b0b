"""A real HTTP server in a thread that answers as the test says, and remembers every request that arrived."""

from __future__ import annotations

import hashlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What to answer. `cut`: break the connection after so many bytes of the body; -1: before any answer.

    `parts` is a body whose parts are sent as they come; the connection ends with it.
    """

    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    parts: Iterable[bytes] | None = None

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else json.dumps(self.body).encode()


def file(content: bytes) -> Answer:
    """An artifact's content, whose ETag is its SHA-256."""
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Content-Type": "application/octet-stream"}
    return Answer(200, content, headers)


def problem(status: int, code: str, **fields: Any) -> Answer:
    body = {
        "type": f"urn:unroll:problem:{code}",
        "title": code,
        "status": status,
        "code": code,
        "detail": f"detail of {code}",
        "request_id": "req-1",
        "retryable": False,
    } | fields.pop("body", {})
    headers = {"Content-Type": "application/problem+json"} | fields.pop("headers", {})
    return Answer(status, body, headers, **fields)


Script = Callable[[Seen], Answer]


class ScriptedServer:
    """`script` answers every request; `seen` lists them. A list of answers is a script too: one answer a request."""

    def __init__(self) -> None:
        self.script: Script = lambda _: Answer(500, b"the test has no script")
        self.seen: list[Seen] = []
        self.url = ""

    def answers(self, *answers: Answer) -> None:
        rest = list(answers)
        self.script = lambda _: rest.pop(0) if rest else Answer(418, b"more requests than the test expects")


CERTIFICATE = Path(__file__).with_name("localhost.pem")
"""A certificate of localhost that nobody trusts, with its key."""


@contextmanager
def serve(*, tls: bool = False) -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:
                self.close_connection = True

        def answer(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, parts.path, parse_qs(parts.query), headers, body)
            scripted.seen.append(seen)
            answer = scripted.script(seen)
            if answer.cut == -1:
                self.reset()
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.parts is not None:
                self.close_connection = True
                self.send_header("Connection", "close")
                self.end_headers()
                for part in answer.parts:
                    self.wfile.write(part)
                return
            if answer.status not in {204, 304}:
                self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content[: answer.cut])
            if answer.cut is not None:
                self.wfile.flush()
                self.close_connection = True

        def reset(self) -> None:
            # a closed socket with SO_LINGER 0 sends RST: the client's read fails at once
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # the names that http.server looks for

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scripted.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield scripted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
