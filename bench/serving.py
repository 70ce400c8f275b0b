"""Measures predictions against what people use today, side by side: `python bench/serving.py`.

One sequence a request, T = 100, one input, 100 hidden units, as JSON; a session's step has T = 1, and its peer gets the
same inputs without a state. The peers (bench/serving_peers.py) are a handler
of FastAPI around torch.nn, onnxruntime behind FastAPI, and LitServe. All servers run during the whole measurement, and
the load goes to one after the other, round after round, so that the machine's drift affects all alike. The figures are
medians of the rounds' ratios with the smallest and the largest, and each server's requests a second, p50, p99 and CPU
time a request. Servers and load share the machine's cores.

LitServe comes with `pip install -e '.[bench]'`; a peer that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import unroll  # noqa: E402
from bench.service import environment  # noqa: E402

PEERS = ("fastapi", "onnx", "litserve")
GOALS = {
    ("vanilla", "fastapi"): {1: 8, 16: 10, 64: 10},
    ("vanilla", "litserve"): {16: 12, 64: 12},
    ("vanilla", "onnx"): {16: 6, 64: 6},
    ("vanilla without a compiler", "litserve"): {16: 4, 64: 4},
    ("session step", "fastapi"): {16: 4, 64: 4},
    ("session step over a WebSocket", "fastapi"): {16: 8, 64: 8},
    **{(cell, "fastapi"): {16: 8, 64: 8} for cell in ("lstm", "gru", "leaky")},
}
WITHOUT_KERNEL = (
    "import rnn.kernels as k, rnn.kernels.abi as a; k.library = a.library = lambda: None; "
    "import sys; sys.argv[0] = 'api.cli'; from api.cli import main; main()"
)


@dataclass
class Server:
    """A running server, and the requests that it is sent."""

    name: str
    port: int
    process: subprocess.Popen[Any]
    requests: list[bytes]
    key: str = ""
    each: bool = False
    """Whether client i sends only request i."""
    message: str = ""
    """What is sent over WebSockets; then requests are handshakes."""

    def cpu(self) -> float:
        """Return the CPU seconds of the process and its children so far."""
        total, pids = 0.0, [self.process.pid]
        while pids:
            pid = pids.pop()
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                for task in Path(f"/proc/{pid}/task").iterdir():
                    pids += map(int, (task / "children").read_text().split())
            except FileNotFoundError:
                continue
        return total

    def load(self, clients: int, seconds: float) -> dict[str, Any]:
        """Send requests for so long."""
        asked = {
            "host": "127.0.0.1",
            "port": self.port,
            "clients": clients,
            "seconds": seconds,
            "each": self.each,
            "socket": bool(self.message),
            "message": self.message,
            "requests": [base64.b64encode(request).decode() for request in self.requests],
        }
        command = [sys.executable, str(ROOT / "bench" / "serving_load.py")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            json.dump(asked, process.stdin)
            process.stdin.close()
            assert process.stdout.readline() == "warm\n"
            before = self.cpu()
            found: dict[str, Any] = json.loads(process.stdout.readline())
            found["cpu_us"] = 1e6 * (self.cpu() - before) / max(found["requests"], 1)
        if found["failed"]:
            raise SystemExit(f"{self.name}: {found['failed']} requests failed, the first: {found['first_failure']}")
        return found


def requests(path: str, key: str | None, length: int = 100, width: int = 1) -> list[bytes]:
    """Return HTTP requests with different sequences."""
    chance, made = random.Random(1), []  # noqa: S311 - no secret
    for _ in range(16):
        x = [[round(chance.gauss(0, 1), 6) for _ in range(width)] for _ in range(length)]
        body = json.dumps({"inputs": [x]}).encode()
        lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "accept: */*", "content-type: application/json"]
        lines += [f"content-length: {len(body)}", *([f"authorization: Bearer {key}"] if key else [])]
        made.append("\r\n".join([*lines, "", ""]).encode() + body)
    return made


@contextmanager
def ours(name: str, cells: list[str], *, kernel: bool = True) -> Iterator[dict[str, Server]]:
    """Run the service with an untrained network of each cell."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        own = {"UNROLL_DATA_DIR": folder, "UNROLL_PORT": str(port), "UNROLL_LOG_LEVEL": "info"}
        start = ["-m", "api.cli"] if kernel else ["-c", WITHOUT_KERNEL]
        env = environment(own)
        up = [sys.executable, "-P", "-m", "api.cli", "up"]
        models = {}
        process = subprocess.Popen(up, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:  # the networks come from a service with a worker, the figures from an API alone
            wait_for(port, process)
            key = Path(folder, "key").read_text().strip()
            with unroll.Client(f"http://127.0.0.1:{port}", key) as client:
                for cell in cells:
                    model = {"cell": {"type": cell, "hidden_size": 100}, "input_size": 1, "output_size": 1}
                    client.models.register(cell, model)
                    client.train(model=cell, data={"name": "integrate_noise"}, training={"steps": 5}).wait()
                    models[cell] = f"/v1/models/{cell}/predict"
        finally:
            process.terminate()
            process.wait(60)
        process = subprocess.Popen(
            [sys.executable, "-P", *start, "api"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for(port, process)
            yield {cell: Server(name, port, process, requests(path, key), key=key) for cell, path in models.items()}
        finally:
            process.terminate()
            process.wait(60)


def sessions(server: Server, key: str, model: str, *, socket: bool) -> Server:
    """Return the same server, to which each client sends the steps of a session of its own."""
    paths = []
    for _ in range(64):
        asked = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/v1/sessions",
            json.dumps({"model": model}).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked) as answer:  # noqa: S310
            paths.append(f"/v1/sessions/{json.load(answer)['id']}")
    if not socket:
        steps = [requests(f"{path}/step", key, length=1)[0] for path in paths]
        return Server(server.name, server.port, server.process, steps, each=True)
    handshakes = [
        f"GET {path}/ws HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\nupgrade: websocket\r\n"
        "connection: Upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
        for path in paths
    ]
    message = json.dumps({"inputs": [[[0.123456]]]})
    encoded = [handshake.encode() for handshake in handshakes]
    return Server(server.name, server.port, server.process, encoded, each=True, message=message)


@contextmanager
def peer(which: str, cell: str, length: int = 100) -> Iterator[Server]:
    """Run a peer."""
    port = free_port()
    command = [sys.executable, str(ROOT / "bench" / "serving_peers.py"), which, cell, str(port)]
    process = subprocess.Popen(command, env=environment({}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield Server(which, port, process, requests("/predict", None, length))
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[Any]) -> None:
    """Wait until something listens."""
    end = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{process.args} did not start")


def measure(servers: dict[str, Server], clients: int, rounds: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Load one server after the other, round after round."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
    for _ in range(rounds):
        for name, server in servers.items():
            found[name].append(server.load(clients, seconds))
    return found


def row(title: str, clients: int, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the figures of one comparison; the first server is ours."""
    own, *peers = found
    made: dict[str, Any] = {"what": title, "clients": clients, "servers": {}, "ratios": {}}
    for name, rounds in found.items():
        names = ("per_second", "p50_ms", "p99_ms", "cpu_us")
        made["servers"][name] = {k: statistics.median(one[k] for one in rounds) for k in names}
    for name in peers:
        ratios = [a["per_second"] / b["per_second"] for a, b in zip(found[own], found[name], strict=True)]
        goal = GOALS.get((title, name), {}).get(clients)
        made["ratios"][name] = {
            "median": statistics.median(ratios),
            "least": min(ratios),
            "most": max(ratios),
            "goal": goal,
            "cpu": made["servers"][name]["cpu_us"] / made["servers"][own]["cpu_us"],
        }
    return made


def show(made: dict[str, Any]) -> None:
    """Print one comparison as rows of a table."""
    for name, server in made["servers"].items():
        ratio = made["ratios"].get(name)
        compared = "| | "
        if ratio is not None:
            spread = f"{ratio['median']:.1f} ({ratio['least']:.1f} to {ratio['most']:.1f})"
            compared = f"| {spread} | {ratio['goal'] or ''} "
        print(
            f"| {made['what']} | {made['clients']} | {name} | {server['per_second']:.0f} | {server['p50_ms']:.2f} "
            f"| {server['p99_ms']:.2f} | {server['cpu_us']:.0f} {compared}|",
            flush=True,
        )


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="Predictions a second, beside what people use today.")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each server (default: 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn (default: 3)")
    parser.add_argument("--only", default="", help="rows whose name contains this text")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    installed = [name for name in PEERS if name != "litserve" or importlib.util.find_spec("litserve")]
    if len(installed) < len(PEERS):
        print("LitServe is not installed (pip install -e '.[bench]'): its columns are missing")
    print("| what | clients | server | requests/s | p50 ms | p99 ms | CPU µs a request | ours over it | goal |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows = []
    for title, cell, peers, counts in (
        ("vanilla", "vanilla", installed, (1, 16, 64)),
        ("vanilla without a compiler", "vanilla", [n for n in installed if n == "litserve"], (1, 16, 64)),
        ("lstm", "lstm", ["fastapi"], (16, 64)),
        ("gru", "gru", ["fastapi"], (16, 64)),
        ("leaky", "leaky", ["fastapi"], (16, 64)),
        ("session step", "vanilla", ["fastapi"], (1, 16, 64)),
        ("session step over a WebSocket", "vanilla", ["fastapi"], (1, 16, 64)),
    ):
        if options.only not in title:
            continue
        with ExitStack() as stack:
            mine = stack.enter_context(ours("unroll", [cell], kernel="compiler" not in title))
            own, length = mine[cell], 100
            if "session" in title:
                own, length = sessions(own, own.key, cell, socket="WebSocket" in title), 1
            servers = {"unroll": own} | {name: stack.enter_context(peer(name, cell, length)) for name in peers}
            for clients in counts:
                rows.append(row(title, clients, measure(servers, clients, options.rounds, options.seconds)))
                show(rows[-1])
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
