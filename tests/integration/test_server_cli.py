"""`unroll-server` as a user meets it: real processes, judged by exit codes, what they print and what they leave."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

import unroll
from store import cores
from tests.servers.deployment import ROOT
from tests.servers.processes import free_port
from tests.servers.up import Up, embedded, family, run, up, wait_until_gone
from tests.servers.up import command as unroll_server

pytestmark = pytest.mark.timeout(300)  # several services start and stop in each


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One service for all tests that do not stop it."""
    folder = tmp_path_factory.mktemp("shared") / "data"
    with up(folder, embedded(folder)) as service:
        yield service


def one_line(text: str) -> str:
    """What a command said on stderr, which must be one line and no traceback."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("error: ")
    return lines[0]


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_up_needs_nothing_and_leaves_nothing_running(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with up(folder, embedded(folder)) as service:
        assert mode(folder) == 0o700
        assert mode(folder / "key") == 0o600
        with service.client() as client:
            assert client.ready()
            assert set(client.me().key.scopes) == {"read", "write", "predict", "admin"}
            assert until(lambda: [worker.alive for worker in client.workers()] == [True])
        said = service.log.read_text()
        assert announcement(service) in said
        assert (folder / "key").read_text().strip() not in said
        assert service.stop() == 0
        assert wait_until_gone(folder) == {}
        assert not (folder / "url").exists()


def announcement(service: Up) -> str:
    """All that `up` prints when it is ready. The last line is one to paste."""
    return f"""\
Unroll serves at   {service.url} (a page for a browser)
API documentation  {service.url}/docs (for a browser too; everything below /v1 needs the key)
Key                {service.folder}/key (the SDK and `unroll` find it by themselves here)
Data               {service.folder}
Ctrl-C stops it: running jobs are checkpointed, and go on at the next start.

The SDK in another Python, such as a notebook's:
    python -m pip install -e {ROOT}/sdk
The commands and the SDK in another shell:
    export PATH={Path(sys.executable).parent}:"$PATH"
