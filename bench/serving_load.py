"""Sends requests over N connections, one at a time on each, and prints what came back as JSON: see bench/serving.py.

    python bench/serving_load.py < requests.json

Reads {"host", "port", "clients", "seconds", "each", "socket", "requests": [base64]} from standard input. Requests are
whole HTTP requests; with `each`, client i sends only request i. With `socket`, request i is the handshake of client i,
and `message` is what it then sends again and again. Every peer gets the same bytes from the same generator.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from typing import Any

import uvloop

WARM_SECONDS = 0.5


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, run: Run, first: int) -> None:
        self.run, self.next = run, first

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self.transport: Any = transport  # uvloop's is no asyncio.Transport
        self.send()

    def send(self) -> None:
        """Send the next request."""
        self.received, self.wanted = bytearray(), 0
        if not self.run.each:
            self.next = (self.next + 1) % len(self.run.requests)
        self.sent = time.perf_counter()
        self.transport.write(self.run.requests[self.next])

    def data_received(self, data: bytes) -> None:
        """Send the next one as soon as the answer is whole."""
        self.received += data
        if not self.wanted:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.received[:end]).lower()
            at = head.index(b"content-length: ") + 16
            self.wanted = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
        if len(self.received) < self.wanted:
            return
        if self.received.startswith(b"HTTP/1.1 2"):
            self.run.seconds.append(time.perf_counter() - self.sent)
        else:
            self.run.failed.append(bytes(self.received[:300]))
        if not self.run.over:
            self.send()

    def connection_lost(self, _: Exception | None) -> None:
        """Note a connection that the server closed."""
        if not self.run.over:
            self.run.failed.append(b"connection lost")


class Socket(Client):
    """One WebSocket, with one message on its way."""

    upgraded = False

    def send(self) -> None:
        """Send the handshake, then the next message."""
        self.received, self.sent = bytearray(), time.perf_counter()
        self.transport.write(self.run.frame if self.upgraded else self.run.requests[self.next])

    def data_received(self, data: bytes) -> None:
        """Send the next message as soon as the answer is whole."""
        self.received += data
        if not self.upgraded:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self.received.startswith(b"HTTP/1.1 101"):
                self.run.failed.append(bytes(self.received[:300]))
                return
            self.upgraded = True
            del self.received[: end + 4]
        while len(self.received) >= 2 and self.received[0] == 0x89:  # a ping, which wants a pong with the same bytes
            size = self.received[1]
            if len(self.received) < 2 + size:
                return
            pinged = bytes(self.received[2 : 2 + size])
            self.transport.write(bytes([0x8A, 0x80 | size]) + bytes(4) + pinged)
            del self.received[: 2 + size]
        if len(self.received) < 2:
            return
        head, length = 2, self.received[1]
        if length == 126:
            if len(self.received) < 4:
                return
            head, length = 4, int.from_bytes(self.received[2:4], "big")
        if len(self.received) < head + length:
            return
        if b'"problem"' in self.received:
            self.run.failed.append(bytes(self.received[:300]))
        else:
            self.run.seconds.append(time.perf_counter() - self.sent)
        if not self.run.over:
            self.send()


class Run:
    """One load."""

    def __init__(self, requests: list[bytes], message: bytes, *, each: bool) -> None:
        self.requests, self.each = requests, each
        # a client's frames are masked; with a mask of zeros the bytes stay as they are
        self.frame = bytes([0x81]) + (
            bytes([0x80 | len(message)]) if len(message) < 126 else bytes([0xFE]) + len(message).to_bytes(2, "big")
        )
        self.frame += bytes(4) + message
        self.seconds: list[float] = []
        self.failed: list[bytes] = []
        self.over = False


async def main() -> None:
    """Run one load."""
    asked = json.load(sys.stdin)
    decoded = [base64.b64decode(request) for request in asked["requests"]]
    run = Run(decoded, asked.get("message", "").encode(), each=asked.get("each", False))
    kind = Socket if asked.get("socket") else Client
    loop = asyncio.get_running_loop()
    for i in range(asked["clients"]):
        first = i if run.each else i * 7 % len(run.requests)
        await loop.create_connection(lambda first=first: kind(run, first), asked["host"], asked["port"])  # type: ignore[misc]
    await asyncio.sleep(WARM_SECONDS)
    run.seconds.clear()
    print("warm", flush=True)
    begin = time.perf_counter()
    await asyncio.sleep(asked["seconds"])
    took, seconds = time.perf_counter() - begin, sorted(run.seconds)
    run.over = True
    print(
        json.dumps(
            {
                "per_second": len(seconds) / took,
                "requests": len(seconds),
                "p50_ms": 1000 * seconds[len(seconds) // 2] if seconds else None,
                "p99_ms": 1000 * seconds[int(0.99 * len(seconds))] if seconds else None,
                "failed": len(run.failed),
                "first_failure": run.failed[0].decode(errors="replace") if run.failed else None,
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(main())
