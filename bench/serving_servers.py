"""The servers of bench/serving.py: ours and its peers, each with the requests that it is sent."""

from __future__ import annotations

import base64
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import unroll  # noqa: E402
from bench.service import environment  # noqa: E402

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
    folder: str = ""
    """The service's data."""
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


def requests(path: str, key: str | None, length: int = 100, width: int = 1, *, tensors: bool = False) -> list[bytes]:
    """Return HTTP requests with different sequences, as JSON or as safetensors."""
    chance, made = random.Random(1), []  # noqa: S311 - no secret
    for _ in range(16):
        x = [[round(chance.gauss(0, 1), 6) for _ in range(width)] for _ in range(length)]
        body = save({"inputs": np.array([x], np.float32)}) if tensors else json.dumps({"inputs": [x]}).encode()
        kind = "application/x-safetensors" if tensors else "application/json"
        lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "accept: */*", f"content-type: {kind}"]
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
            yield {cell: Server(name, port, process, requests(path, key), key, folder) for cell, path in models.items()}
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
def peer(which: str, cell: str, length: int = 100, width: int = 1) -> Iterator[Server]:
    """Run a peer."""
    port = free_port()
    command = [sys.executable, str(ROOT / "bench" / "serving_peers.py"), which, cell, str(port), str(width)]
    process = subprocess.Popen(command, env=environment({}), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield Server(which, port, process, requests("/predict", None, length, width))
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