"""


def test_what_up_says_that_a_browser_can_open_a_browser_can_open(running: Up) -> None:
    for path in ("", "/docs"):
        answer = httpx2.get(running.url + path, headers={"Accept": "text/html"}, trust_env=False)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
    assert (
        "Everything below <code>/v1</code> needs a key."
        in httpx2.get(running.url, headers={"Accept": "text/html"}, trust_env=False).text
    )


def test_the_line_that_up_ends_with_gives_a_shell_the_commands_and_the_sdk(running: Up) -> None:
    line = announcement(running).splitlines()[-1].strip()
    bare = {"PATH": "/usr/bin:/bin", "HOME": "/", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sdk")])}
    script = f"{line}\npython -c 'import unroll, sys; print(sys.executable)'\n"
    script += "for name in unroll-server unroll; do command -v $name || true; done"
    done = subprocess.run(["sh", "-c", script], env=bare, capture_output=True, text=True, check=True, timeout=60)
    here = Path(sys.executable).parent
    assert Path(done.stdout.splitlines()[0]).parent == here
    scripts = [name for name in ("unroll-server", "unroll") if (here / name).exists()]  # none if nothing is installed
    assert done.stdout.splitlines()[1:] == [str(here / name) for name in scripts]


def test_a_job_that_runs_when_it_is_stopped_goes_on_at_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    env = embedded(folder)
    with up(folder, env) as service:
        with service.client() as client:
            job = train(client, steps=1_000_000)
            assert until(lambda: job.refresh().progress.step > 100)
        assert service.stop() == 0
        assert wait_until_gone(folder) == {}
    with up(folder, env) as service, service.client() as client:
        again = client.job(job.id)
        assert until(lambda: again.refresh().attempt == 2 and again.job.progress.step > job.job.progress.step)
        assert again.job.crashes == 0
        again.cancel()


def test_nothing_survives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with up(folder, embedded(folder)) as service:
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        assert wait_until_gone(folder, 30) == {}


def test_with_parent_stops_when_whoever_started_it_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    start = (
        "import subprocess, sys, time, pathlib;"
        "subprocess.Popen([sys.executable, '-P', '-m', 'api.cli', 'up', '--with-parent']);"
        f"url = pathlib.Path({str(folder / 'url')!r});"
        "exec('while not url.exists(): time.sleep(0.05)')"
    )
    subprocess.run([sys.executable, "-c", start], env=embedded(folder), check=True, timeout=60, capture_output=True)
    assert wait_until_gone(folder, 30) == {}


def test_a_second_one_on_the_same_folder_refuses(running: Up) -> None:
    answer = run(embedded(running.folder), "up")
    assert answer.returncode == 1
    line = one_line(answer.stderr)
    assert str(running.folder) in line
    assert str(running.process.pid) in line
    with running.client() as client:
        assert client.ready()


def test_a_port_in_use_gives_way_to_a_free_one_and_ctrl_c_stops_it_as_sigterm_does(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        folder = tmp_path / "data"
        with up(folder, embedded(folder, port=str(port))) as service:
            assert not service.url.endswith(f":{port}")
            assert f"Port {port} is in use" in service.log.read_text()
            assert service.stop(signal.SIGINT) == 0
            assert wait_until_gone(folder) == {}


def test_children_that_are_killed_are_started_again_at_the_same_address(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with up(folder, embedded(folder)) as service, service.client() as client:
        victims = {who: service.child(who) for who in ("api.cli api", "-m worker")}
        for victim in victims.values():
            os.kill(victim, signal.SIGKILL)
        assert until(lambda: service.log.read_text().count("killed by SIGKILL") == 2)
        assert until(lambda: all(_other(service, who, victim) for who, victim in victims.items()))
        assert until(client.ready)
        assert train(client, steps=20).wait(timeout=60).status == "succeeded"


def _other(service: Up, who: str, victim: int) -> bool:
    try:
        return service.child(who) != victim
    except AssertionError:
        return False


def test_a_key_file_that_no_longer_works_is_made_anew_and_one_that_works_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    env = embedded(folder)
    assert run(env, "migrate").returncode == 0
    (folder / "key").write_text("unroll_000000000000_stale\n")
    with up(folder, env) as service, service.client() as client:
        assert "admin" in client.me().key.scopes
        first = (folder / "key").read_text()
        assert mode(folder / "key") == 0o600
        service.stop()
    port = free_port()
    with up(folder, env, "--port", str(port)) as service:
        assert service.url == f"http://127.0.0.1:{port}"
        assert (folder / "key").read_text() == first


def test_a_key_from_the_command_line_works_until_it_is_revoked(running: Up) -> None:
    env = embedded(running.folder)
    made = run(env, "key", "create", "--name", "reader", "--scopes", "read", "--expires-days", "1")
    assert made.returncode == 0
    secret = made.stdout.strip()  # alone on stdout, so that a script can catch it
    with unroll.Client(running.url, secret) as client:
        assert client.me().key.scopes == ["read"]
        key_id = client.me().key.id
        with pytest.raises(unroll.PermissionDeniedError):
            client.models.register("m", NETWORK)
    listed = run(env, "key", "list", "-o", "json")
    assert key_id in [key["id"] for key in json.loads(listed.stdout)]
    assert secret not in listed.stdout
    assert key_id in run(env, "key", "list").stdout
    assert run(env, "key", "revoke", key_id).returncode == 0
    with unroll.Client(running.url, secret) as client, pytest.raises(unroll.AuthenticationError):
        client.me()


def test_a_key_of_another_tenant_sees_nothing_of_this_one(running: Up) -> None:
    env = embedded(running.folder)
    made = run(env, "key", "create", "--name", "other", "--tenant", "other-lab", "-o", "json")
    key = json.loads(made.stdout)
    with running.client() as client:
        client.models.register("private", NETWORK)
    with unroll.Client(running.url, key["secret"]) as client:
        assert client.me().key.tenant == "other-lab"
        assert list(client.models.list()) == []
    assert run(env, "key", "revoke", key["id"]).returncode == 1, "a key is revoked by its own tenant's name"
    assert run(env, "key", "revoke", key["id"], "--tenant", "other-lab").returncode == 0


def test_names_and_paths_are_told_in_encodings_that_lack_their_letters(tmp_path: Path) -> None:
    env = embedded(tmp_path / "λ日本") | {"PYTHONIOENCODING": "ascii"}
    assert run(env, "migrate").returncode == 0
    assert run(env, "key", "create", "--name", "日本").returncode == 0
    for command in (["key", "list"], ["doctor"]):
        told = run(env, *command)
        assert (told.returncode, told.stderr) == (0, "")
        assert "\\u65e5\\u672c" in told.stdout


def test_limits_are_set_on_the_server_and_told_to_the_key(running: Up) -> None:
    env = embedded(running.folder)
    made = run(env, "key", "create", "--name", "k", "--tenant", "small", "--limit", "queued_jobs=5", "-o", "json")
    key = json.loads(made.stdout)
    assert run(env, "tenant", "limit", "small", "--weight", "3", "running_jobs=2", "streams=9").returncode == 0
    assert "running_jobs  2" in run(env, "tenant", "limit", "small", "streams=null").stdout
    changed = run(env, "key", "limit", key["id"], "--tenant", "small", "job_seconds=60", "--max-active-jobs", "4")
    assert changed.returncode == 0, changed.stderr
    assert json.loads(run(env, "tenant", "list", "-o", "json").stdout) == [
        {"tenant": "small", "weight": 3, "limits": {"running_jobs": 2} | dict.fromkeys(UNSET)}
    ]
    with unroll.Client(running.url, key["secret"]) as client:
        me = client.me()
        assert (me.weight, me.key.max_active_jobs) == (3, 4)
        assert me.key_limits.told() == {"queued_jobs": "0 of 5", "job_seconds": "60", "sessions": "0 of 1,000"}
        assert me.tenant_limits.told() == {"running_jobs": "0 of 2"}
    for wrong in ("queued_jobs", "jobs=1", "queued_jobs=many", "queued_jobs=0"):
        refused = run(env, "tenant", "limit", "small", wrong)
        assert refused.returncode == 2
        assert one_line(refused.stderr)


UNSET = ("queued_jobs", "job_seconds", "stored_bytes", "streams", "requests_per_minute", "held_bodies", "sessions")


def test_wrong_scopes_and_names_are_refused_in_one_line(running: Up) -> None:
    answer = run(embedded(running.folder), "key", "create", "--name", "x", "--scopes", "everything")
    assert answer.returncode == 2
    assert "scopes" in one_line(answer.stderr)


def test_doctor_finds_nothing_wrong_with_a_running_service(running: Up) -> None:
    def healthy() -> bool:
        answer = run(embedded(running.folder), "doctor", "-o", "json", timeout=120)
        report = json.loads(answer.stdout)
        assert answer.returncode == 0, report
        assert report["healthy"]
        verdicts = {check["name"]: check["verdict"] for check in report["checks"]}
        # A note where there is no compiler to build it.
        assert verdicts.pop("kernel") in {"ok", "note"}
        return set(verdicts.values()) == {"ok"} and "torch" in verdicts

    assert until(healthy, 60)


def test_doctor_looks_at_a_machine_before_anything_was_started_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    answer = run(embedded(folder), "doctor", timeout=120)
    assert answer.returncode == 0, answer.stdout
    assert "unroll-server up" in answer.stdout
    found = cores.allowed()
    counted = "1 core" if found == 1 else f"{found} cores"
    assert f"at most {found} a trainer, fewer for a small network: {counted} for 1 worker\n" in answer.stdout
    assert not folder.exists()


def test_doctor_names_what_is_broken(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    env = embedded(folder)
    assert run(env, "migrate").returncode == 0
    assert run(env, "key", "create", "--name", "x").returncode == 0
    (folder / "key").write_text("unroll_000000000000_stale\n")
    (folder / "key").chmod(0o600)
    (folder / "url").write_text(f"http://127.0.0.1:{free_port()}\n")
    env |= {"UNROLL_BROKER_URL": f"redis://:secret@127.0.0.1:{free_port()}/0", "UNROLL_DEVICE": "cuda"}
    answer = run(env, "doctor", "-o", "json", timeout=120)
    assert answer.returncode == 1
    report = json.loads(answer.stdout)
    broken = {check["name"] for check in report["checks"] if check["verdict"] == "broken"}
    torch = next(check["detail"] for check in report["checks"] if check["name"] == "torch")
    expected = {"broker", "key", "api"} | ({"torch"} if "not available" in torch else set())
    assert broken == expected
    assert not report["healthy"]
    assert "secret" not in answer.stdout + answer.stderr


EVERY = ["up", "api", "worker", "migrate", "key create --name x", "key list", "key revoke key_x"]
CURE = "set UNROLL_DATA_DIR to a folder that this user may write to"


@pytest.mark.parametrize("command", EVERY)
def test_a_data_folder_that_is_a_file_or_lies_below_one_is_one_line_that_names_it_and_the_cure(
    tmp_path: Path, command: str
) -> None:
    file = tmp_path / "file"
    file.touch()
    answer = run(embedded(file), *command.split())
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr == f"error: UNROLL_DATA_DIR: {file} is a file, not a folder; {CURE}\n"
    answer = run(embedded(file / "data"), *command.split())
    assert answer.returncode == 2
    assert answer.stderr == (f"error: UNROLL_DATA_DIR: {file}/data cannot be made, because {file} is a file; {CURE}\n")


@pytest.mark.parametrize("command", EVERY)
def test_a_data_folder_that_this_user_may_not_write_to_is_one_line_that_names_it_and_the_cure(
    tmp_path: Path, command: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o500)
    answer = run_without_roots_rights(embedded(folder), *command.split())
    assert answer.returncode == 2
    assert answer.stderr == f"error: UNROLL_DATA_DIR: {folder} is a folder that this user may not write to; {CURE}\n"
    answer = run_without_roots_rights(embedded(folder / "data"), *command.split())
    assert answer.returncode == 2
    assert answer.stderr == (
        f"error: UNROLL_DATA_DIR: {folder}/data cannot be made, because this user may not write to {folder}; {CURE}\n"
    )


def run_without_roots_rights(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that may write only what its user may, even where the tests run as root."""

    def drop() -> None:
        if os.getuid() == 0:
            drop_from_bounding_set, may_write_everything = 24, 1
            assert ctypes.CDLL(None).prctl(drop_from_bounding_set, may_write_everything, 0, 0, 0) == 0

    return subprocess.run(
        unroll_server(*arguments), env=env, capture_output=True, text=True, timeout=60, check=False, preexec_fn=drop
    )


