"""Further rows of bench/serving.py: bodies of tensors, a busy machine, and what the server takes by itself."""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from bench.service import environment
from bench.serving_servers import Server, ours, peer, requests
from rnn.networks.parameters import initialise
from rnn.networks.weights import dump_weights
from store import leases
from store.checkpoints import NewCheckpoint
from store.db import Database
from store.leases import Report
from store.settings import Settings
from unroll import Client, JobHandle
from unroll.contract import Network, TrainJob

NETWORKS = 1000
CELL = "vanilla"


def network(width: int, hidden: int) -> Network:
    """Return a network with one output."""
    cell = {"type": CELL, "hidden_size": hidden}
    return Network.model_validate({"cell": cell, "input_size": width, "output_size": 1})


def stored(server: Server, of: Network, count: int) -> list[str]:
    """Store untrained networks as checkpoints of one job, and return the paths of their predictions."""
    db = Database(Settings(data_dir=Path(server.folder)), pool_size=1)
    with Client(f"http://127.0.0.1:{server.port}", server.key) as client:
        model = network(1, 2).model_dump(mode="json")
        job = client.train(model=model, data={"name": "integrate_noise"}, training={"steps": count})
        lease = leases.claim(db, "bench", "cpu", 3600.0)
        assert lease is not None
        assert isinstance(lease.config, TrainJob)
        for i in range(count):
            new = NewCheckpoint(
                step=i + 1,
                reason="periodic",
                weights=dump_weights(of, "float32", initialise(of, i, 1)),
                state=b"",
                losses=(1.0,),
                best_replica=0,
                replicas=1,
                network=of,
                dtype="float32",
                data=lease.config.data,
                loss=None,
                keep=count,
            )
            leases.report(lease, Report(checkpoint=new, step=i + 1))
        leases.end(lease, "succeeded")
        ids = [one.id for one in client.jobs.checkpoints(job.id)]
    db.close()
    return [f"/v1/checkpoints/{one}/predict" for one in ids]


def tensors(stack: ExitStack) -> dict[str, Server]:
    """Return a server of a network with 32 inputs that gets safetensors, and its peer, which gets the same as JSON."""
    server = stack.enter_context(ours("unroll", [CELL]))[CELL]
    (path,) = stored(server, network(32, 100), 1)
    server.requests = requests(path, server.key, width=32, tensors=True)
    return {"unroll": server, "fastapi": stack.enter_context(peer("fastapi", CELL, width=32))}


def while_training(stack: ExitStack, clients: int, rounds: int, seconds: float) -> dict[str, list[dict[str, Any]]]:
    """Load the server while a job trains beside it, and while none does, in turns."""
    server = stack.enter_context(ours("unroll", [CELL]))[CELL]
    own = environment({"UNROLL_DATA_DIR": server.folder})
    command = [sys.executable, "-P", "-m", "api.cli", "worker"]
    worker = subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found: dict[str, list[dict[str, Any]]] = {"unroll": [], "unroll alone": []}
    with Client(f"http://127.0.0.1:{server.port}", server.key) as client:
        try:
            for _ in range(rounds):
                job = client.train(model=CELL, data={"name": "integrate_noise"}, training={"steps": 100_000})
                wait(partial(_trains, job))
                found["unroll"].append(server.load(clients, seconds))
                assert job.refresh().status == "running", "the job ended too early to be measured beside"
                job.cancel()
                for _ in job.watch():
                    pass
                found["unroll alone"].append(server.load(clients, seconds))
        finally:
            worker.terminate()
            worker.wait(60)
    return found


def _trains(job: JobHandle) -> bool:
    """Return whether the job has done its first steps."""
    found = job.refresh()
    return found.status == "running" and found.progress is not None and found.progress.step > 0


def wait(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + 90
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def idle() -> dict[str, float]:
    """Return the CPU that the API takes while nobody asks."""
    with ours("unroll", [CELL]) as servers:
        server = servers[CELL]
        server.load(1, 0.5)
        time.sleep(2)
        before, begin = server.cpu(), time.perf_counter()
        time.sleep(20)
        return {"ms of CPU a second": 1000 * (server.cpu() - before) / (time.perf_counter() - begin)}


def many() -> dict[str, float]:
    """Ask every one of many networks, whose weights are more than the API keeps, and then some of them again."""
    with ours("unroll", [CELL]) as servers:
        server = servers[CELL]
        paths = stored(server, network(1, 320), NETWORKS)
        _ask(server, paths[:1])
        first, cold = _memory(server), _ask(server, paths[1:])
        after, warm = _memory(server), _ask(server, paths[-50:])
        gone, again = _ask(server, paths[:50]), _memory(server)
        return {
            "MB with one network": first,
            f"MB with {NETWORKS:,}": after,
            "MB after the first 50 came back": again,
            "ms of a cold one": statistics.median(cold),
            "p99 ms of a cold one": sorted(cold)[int(0.99 * len(cold))],
            "ms of a warm one": statistics.median(warm),
            "ms of one that left and came back": statistics.median(gone),
        }


def _ask(server: Server, paths: list[str]) -> list[float]:
    """Return the milliseconds of one request to each path, on one connection."""
    line = http.client.HTTPConnection("127.0.0.1", server.port)
    body = json.dumps({"inputs": [[[0.5]] * 100]})
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    took = []
    for path in paths:
        begin = time.perf_counter()
        line.request("POST", path, body, headers)
        answer = line.getresponse()
        content = answer.read()
        took.append(1000 * (time.perf_counter() - begin))
        assert answer.status == 200, content
    line.close()
    return took


def _memory(server: Server) -> float:
    """Return the megabytes of memory that the server has."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


ALONE: dict[str, Callable[[], dict[str, float]]] = {"an idle API": idle, "1,000 networks": many}
"""What is measured without a peer, by title."""
