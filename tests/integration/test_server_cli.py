"""`unroll-server` as a user meets it: real processes, judged by exit codes, what they print and what they leave."""

from __future__ import annotations

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

import pytest

import unroll
from tests.servers.processes import free_port
from tests.servers.up import Up, embedded, run, up, wait_until_gone

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
        assert service.url in said
        assert f"{service.url}/docs" in said
        assert str(folder / "key") in said
        assert (folder / "key").read_text().strip() not in said
        assert service.stop() == 0
        assert wait_until_gone(folder) == {}
        assert not (folder / "url").exists()


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
