"""The command `unroll` in a process of its own, talking to a scripted server."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.unit.sdk.scripted_server import ScriptedServer

COMMAND = [sys.executable, "-c", "from unroll.cli import main; main()"]


def environment(server: ScriptedServer) -> dict[str, str]:
    return {**os.environ, "UNROLL_URL": server.url, "UNROLL_API_KEY": "secret", "COLUMNS": "200", "TERM": "xterm"}


def unroll(server: ScriptedServer, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(server),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