def test_the_worker_alone_says_the_same_of_its_data_folder_and_of_unknown_variables(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    env = embedded(file) | {"UNROLL_THREAD": "2"}
    answer = subprocess.run(
        [sys.executable, "-m", "worker"], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 2
    assert answer.stderr == (
        "warning: UNROLL_THREAD is no setting of Unroll and is ignored; did you mean UNROLL_THREADS?\n"
        f"error: UNROLL_DATA_DIR: {file} is a file, not a folder; {CURE}\n"
    )


def test_doctor_says_the_same_of_the_data_folder_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    answer = run(embedded(file), "doctor", "-o", "json", timeout=120)
    assert (answer.returncode, answer.stderr) == (1, "")
    checks = {check["name"]: check for check in json.loads(answer.stdout)["checks"]}
    assert checks["data folder"]["verdict"] == "broken"
    assert checks["data folder"]["detail"] == f"UNROLL_DATA_DIR: {file} is a file, not a folder; {CURE}"
    assert [name for name, check in checks.items() if check["verdict"] == "broken"] == ["data folder"]


@pytest.mark.parametrize("command", [*EVERY, "doctor"])
def test_every_command_warns_once_of_a_variable_that_is_no_setting(tmp_path: Path, command: str) -> None:
    env = embedded(tmp_path / "data") | {"UNROLL_WORKER": "2", "UNROLL_HOST": "no.such.host.invalid"}
    env |= {"UNROLL_URL": "http://127.0.0.1:9", "UNROLL_API_KEY": "k", "UNROLL_FAILPOINT": "", "UNROLL_DEVICE": "cuda"}
    answer = run(env | {"CUDA_VISIBLE_DEVICES": ""}, *command.split(), timeout=120)
    assert [line for line in answer.stderr.splitlines() if line.startswith("warning: ")] == [
        "warning: UNROLL_WORKER is no setting of Unroll and is ignored; did you mean UNROLL_WORKERS?"
    ]


def test_up_and_the_processes_that_it_starts_warn_once_together(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with up(folder, embedded(folder) | {"UNROLL_WORKER": "2"}) as service, service.client() as client:
        assert until(lambda: [worker.alive for worker in client.workers()] == [True])
        assert service.log.read_text().count("UNROLL_WORKER ") == 1


NO_CUDA = (
    "error: UNROLL_DEVICE=cuda, but torch sees no CUDA device; without this variable the worker trains on the CPU, and "
    "`unroll-server doctor` tells which torch is installed\n"
)


def test_up_ends_with_the_reason_where_its_worker_has_no_gpu_and_announces_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    env = embedded(folder, device="cuda", log_level="warning") | {"CUDA_VISIBLE_DEVICES": ""}
    answer = run(env, "up", timeout=120)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr == f"{NO_CUDA}error: Worker 1 cannot work (exit code 2); the reason is above.\n"
    assert wait_until_gone(folder) == {}
    assert not (folder / "url").exists()


def test_up_gives_up_a_worker_that_dies_again_and_again_within_seconds(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if '-m' in sys.orig_argv and 'worker' in sys.orig_argv:\n"
        "    sys.stderr.write('a worker fell over\\n'); sys.stderr.flush()\n"
        "    import os; os._exit(7)\n"
    )
    folder = tmp_path / "data"
    env = embedded(folder, log_level="warning")
    env |= {"PYTHONPATH": os.pathsep.join([str(tmp_path), env["PYTHONPATH"]])}
    answer = run(env, "up", timeout=120)
    assert answer.returncode == 1
    assert answer.stderr.splitlines() == [
        "a worker fell over",
        "worker 1 ended (exit code 7); it is started again in 0.5 s",
        "a worker fell over",
        "worker 1 ended (exit code 7); it is started again in 1 s",
        "a worker fell over",
        "worker 1 ended (exit code 7); it is started again in 2 s",
        "a worker fell over",
        "worker 1 ended (exit code 7); it is started again in 4 s",
        "a worker fell over",
        "error: Worker 1 ended 5 times within seconds of its start (the last time: exit code 7); the reason is above.",
    ]
    assert wait_until_gone(folder) == {}


def test_without_a_compiler_up_and_doctor_say_what_it_costs_and_how_to_get_the_kernel(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    env = embedded(folder)
    env |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "servers" / "no_kernel"), env["PYTHONPATH"]])}
    with up(folder, env) as service:
        assert f"note: {NO_KERNEL}\n" in service.log.read_text()
    answer = run(env, "doctor", "-o", "json", timeout=120)
    kernel = next(check for check in json.loads(answer.stdout)["checks"] if check["name"] == "kernel")
    assert (kernel["verdict"], kernel["detail"]) == ("note", NO_KERNEL)


