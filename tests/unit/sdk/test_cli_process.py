"""The command as an installed program: what only a process of its own can show."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.unit.sdk import examples
from tests.unit.sdk.command import COMMAND, environment, spawn, unroll
from tests.unit.sdk.scripted_server import Answer, ScriptedServer, file, problem
from tests.unit.sdk.service import DONE, Service

ERROR = {"code": "crashed", "message": "it crashed", "log": "the last line\n"}


def test_a_process_ends_with_0_its_result_on_stdout_and_its_remarks_on_stderr(server: ScriptedServer) -> None:
    server.script = Service(DONE)
    ended = spawn(server, "train", "-f", "-", "-o", "json", stdin=json.dumps(examples.CONFIG))
    assert (ended.returncode, ended.stderr.splitlines()[0]) == (0, "submitted job_1")
    assert json.loads(ended.stdout)["status"] == "succeeded"


def test_a_process_ends_with_3_when_the_job_failed(server: ScriptedServer) -> None:
    server.script = Service({"status": "failed", "error": ERROR})
    ended = spawn(server, "watch", "job_1")
    assert ended.returncode == 3
    assert "the last line" in ended.stderr
    assert "error\tit crashed (crashed)\n" in ended.stdout


def test_a_process_ends_with_1_or_2_without_a_traceback_when_it_was_refused(server: ScriptedServer) -> None:
    server.script = lambda _: problem(404, "not_found")
    for arguments, code in ((["jobs", "job_1"], 1), (["watch"], 2)):
        ended = spawn(server, *arguments)
        assert (ended.returncode, ended.stdout) == (code, "")
        assert "Traceback" not in ended.stderr


def test_no_server_is_5(server: ScriptedServer) -> None:
    server.url = "http://127.0.0.1:9"
    ended = spawn(server, "jobs")
    assert ended.returncode == 5
    (line,) = ended.stderr.splitlines()
    assert line.startswith("unroll: http://127.0.0.1:9 cannot be reached (")
    assert line.endswith("or mend UNROLL_URL")


def test_a_wrong_address_is_one_line(server: ScriptedServer) -> None:
    ended = spawn(server, "jobs", UNROLL_URL="127.0.0.1:8000")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "did you mean http://127.0.0.1:8000?" in line


def test_a_data_folder_that_does_not_exist_is_one_line(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unroll._settings.DEFAULT_URL", "http://127.0.0.1:9")  # at the true one a server may run
    monkeypatch.setenv("UNROLL_DATA_DIR", str(tmp_path / "none"))
    server.url = ""
    ended = unroll(server, "jobs")
    assert ended.returncode == 5
    (line,) = ended.stderr.splitlines()
    assert "which does not exist; start it" in line


def test_a_refused_key_is_told_with_where_it_came_from(server: ScriptedServer) -> None:
    server.script = lambda _: problem(401, "unauthorized")
    ended = spawn(server, "jobs")
    assert ended.returncode == 1
    assert "  The key that was sent is from UNROLL_API_KEY" in ended.stderr


@pytest.mark.parametrize("count", [1, 2000], ids=["written at the end", "written on the way"])
def test_a_reader_that_has_seen_enough_ends_the_command_quietly(server: ScriptedServer, count: int) -> None:
    page = {"data": [examples.job(id=f"job_{n}", name="x" * 100) for n in range(count)], "next": None}
    server.script = lambda _: Answer(body=page)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [*COMMAND, "jobs", "--limit", "2000"],
            env=environment(server),
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_text_is_shown_in_a_locale_that_lacks_its_letters(server: ScriptedServer) -> None:
    server.script = lambda _: Answer(body=examples.job(labels={"lab": "Zürich"}))
    ended = spawn(server, "jobs", "job_1", PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "labels\tlab:Z\\xfcrich\n" in ended.stdout


def test_a_file_goes_through_stdout_byte_by_byte(server: ScriptedServer) -> None:
    content = bytes(range(256)) * 3
    server.script = lambda _: file(content)
    ended = subprocess.run(
        [*COMMAND, "artifacts", "job_1", "model.onnx", "--to", "-"],
        env=environment(server),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, content, b"")


def follow_on_a_terminal(server: ScriptedServer, *arguments: str) -> tuple[int, subprocess.Popen[bytes]]:
    control, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(server),
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    return control, process


def read_until(control: int, text: str, seconds: float = 30.0) -> str:
    said = ""
    deadline = time.monotonic() + seconds
    while text not in said and time.monotonic() < deadline and select.select([control], [], [], 0.2)[0] is not None:
        try:
            if select.select([control], [], [], 0.1)[0]:
                said += os.read(control, 4096).decode(errors="replace")
        except OSError:  # the terminal was closed at the other end
            break
    return said


@pytest.mark.parametrize("arguments", [["watch", "job_1"], ["train", "-f", "-"]])
def test_ctrl_c_detaches_and_never_cancels(server: ScriptedServer, tmp_path: Path, arguments: list[str]) -> None:
    server.script = Service()  # runs for ever
    if "-" in arguments:
        file = tmp_path / "job.json"
        file.write_text(json.dumps(examples.CONFIG))
        arguments = ["train", "-f", str(file)]
    control, process = follow_on_a_terminal(server, *arguments)
    try:
        bar = read_until(control, "step 10 of 100")
        assert "loss 0.375 (median of 2, 0.25 to 0.5)" in bar
        assert "0:02 left" in bar
        process.send_signal(signal.SIGINT)
        said = read_until(control, "unroll watch job_1")
        assert "the job goes on: unroll watch job_1" in said
        assert process.wait(20) == 130
    finally:
        process.kill()
        process.communicate()
        os.close(control)
    assert not any(seen.path.endswith("/cancel") or seen.method == "DELETE" for seen in server.seen)
