"""The command `unroll`, talking to a scripted server: within this process, or in one of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from unittest import mock

from tests.unit.sdk.scripted_server import ScriptedServer
from unroll.cli import main

COMMAND = [sys.executable, "-c", "from unroll.cli import main; main()"]


def environment(server: ScriptedServer) -> dict[str, str]:
    told = {"UNROLL_URL": server.url, "UNROLL_API_KEY": "secret", "COLUMNS": "200", "TERM": "xterm"}
    return {**os.environ, **told, "PYTHONUNBUFFERED": ""}  # a user's stdout is buffered


def unroll(
    server: ScriptedServer, *arguments: str, stdin: str = "", encoding: str = "utf-8"
) -> subprocess.CompletedProcess[str]:
    """Run the command from its entry point on, in this process. Its streams are no terminals.

    What it reads is UTF-8, as files are, whatever the `encoding` of its streams.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    with (
        mock.patch.multiple(
            sys,
            argv=["unroll", *arguments],
            stdin=io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding=encoding),
            stdout=out,
            stderr=err,
        ),
        mock.patch.dict(os.environ, environment(server)),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        else:
            raise AssertionError("the command returned without an exit code")
    said = [stream.detach().getvalue().decode(encoding) for stream in (out, err)]
    return subprocess.CompletedProcess(list(arguments), int(code or 0), *said)


def spawn(server: ScriptedServer, *arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with `more` variables in its environment."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(server) | more,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