def test_without_a_compiler_the_summary_of_make_says_the_same(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    # an environment that works and needs nothing installed, without the kernel
    (venv / "bin" / "pip").write_text(f"{ROOT}/{venv}/bin/python")
    path = os.pathsep.join(map(str, [ROOT / "tests" / "servers" / "no_kernel", ROOT, ROOT / "sdk"]))
    python.write_text(f'#!/bin/sh\nPYTHONPATH={path} exec {sys.executable} "$@"\n')
    python.chmod(0o700)
    command = ["make", "-C", str(ROOT), f"VENV={venv}", "PIP=true", f"{venv}/.runtime"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"note: {NO_KERNEL}\n" in done.stdout
    python.write_text("#!/bin/sh\necho native, avx2\n")
    (venv / ".runtime").unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "note:" not in done.stdout


NO_KERNEL = (
    "the native kernel was not built: there was no C++ compiler, or it failed. Training on a CPU works without it, but "
    "takes roughly 2 to 4 times as long, and small networks up to 10 times. To get it, install a C++ compiler (Debian, "
    f"Ubuntu: apt-get install g++; macOS: xcode-select --install) and run: {sys.executable} {ROOT}/rnn/kernels/build.py"
)


def test_the_whole_service_works_where_nothing_is_that_only_linux_has_and_ends_with_its_supervisor(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "data"
    env = embedded(folder, lease_seconds="3600")  # a dead worker's job is given back: it does not wait for the lease
    env |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "servers" / "elsewhere"), env["PYTHONPATH"]])}
    with up(folder, env) as service:
        with service.client() as client:
            assert train(client, steps=50).wait(timeout=100).status == "succeeded"
            running = train(client, steps=1_000_000)
            assert until(lambda: running.refresh().progress.step > 0, 60)
            os.kill(service.child("-m worker"), signal.SIGKILL)  # its trainer ends with it, and the job goes on
            assert until(lambda: running.refresh().attempt == 2 and running.refresh().status == "running", 60)
            cause = next(event.data for event in running.events() if event.type == "interrupted")
            assert (cause["cause"], cause["crashes"]) == ("crashed", 1)
            assert "killed by SIGKILL" in cause["message"]
            assert len(list(client.workers())) == 1
            assert sum("spawn_main" in line for line in family(folder).values()) == 1
            running.cancel()
            assert until(lambda: running.refresh().status == "cancelled", 60)
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        assert wait_until_gone(folder, 30) == {}


