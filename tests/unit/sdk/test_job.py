from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

from tests.unit.sdk import examples
from tests.unit.sdk.scripted_server import Answer, ScriptedServer, Seen, problem
from unroll import APIConnectionError, Client, JobCancelled, JobFailed, JobHandle, WaitTimeout

ERROR = {"code": "all_replicas_diverged", "message": "all 2 replicas diverged", "step": 40, "checkpoint": "ckpt_9"}


class Course:
    """A job that takes its states one after the other, a new one at each question; the last one stays."""

    def __init__(self, *states: dict[str, Any]) -> None:
        self.states, self.place = [examples.job(**state) for state in states], -1

    def __call__(self, seen: Seen) -> Answer:
        if self.place + 1 < len(self.states):
            self.place += 1
        elif seen.headers.get("if-none-match") == f'"{self.place}"':
            time.sleep(0.01)
            return Answer(304)
        return Answer(body=self.states[self.place], headers={"ETag": f'"{self.place}"'})


def progress(step: int, **fields: Any) -> dict[str, Any]:
    return {
        "progress": {"step": step, "total": 100, "eta_seconds": 65.0, "steps_per_second": 9},
        "summary": examples.trained(loss=[1.0 / (step + 1)], **fields),
    }


def handle(client: Client, server: ScriptedServer, *states: dict[str, Any]) -> JobHandle:
    server.script = Course({"status": "queued", "queue": {"position": 1}}, *states)
    return client.job("job_1")


def test_waiting_ends_when_the_job_has_succeeded(server: ScriptedServer, client: Client) -> None:
    job = handle(client, server, progress(1), progress(50), {"status": "succeeded", **progress(100)})
    assert not job.ended
    assert job.wait().progress.step == 100
    assert job.ended
    assert [seen.headers.get("prefer") for seen in server.seen[2:]] == ["wait=20"] * 2


def test_watching_shows_every_change_once(server: ScriptedServer, client: Client) -> None:
    job = handle(client, server, progress(1), progress(2), {"status": "succeeded", **progress(3)})
    assert [seen.progress.step for seen in job.watch()] == [1, 2, 3]


def test_a_failed_job_raises_with_its_cause_and_last_good_checkpoint(server: ScriptedServer, client: Client) -> None:
    job = handle(client, server, {"status": "failed", "error": ERROR, **progress(40)})
    with pytest.raises(JobFailed, match=r"step 40 of 100: all 2 replicas diverged") as caught:
        job.wait()
    assert "ckpt_9" in str(caught.value)
    assert caught.value.job.error is not None
    assert caught.value.job.error.code == "all_replicas_diverged"


@pytest.mark.parametrize("progress_shown", [True, False])
def test_what_may_help_is_said_once_to_whoever_waits(
    server: ScriptedServer, client: Client, capsys: pytest.CaptureFixture[str], *, progress_shown: bool
) -> None:
    diverged = [{"replica": 0, "step": 40, "loss": None, "gradient_norm": None, "hint": "Clip at 3."}]
    error = {**ERROR, "message": "The replica diverged at step 40. Clip at 3."}
    job = handle(client, server, {"status": "failed", "error": error, **progress(40, diverged=diverged)})
    with pytest.raises(JobFailed) as caught:
        job.wait(progress=progress_shown)
    assert (str(caught.value) + capsys.readouterr().err).count("Clip at 3.") == 1


def test_a_cancelled_job_raises(server: ScriptedServer, client: Client) -> None:
    job = handle(client, server, {"status": "cancelled"})
    with pytest.raises(JobCancelled, match="was cancelled"):
        job.wait()


def test_waiting_may_have_a_limit_and_leaves_the_job_alone(server: ScriptedServer, client: Client) -> None:
    job = handle(client, server, progress(1))
    start = time.monotonic()
    with pytest.raises(WaitTimeout, match="still running") as caught:
        job.wait(timeout=0.3)
    assert 0.3 <= time.monotonic() - start < 5
    assert isinstance(caught.value, TimeoutError)
    assert {seen.method for seen in server.seen} == {"GET"}


def test_waiting_outlives_an_outage_of_the_server(server: ScriptedServer, client: Client) -> None:
    course = Course({}, progress(1), {"status": "succeeded"})
    failures = iter([Answer(cut=-1), problem(503, "database_unavailable")] * 10)
    server.script = course
    job = client.job("job_1")
    server.script = lambda seen: next(failures, None) or course(seen)
    assert job.wait().status == "succeeded"


def test_an_outage_that_lasts_too_long_ends_the_wait(server: ScriptedServer) -> None:
    server.script = Course({})
    with Client(server.url, attempts=1, outage=0.3) as client:
        job = client.job("job_1")
        server.script = lambda _: Answer(cut=-1)
        with pytest.raises(APIConnectionError):
            job.wait()


