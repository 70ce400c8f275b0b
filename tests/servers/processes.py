"""Server processes that end with the tests, however these end."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
PROC = Path("/proc")
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)


def free_port() -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(
    command: Sequence[str | Path],
    log: Path,
    *,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    death: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen[bytes]:
    """Start a server, as another user or in an environment of its own.

    The kernel sends it `death` when the tests' process dies, be it by SIGKILL (on Linux).
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        if _PRCTL is not None:
            _PRCTL(PR_SET_PDEATHSIG, death)
            if os.getppid() != parent:  # it died before the call
                os._exit(1)

    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,  # Ctrl-C reaches pytest alone, which then stops the servers in order
            preexec_fn=die_with_parent,  # noqa: PLW1509 - it makes one system call and takes no lock
            **({} if env is None else {"env": dict(env)}) | _as_user(user),
        )


def run_as(user: str | None, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end as another user; its output is captured."""
    return subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **_as_user(user))


def _as_user(user: str | None) -> dict[str, object]:
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {
        "user": entry.pw_uid,
        "group": entry.pw_gid,
        "extra_groups": [],
        "env": {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/", "LC_ALL": "C"},
    }


def parents() -> Iterator[tuple[int, int]]:
    """Every process that runs (one that only waits to be reaped does not), and its parent."""
    if not PROC.is_dir():
        for line in _ps("-A", "-o", "pid=,ppid=,stat="):
            pid, parent, state = line.split(maxsplit=2)
            if not state.startswith("Z"):
                yield int(pid), int(parent)
        return
    for status in PROC.glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            yield int(status.parent.name), int(fields[1])


def marked(setting: str) -> dict[int, str]:
    """Every other process that has this `NAME=value` in its environment: its id and command."""
    found = {}
    if not PROC.is_dir():
        # with the environment after the command, in which nothing separates two variables
        on_macos = sys.platform == "darwin"
        for line in _ps(*(("-A", "-E", "-ww", "-o", "pid=,command=") if on_macos else ("axeww", "-o", "pid=,args="))):
            pid, _, rest = line.strip().partition(" ")
            if f" {setting} " in f"{rest} " and int(pid) != os.getpid():
                found[int(pid)] = rest
        return found
    for process in PROC.iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if setting.encode() in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return {pid: line for pid, line in found.items() if line}  # a zombie has no command line


def _ps(*arguments: str) -> list[str]:
    return subprocess.run(["ps", *arguments], capture_output=True, text=True, check=True).stdout.splitlines()


def scratch(kind: str, user: str | None = None) -> Path:
    """An empty folder for a server, named by this process; folders of processes that were killed are removed."""
    base = Path("/tmp") if os.access("/tmp", os.W_OK) else Path(tempfile.gettempdir())  # macOS's own is too private
    for old in base.glob("unroll-test-*-*-*"):
        pid = old.name.split("-")[3]
        if pid.isdigit() and not _alive(int(pid)) and old.owner() in {user, pwd.getpwuid(os.getuid()).pw_name}:
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"unroll-test-{kind}-{os.getpid()}-", dir=base))
    if user is not None:
        shutil.chown(folder, user)
    return folder


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
