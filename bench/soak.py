"""Steps sessions for a long time and looks whether anything drifts: `python bench/soak.py [--seconds 600]`.

Half of the sessions are stepped over HTTP, each on a connection of its own, the others over WebSockets; every client
sends its next step PAUSE seconds after the answer. Once a minute (`--sample`) the mean batch, p50 and p99 of the steps'
times, and the resident memory of the server are printed. At the end, the first and the last third are compared:
memory, or batches and times by more than a quarter, that have grown are a drift: exit code 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import uvloop  # noqa: E402

from bench import serving, serving_load  # noqa: E402

PAUSE = 0.5
DRIFT = 1.25
PING = re.compile(rb"\A\x89\x04(.{4})|\x89\x04(?=.{4}\Z)(.{4})", re.DOTALL)
GROWTH_MB = 16.0
"""Memory that allocators take and give back without meaning anything."""


class Paced:
    """Makes a client of bench/serving_load.py wait before it sends again."""

    pause = PAUSE

    def send(self: Any) -> None:
        """Send after the pause, the first time at once."""
        if getattr(self, "begun", False):
            asyncio.get_running_loop().call_later(self.pause, self.go_on, super().send)
        else:
            self.begun = True
            super().send()  # type: ignore[misc]

    def go_on(self: Any, send: Callable[[], None]) -> None:
        """Send, if the connection is still there."""
        if not self.run.over and not self.transport.is_closing():
            send()


class Client(Paced, serving_load.Client):
    """A session over HTTP."""


class Socket(Paced, serving_load.Socket):
    """A session over a WebSocket, which also answers the server's pings."""

    def data_received(self, data: bytes) -> None:
        """Take a ping off the begin or the end of what came."""
        if self.upgraded and (ping := PING.search(data)):
            self.transport.write(b"\x8a\x84" + bytes(4) + (ping[1] or ping[2]))
            data = data[: ping.start()] + data[ping.end() :]
        if data:
            super().data_received(data)


def counted(url: str, key: str) -> dict[str, float]:
    """Return the metrics that have no labels."""
    request = urllib.request.Request(f"{url}/metrics", headers={"Authorization": f"Bearer {key}"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        text = response.read().decode()
    return {name: float(value) for name, value in re.findall(r"^(unroll_\w+) (\S+)$", text, re.MULTILINE)}


def resident_mb(pid: int) -> float:
    """Return the memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def requests(url: str, key: str, count: int) -> tuple[list[bytes], list[bytes]]:
    """Create sessions, and return the steps of one half and the handshakes of the other."""
    host = url.removeprefix("http://")
    steps, handshakes = [], []
    body = json.dumps({"inputs": [[[0.123456]]]})
    for i in range(count):
        asked = urllib.request.Request(  # noqa: S310
            f"{url}/v1/sessions",
            json.dumps({"model": "vanilla"}).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked) as answer:  # noqa: S310
            path = f"/v1/sessions/{json.load(answer)['id']}"
        head = f"HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n"
        if i % 2:
            handshakes.append(
                f"GET {path}/ws {head}upgrade: websocket\r\nconnection: Upgrade\r\n"
                "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n".encode()
            )
        else:
            given = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
            steps.append(f"POST {path}/step {head}{given}".encode())
    return steps, handshakes


async def load(server: serving.Server, count: int, seconds: float, sample: float) -> list[dict[str, float]]:
    """Step the sessions, and print and return the samples."""
    url = f"http://127.0.0.1:{server.port}"
    steps, handshakes = await asyncio.to_thread(requests, url, server.key, count)
    message = json.dumps({"inputs": [[[0.123456]]]}).encode()
    loop, runs = asyncio.get_running_loop(), []
    for kind, asked in ((Client, steps), (Socket, handshakes)):
        run = serving_load.Run(asked, message, each=True)
        runs.append(run)
        for i in range(len(asked)):
            await loop.create_connection(lambda i=i, run=run, kind=kind: kind(run, i), "127.0.0.1", server.port)  # type: ignore[misc]
            await asyncio.sleep(PAUSE / count)
    await asyncio.sleep(2.0)
    found, end = [], time.monotonic() + seconds
    print("| seconds | steps/s | mean batch | HTTP p50, p99 ms | WebSocket p50, p99 ms | server MB | sessions |")
    print("|---|---|---|---|---|---|---|")
    while time.monotonic() < end:
        for run in runs:
            run.seconds.clear()
        before, begun = await asyncio.to_thread(counted, url, server.key), time.monotonic()
        await asyncio.sleep(sample)
        took = time.monotonic() - begun
        times = [sorted(run.seconds) for run in runs]
        after = await asyncio.to_thread(counted, url, server.key)
        for run in runs:
            if run.failed:
                raise SystemExit(
                    f"{len(run.failed)} steps failed, the first: {run.failed[0]!r}, of {run.requests[0]!r}"
                )
        batches = after["unroll_predict_batch_size_count"] - before["unroll_predict_batch_size_count"]
        batched = after["unroll_predict_batch_size_sum"] - before["unroll_predict_batch_size_sum"]
        one = {
            "batch": batched / max(batches, 1.0),
            "http_p99": 1000 * times[0][int(0.99 * len(times[0]))],
            "socket_p99": 1000 * times[1][int(0.99 * len(times[1]))],
            "mb": resident_mb(server.process.pid),
        }
        found.append(one)
        p50 = [1000 * several[len(several) // 2] for several in times]
        print(
            f"| {seconds - (end - time.monotonic()):.0f} | {sum(map(len, times)) / took:.0f} | {one['batch']:.2f} "
            f"| {p50[0]:.2f}, {one['http_p99']:.2f} | {p50[1]:.2f}, {one['socket_p99']:.2f} | {one['mb']:.1f} "
            f"| {after['unroll_sessions']:.0f} |",
            flush=True,
        )
    for run in runs:
        run.over = True
    return found


def drifts(found: list[dict[str, float]]) -> list[str]:
    """Compare the last third of the samples with the first."""
    third = max(len(found) // 3, 1)
    said = []
    for name in found[0]:
        first, last = (statistics.median(one[name] for one in part) for part in (found[:third], found[-third:]))
        drifted = last - first > GROWTH_MB if name == "mb" else last > first * DRIFT
        print(f"{name}: {first:.2f} at first, {last:.2f} at last{': a drift' if drifted else ''}")
        said += [name] if drifted else []
    return said


def main() -> None:
    """Run the soak."""
    parser = argparse.ArgumentParser(description="Does anything drift while sessions step for a long time?")
    parser.add_argument("--sessions", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--sample", type=float, default=60.0, help="seconds of one sample")
    given = parser.parse_args()
    with serving.ours("unroll", ["vanilla"]) as servers:
        server = servers["vanilla"]
        found = uvloop.run(load(server, given.sessions, given.seconds, given.sample))
    if drifts(found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
