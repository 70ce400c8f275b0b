"""A server of its own with something in it, and a run of schemathesis against it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np

from api.cli.serve import listen
from store import keys, schema
from store.db import Database
from store.settings import Settings
from tests.integration.api.serving import JOB, Api, checkpoint, claim, curve
from unroll.contract import NewKey

ROOT = Path(__file__).parent.parent.parent
SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"


@dataclass(frozen=True)
class Target:
    """A running server, a key for it, and what it has."""

    url: str
    key: str
    key_id: str
    known: dict[str, str]
    """Values of parts of paths that lead to something."""


@dataclass(frozen=True)
class Ran:
    """How a run ended."""

    cases: int
    findings: int
    seconds: float
    output: str


@contextmanager
def served(folder: Path) -> Iterator[Target]:
    """Start a server process with a database of its own, which has a model and a job that runs and never ends."""
    settings = Settings(data_dir=folder / "data", secret="the fuzz's secret")  # type: ignore[arg-type]
    schema.migrate(settings)
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    command = [
        sys.executable,
        "-c",
        f"from api.cli import failures, serve; serve.run(failures.load_settings(), {listener.fileno()}, {os.getpid()})",
    ]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("UNROLL_")},
        "UNROLL_DATA_DIR": str(settings.data_dir),
        "UNROLL_SECRET": settings.secret.get_secret_value(),
        "UNROLL_LOG_LEVEL": "error",
    }
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=log, stdout=log, pass_fds=[listener.fileno()]
        )
    listener.close()
    db = Database(settings, pool_size=1)
    try:
        yield _filled(Api(settings, db, url))
        assert process.poll() is None, f"the server ended with {process.returncode}"
    finally:
        db.close()
        process.terminate()
        process.wait(30)


def _filled(api: Api) -> Target:
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx2.get(f"{api.url}/livez", trust_env=False, verify=False)
            break
        except httpx2.TransportError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)
    spare = keys.create(api.db, api.settings.hash_secret, "ours", NewKey(name="spare"))
    with api.client() as client:
        client.post("/v1/models", json={"name": "known", "config": JOB["model"]})
        job = client.post("/v1/jobs", json=JOB | {"model": "known"}).json()["id"]
        lease = claim(api)
        curve(lease, np.ones((50, 2)))
        checkpoint(lease, 50, (0.5, 0.2))
        known = {
            "job_id": job,
            "checkpoint_id": client.get(f"/v1/jobs/{job}/checkpoints").json()["data"][0]["id"],
            "key_id": spare.id,
            "kind": "train",
            "name": "known",
        }
        me = client.get("/v1/me").json()["key"]["id"]
        return Target(api.url, client.headers["authorization"], me, known)


def fuzz(
    target: Target,
    *,
    seed: int,
    examples: int,
    phases: Sequence[str] = ("examples", "coverage", "fuzzing", "stateful"),
    include: Sequence[str] = (),
    seconds: int | None = None,
) -> Ran:
    """Run schemathesis once, or again and again until so many seconds are over.

    `include` names operations; none: all of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(str(SCHEMATHESIS), "--config-file", str(Path(__file__).parent / "schemathesis.toml")),
            *("run", f"{target.url}/openapi.json"),
            *("--header", f"Authorization: {target.key}", "--seed", str(seed), "--max-examples", str(examples)),
            *("--phases", ",".join(phases), "--no-color", "--request-timeout", "90"),
            *(() if seconds is None else ("--max-time", str(seconds))),
            *(option for name in include for option in ("--include-operation-id", name)),
        ]
        environment = os.environ | {
            "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "UNROLL_FUZZ_TARGET": json.dumps({"key_id": target.key_id, "known": target.known}),
        }
        begin = time.monotonic()
        ended = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            text=True,
            capture_output=True,
            check=False,
            timeout=(seconds or 0) + 1_800,
        )
    output = ended.stdout + ended.stderr
    cases = re.search(r"([\d,]+) generated", output)
    found = re.search(r"generated, ([\d,]+) found ([\d,]+) unique failures", output)
    findings = int(found[2].replace(",", "")) if found else 0
    if ended.returncode and not findings:
        findings = 1  # an error of the run itself is one too
    return Ran(int(cases[1].replace(",", "")) if cases else 0, findings, time.monotonic() - begin, output)
