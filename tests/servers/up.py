"""`unroll-server up` as a user starts it, and the processes that belong to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import unroll
from store.settings import Settings
from tests.servers.deployment import environment
from tests.servers.processes import marked, parents

START_SECONDS = 150.0
STOP_SECONDS = 45.0


def command(*arguments: str) -> list[str]:
    """`unroll-server` with these arguments, whether or not the project is installed."""
    return [sys.executable, "-P", "-m", "api.cli", *arguments]


def run(env: Mapping[str, str], *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        command(*arguments), env=dict(env), capture_output=True, text=True, timeout=timeout, check=False
    )


def embedded(folder: Path, **variables: str) -> dict[str, str]:
    """The environment of an embedded service with its data in `folder`, on a free port, with a short patience."""
    env = environment(Settings(data_dir=folder, port=0))
    env |= {"UNROLL_LEASE_SECONDS": "3", "UNROLL_RECONCILE_SECONDS": "0.5"}
    return env | {f"UNROLL_{name.upper()}": value for name, value in variables.items()}


def family(folder: Path) -> dict[int, str]:
    """Every process on this machine whose data folder this is: its id and command."""
    return marked(f"UNROLL_DATA_DIR={folder}")


def wait_until_gone(folder: Path, seconds: float = 10.0) -> dict[int, str]:
    """The processes that are left after so long; none is what one hopes for."""
    deadline = time.monotonic() + seconds
    while (left := family(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


@dataclass
class Up:
    """A running `unroll-server up`."""

    process: subprocess.Popen[str]
    folder: Path
    log: Path
    url: str

    def client(self) -> unroll.Client:
        """With the key in the data folder."""
        return unroll.Client(self.url, (self.folder / "key").read_text().strip())

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def child(self, text: str) -> int:
        """The id of the one child whose command contains `text`."""
        parent_of = dict(parents())
        children = {
            pid: line
            for pid, line in family(self.folder).items()
            if text in line and parent_of.get(pid) == self.process.pid
        }
        assert len(children) == 1, children
        return next(iter(children))


@contextmanager
def up(folder: Path, env: Mapping[str, str], *arguments: str) -> Iterator[Up]:
    """A service that answers; killed at the end of the block if the test did not stop it."""
    log = folder.with_name(f"{folder.name}.log")
    with log.open("a") as output:
        process = subprocess.Popen(
            command("up", "--with-parent", *arguments),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            process_group=0,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ((folder / "url").is_file() and (url := (folder / "url").read_text().strip())):
            assert process.poll() is None, f"exit code {process.returncode}:\n{log.read_text()}"
            assert time.monotonic() < deadline, f"not ready after {START_SECONDS} s:\n{log.read_text()}"
            time.sleep(0.05)
        yield Up(process, folder, log, url)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pid in family(folder):
            os.kill(pid, signal.SIGKILL)