def test_an_interrupted_wait_asks_nothing_of_the_server(server: ScriptedServer, client: Client) -> None:
    job = handle(client, server, progress(1))
    states = job.watch()
    next(states)
    states.close()
    assert {seen.method for seen in server.seen} == {"GET"}


def test_progress_goes_to_stderr_with_loss_and_time_left(
    server: ScriptedServer, client: Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    first = {"replica": 1, "step": 40, "loss": None, "gradient_norm": 1e9, "hint": "Clip at 3."}
    second = {"replica": 2, "step": 45, "loss": None, "gradient_norm": None, "hint": "Clip at 4."}
    stops = [{"replica": 0, "step": 50, "reason": "skill_reached", "loss": 0.125}]
    states = [
        progress(1),
        progress(50, diverged=[first]),
        {"attempt": 2, **progress(51, diverged=[first, second], stopped_replicas=stops)},
    ]
    ended = progress(100, diverged=[first, second], stopped_replicas=stops)
    job = handle(client, server, *states, {"status": "succeeded", **ended})
    job.wait(progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "step 100 of 100" in captured.err
    assert "loss 0.0099" in captured.err
    assert captured.err.count("replica 1 diverged at step 40") == 1
    assert captured.err.count("replica 2 diverged at step 45 (gradient norm not finite)") == 1
    assert (captured.err.count("Clip at 3."), captured.err.count("Clip at 4.")) == (1, 0)
    assert captured.err.count("attempt 2") == 1
    assert captured.err.count("replica 0 stopped at step 50: the skill was reached (held-out loss 0.125)") == 1


def test_progress_that_nobody_watches_is_a_line_a_tenth_of_the_way(
    server: ScriptedServer, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    states = [progress(step) for step in (1, 2, 9, 30, 31, 55)]
    handle(client, server, *states, {"status": "succeeded", **progress(100)}).wait(progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(", ")[0] for line in lines] == [
        "job_1 running: step 1 of 100",
        "job_1 running: step 30 of 100",
        "job_1 running: step 55 of 100",
        "job_1 succeeded: step 100 of 100",
    ]


def test_progress_without_rich_is_plain_lines(
    server: ScriptedServer, client: Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    handle(client, server, progress(1), {"status": "succeeded", **progress(100)}).wait(progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "job_1 running: step 1 of 100, loss 0.5, 9 steps/s, 1:05 left",
        "job_1 succeeded: step 100 of 100, loss 0.009901",
    ]


def test_the_best_network_is_the_best_replica_of_the_best_checkpoint(server: ScriptedServer, client: Client) -> None:
    best = {"checkpoint": "ckpt_7", "replica": 3, "loss": 0.01}
    job = handle(client, server, {"status": "succeeded", "summary": examples.trained(best=best)})
    answer = {"outputs": [[[0.5]]], "model": None, "checkpoint": "ckpt_7", "replica": 3}
    job.wait()
    server.script = lambda _: Answer(body=answer)
    np.testing.assert_array_equal((job.predict([np.zeros((1, 1))]).outputs or [])[0], [[0.5]])
    assert server.seen[-1].path == "/v1/checkpoints/ckpt_7/predict"
    assert server.seen[-1].json["replica"] == 3


def test_before_the_first_evaluation_there_is_no_best_network(server: ScriptedServer, client: Client) -> None:
    with pytest.raises(LookupError, match="not been evaluated"):
        handle(client, server, progress(1)).best()


def test_lag_profiles_are_read_from_all_pages_and_the_later_one_stands(server: ScriptedServer, client: Client) -> None:
    def profile(seq: int, step: int, norm: float) -> dict[str, Any]:
        data = {"step": step, "lag": [0, 1], "norm": [[norm, 2.0]]}
        return examples.event(seq, "lag_profile") | {"data": data}

    journal = [profile(1, 10, 1.0), examples.event(2), profile(3, 20, 5.0), profile(4, 20, 6.0)]
    job = handle(client, server, progress(1))
    server.script = lambda seen: Answer(body={"data": journal[int(seen.query["after"][0]) :][:2]})
    found = job.lag_profiles()
    assert list(found) == [10, 20]
    np.testing.assert_array_equal(found[20][0], [0, 1])
    np.testing.assert_array_equal(found[20][1], [[6.0, 2.0]])


def test_a_client_may_be_shared_between_threads(server: ScriptedServer, client: Client) -> None:
    server.script = lambda seen: Answer(body=examples.job(id=seen.path.rpartition("/")[2]))
    wrong: list[str] = []

    def ask(number: int) -> None:
        for turn in range(20):
            wanted = f"job_{number}_{turn}"
            if client.jobs.get(wanted).id != wanted:
                wrong.append(wanted)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(server.seen) == 160