@pytest.mark.parametrize("command", ["up", "api", "worker", "migrate", "key list", "doctor"])
def test_a_database_of_a_newer_version_is_refused(tmp_path: Path, command: str) -> None:
    folder = tmp_path / "data"
    env = embedded(folder)
    assert run(env, "migrate").returncode == 0
    with sqlite3.connect(folder / "unroll.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    answer = run(env, *command.split(), timeout=120)
    assert answer.returncode == (1 if command == "doctor" else 2)
    assert "newer version" in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr
    if command != "doctor":
        assert "9999" in one_line(answer.stderr)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("UNROLL_PORT", "99999"),
        ("UNROLL_WORKERS", "many"),
        ("UNROLL_LEASE_SECONDS", "0"),
        ("UNROLL_HOST", "no.such.host.invalid"),
        ("UNROLL_DATABASE_URL", "mysql://user:hidden@localhost/unroll"),
        ("UNROLL_DATABASE_URL", "not a url, hidden"),
        ("UNROLL_BROKER_URL", "amqp://user:hidden@localhost"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(tmp_path: Path, variable: str, value: str) -> None:
    answer = run(embedded(tmp_path / "data") | {variable: value}, "up")
    assert answer.returncode == 2
    assert variable in one_line(answer.stderr)
    assert "hidden" not in answer.stderr


def test_a_shared_database_needs_a_shared_secret(tmp_path: Path) -> None:
    env = embedded(tmp_path / "data") | {"UNROLL_DATABASE_URL": "postgresql://u@127.0.0.1:1/none", "UNROLL_SECRET": ""}
    answer = run(env, "api")
    assert answer.returncode == 2
    assert "UNROLL_SECRET" in one_line(answer.stderr)


def test_a_database_that_is_away_is_one_line(tmp_path: Path) -> None:
    url = f"postgresql://u:hidden@127.0.0.1:{free_port()}/none"
    env = embedded(tmp_path / "data") | {"UNROLL_DATABASE_URL": url, "UNROLL_SECRET": "s"}
    for command in (["up"], ["api"], ["migrate"], ["key", "list"]):
        answer = run(env, *command)
        assert answer.returncode == 1
        assert "database" in one_line(answer.stderr)
        assert "hidden" not in answer.stderr


def test_the_api_alone_refuses_a_port_in_use_and_an_empty_database(tmp_path: Path) -> None:
    env = embedded(tmp_path / "data")
    assert "unroll-server migrate" in one_line(run(env, "api").stderr)
    assert run(env, "migrate").returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = run(env | {"UNROLL_PORT": str(taken.getsockname()[1])}, "api")
    assert answer.returncode == 1
    assert "in use" in one_line(answer.stderr)


def test_the_command_answers_at_once_and_loads_nothing_heavy() -> None:
    code = (
        "import time, sys; begin = time.perf_counter(); import api.cli; took = time.perf_counter() - begin;"
        "heavy = {'torch', 'fastapi', 'sqlalchemy', 'celery', 'rnn', 'numpy', 'alembic'} & set(sys.modules);"
        "print(took, *heavy)"
    )
    took, *heavy = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert heavy == []
    assert float(took) < 5.0  # ten times the promise


NETWORK = {"cell": {"type": "vanilla", "hidden_size": 4}, "input_size": 1, "output_size": 1}


def train(client: unroll.Client, *, steps: int) -> unroll.JobHandle:
    return client.train(
        model=NETWORK,
        data={"type": "task", "name": "integrate_noise"},
        training={"steps": steps, "batch_size": 4, "log_every": 100},
    )
