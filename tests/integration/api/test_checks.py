"""Gradient checks over HTTP, each in a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.checks import Checks, ClientGone
from api.errors import Refused
from tests.integration.api.serving import Api, pointers, problem
from unroll.contract import Check, CheckRequest

NETWORK: dict[str, Any] = {"cell": {"hidden_size": 3}, "input_size": 1, "output_size": 1}
SMALL = {"model": NETWORK, "time_steps": 3, "entries": 2}
REQUEST = CheckRequest.model_validate(SMALL)
SLEEPS = (sys.executable, "-c", "import sys, time; print(sys.stdin.readline(), file=sys.stderr); time.sleep(60)")


async def _nobody_left() -> bool:
    return False


def test_a_registered_model_passes_and_other_tenants_cannot_check_it(client: httpx2.Client, stranger: httpx2.Client):
    client.post("/v1/models", json={"name": "net", "config": NETWORK})
    answer = client.post("/v1/checks", json=SMALL | {"model": "net"})
    assert answer.status_code == 200, answer.text
    found = Check.model_validate_json(answer.content)
    assert found.passed
    assert found.parameters == 22
    assert [len(profile) for profile in found.lag_profile] == [3]
    assert pointers(stranger.post("/v1/checks", json=SMALL | {"model": "net"})) == ["/model"]


def test_what_is_wrong_is_named_before_any_process_starts(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    lstm = {"cell": {"type": "lstm", "hidden_size": 64}, "input_size": 1, "output_size": 1}
    for body, pointer in (
        (SMALL | {"time_steps": 10**6}, "/time_steps"),
        (SMALL | {"bptt": {"window": 4}}, "/bptt/window"),
        ({"model": lstm, "time_steps": 200, "entries": 1000}, "/entries"),
        ({"model": NETWORK | {"cell": {"type": "leaky", "hidden_size": 3, "tau": 0.5}}}, "/model/cell/tau"),
    ):
        assert pointers(client.post("/v1/checks", json=body)) == [pointer]


def test_a_check_needs_the_scope_to_write(shared: tuple[Api, httpx2.Client]):
    api, _ = shared
    with api.client("read", "predict") as reader:
        problem(reader.post("/v1/checks", json=SMALL), 403, "missing_scope")


def test_a_network_that_overflows_is_the_requests_fault(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    loud = NETWORK | {"cell": {"type": "linear", "hidden_size": 3}}
    loud["initialisation"] = {"type": "gaussian", "gain": 100.0}
    answer = client.post("/v1/checks", json={"model": loud, "time_steps": 200, "entries": 1})
    assert problem(answer, 422, "validation_failed")["errors"][0]["code"] == "not_finite"


def test_so_is_one_whose_gradients_norm_overflows(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    loud = {
        "cell": {"type": "vanilla", "hidden_size": 9, "activation": "identity"},
        "input_size": 1,
        "output_size": 17,
        "num_layers": 2,
        "initialisation": {"type": "gaussian", "gain": 1.5},
    }
    sizes = {"time_steps": 12, "batch_size": 7, "entries": 4, "seed": 78}
    answer = client.post("/v1/checks", json={"model": loud, "loss": {"type": "poisson"}} | sizes)
    assert problem(answer, 422, "validation_failed")["errors"][0]["code"] == "not_finite"


def test_a_wrong_gradient_in_the_child_is_reported_as_failed(tmp_path: Path):
    """The child of this test has an engine that forgets a part of one gradient."""
    script = tmp_path / "broken.py"
    script.write_text(
        "from rnn.bptt.whole import BPTT\n"
        "backward = BPTT.backward\n"
        "def broken(engine):\n"
        "    backward(engine)\n"
        "    engine.layers[0].spec.gradients['W_xh'].mul_(0.999)\n"
        "BPTT.backward = broken\n"
        "from rnn.gradient_check.__main__ import main\n"
        "main()\n"
    )
    content = asyncio.run(Checks((sys.executable, str(script))).run(REQUEST, _nobody_left))
    found = Check.model_validate_json(content)
    assert not found.passed
    wrong = {tensor.name for engine in found.engines for tensor in engine.tensors if not tensor.passed}
    assert wrong == {"layers.0.W_xh"}


def test_one_that_takes_too_long_is_ended_and_another_waits_its_turn_only_so_long():
    async def both() -> list[Any]:
        checks = Checks(SLEEPS, seconds=2.0, wait=0.5)
        runs = [checks.run(REQUEST, _nobody_left) for _ in range(2)]
        return list(await asyncio.gather(*runs, return_exceptions=True))

    refused = asyncio.run(both())
    assert [one.code for one in refused if isinstance(one, Refused)] == ["time_limit_exceeded", "busy"]


def test_when_the_client_goes_away_the_process_is_killed(tmp_path: Path):
    file = tmp_path / "pid"
    command = (
        sys.executable,
        "-c",
        f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(60)",
    )

    async def gone() -> bool:
        return file.exists() and bool(file.read_text())

    with pytest.raises(ClientGone):
        asyncio.run(Checks(command).run(REQUEST, gone))
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)


def test_the_route_hears_that_the_client_has_gone(shared: tuple[Api, httpx2.Client]):
    """Else the second check would be told that the first one, of about half a minute, is still running."""
    _, client = shared
    slow = {"model": NETWORK | {"cell": {"hidden_size": 20}}, "time_steps": 200, "entries": 1000}
    with pytest.raises(httpx2.TimeoutException):
        client.post("/v1/checks", json=slow, timeout=1)
    assert client.post("/v1/checks", json=SMALL, timeout=60).status_code == 200


def test_a_process_that_dies_is_the_servers_fault():
    with pytest.raises(RuntimeError, match="ended with 3"):
        asyncio.run(Checks((sys.executable, "-c", "raise SystemExit(3)")).run(REQUEST, _nobody_left))


def test_the_child_ends_when_its_stdin_closes():
    child = subprocess.Popen(
        (sys.executable, "-m", "rnn.gradient_check"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    slow = CheckRequest.model_validate(SMALL | {"time_steps": 150, "entries": 1000, "model": NETWORK})
    child.stdin.write(slow.model_dump_json() + "\n")
    child.stdin.close()
    assert child.wait(60) == 1
    assert child.stdout is not None
    assert child.stdout.read() == ""
    child.stdout.close()


def test_the_child_leaves_blas_one_thread_whatever_it_was_started_with():
    """Threads are counted once all is imported: NumPy's BLAS starts its own as it is loaded."""
    counts = "import os, rnn.gradient_check.__main__; print(len(os.listdir('/proc/self/task')))"
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "4"}
    child = subprocess.run((sys.executable, "-c", counts), env=environment, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "1"
