"""`make demo`, as somebody on a fresh machine sees it, with fewer steps."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from tests.servers.deployment import ROOT
from tests.servers.up import embedded, up, wait_until_gone

pytestmark = pytest.mark.timeout(300)  # several services start and stop in each

CURL = 'curl -H "Authorization: Bearer $(cat {folder}/key)"'
DEMO = [sys.executable, str(ROOT / "examples" / "integrate_noise.py")]


def environment() -> dict[str, str]:
    """Of somebody whose shell is configured for another service, which the demo must leave alone."""
    return dict(os.environ) | {
        "UNROLL_URL": "http://127.0.0.1:9",
        "UNROLL_API_KEY": "unroll_0_0",
        "UNROLL_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing",
        "COLUMNS": "100",
    }


def start_demo(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [*DEMO, "--data-dir", str(folder), *arguments]
    return subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )


def run_demo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    demo = start_demo(folder, *arguments)
    try:
        out, err = demo.communicate(timeout=110)
    except BaseException:
        demo.kill()
        raise
    return subprocess.CompletedProcess(demo.args, demo.returncode, out, err)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def jobs(folder: Path) -> list[tuple[str, int]]:
    """Status and step of every job, read as an operator would: beside the service."""
    file = folder / "unroll.db"
    if not file.exists():
        return []
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute("SELECT status, step FROM jobs ORDER BY id").fetchall()
    except sqlite3.OperationalError:  # the tables are being made
        return []
    finally:
        connection.close()


def test_the_demo_trains_tests_shows_and_leaves_nothing_running(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    answer = run_demo(folder, "--steps", "300", "--sequences", "64")
    assert answer.returncode == 0, answer.stderr
    assert wait_until_gone(folder) == {}

    assert re.search(r"predict zero +10\.5 ", answer.stdout)
    mse = [float(value) for value in re.findall(r"replica \d +([0-9.e-]+) +skill", answer.stdout)]
    assert len(mse) == 8
    assert all(0 < value < 5 for value in mse)
    skills = [float(value) for value in re.findall(r"skill (\d\.\d+)", answer.stdout)][:8]
    np.testing.assert_allclose(skills, 1 - np.array(mse) / 10.5, atol=1e-3)
    assert answer.stdout.count("best on held-out data") == 1
    # progress, where nobody watches a terminal: lines on stderr
    assert re.search(r"step \d+ of 300, loss [0-9.]+ \(median of 8", answer.stderr)

    picture = folder / "integrate_noise.png"
    assert str(picture) in answer.stdout
    pixels = matplotlib.image.imread(picture)
    assert pixels.shape[0] > 500
    assert pixels.shape[1] > 1000
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 50  # something is drawn
    job = re.search(r"/v1/jobs/(job_\w+)/metrics", answer.stdout)
    assert job
    assert answer.stdout.endswith(
        f"""
The service of this demo is stopped now. To start it again with these results:
              UNROLL_DATA_DIR={folder} make up
and then, beside it (if port 8000 is taken, `make up` names another one):
In a browser  http://127.0.0.1:8000 and http://127.0.0.1:8000/docs
In a shell    what is below /v1 needs the key, which curl is given here:
Loss curve    {CURL.format(folder=folder)} "http://127.0.0.1:8000/v1/jobs/{job[1]}/metrics?format=csv"
Checkpoints   {CURL.format(folder=folder)} http://127.0.0.1:8000/v1/jobs/{job[1]}/checkpoints
The job       UNROLL_DATA_DIR={folder} unroll watch {job[1]}

A service to keep, with data of its own:
              make up
The SDK in another Python, such as a notebook's:
    python -m pip install -e {ROOT}/sdk
The commands and the SDK in another shell:
    export PATH={Path(sys.executable).parent}:"$PATH"
"""
    )
    assert "/ (for a browser" not in answer.stdout
    assert re.search(r"http://127\.0\.0\.1:\d+ \(for a browser, until this demo ends; documentation: ", answer.stdout)
    assert "note:" not in answer.stderr
    with up(folder, embedded(folder)) as service:
        for line in answer.stdout.splitlines():
            if line.startswith(("Loss curve", "Checkpoints")):
                command = line.split(maxsplit=2 if line.startswith("Loss") else 1)[-1]
                command = command.replace("http://127.0.0.1:8000", service.url)
                done = subprocess.run(["sh", "-c", f"{command} -sf"], capture_output=True, text=True, check=True)
                assert done.stdout.startswith(
                    "name,replica,step,value\n" if line.startswith("Loss") else '{"data":[{"id":"ckpt_'
                )


def test_a_demo_without_the_native_kernel_says_what_that_costs(tmp_path: Path) -> None:
    hidden = os.pathsep.join(map(str, [ROOT / "tests" / "servers" / "no_kernel", ROOT, ROOT / "sdk"]))
    command = [*DEMO, "--data-dir", str(tmp_path / "demo"), "--steps", "20", "--replicas", "2", "--sequences", "8"]
    env = environment() | {"PYTHONPATH": hidden}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    assert "\nnote: the native kernel was not built: there was no C++ compiler, or it failed. " in f"\n{done.stderr}"


def test_a_demo_that_is_killed_leaves_nothing_running_and_does_not_hold_up_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    demo = start_demo(folder, "--steps", "1000000", "--replicas", "2")
    assert until(lambda: any(status == "running" and step > 0 for status, step in jobs(folder)))
    demo.kill()
    demo.communicate()
    assert wait_until_gone(folder, 40) == {}
    again = run_demo(folder, "--steps", "50", "--replicas", "2")
    assert again.returncode == 0, again.stderr
    assert [status for status, _ in jobs(folder)] == ["cancelled", "succeeded"]


def test_ctrl_c_cancels_the_job_stops_the_service_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    demo = start_demo(folder, "--steps", "1000000", "--replicas", "2")
    assert until(lambda: any(status == "running" and step > 0 for status, step in jobs(folder)))
    os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert wait_until_gone(folder) == {}
    assert [status for status, _ in jobs(folder)] == ["cancelled"]


def test_a_service_that_cannot_start_fails_the_demo_with_the_end_of_its_log(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir(mode=0o700)
    with sqlite3.connect(folder / "unroll.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        database.execute("INSERT INTO alembic_version VALUES ('9999')")
    database.close()
    answer = run_demo(folder)
    assert answer.returncode == 1
    assert "error: the demo failed: the service did not start" in answer.stderr
    assert "newer version" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert wait_until_gone(folder) == {}
