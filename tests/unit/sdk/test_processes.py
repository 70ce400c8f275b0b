"""Clients, handles and results in more than one process: forked, spawned, and sent to workers."""

from __future__ import annotations

import copy
import inspect
import json
import multiprocessing
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

from tests.unit.sdk import examples
from tests.unit.sdk.scripted_server import Answer, ScriptedServer, Seen
from tests.unit.sdk.service import Trained
from unroll import Client, Curves, JobHandle, Prediction, errors
from unroll.contract import Event, Metrics
from unroll.errors import APIError, JobEndedError, UnrollError, WaitTimeout

FORK = multiprocessing.get_context("fork")
STREAM = {"Content-Type": "text/event-stream"}


def any_job(seen: Seen) -> Answer:
    return Answer(body=examples.job(id=seen.path.rpartition("/")[2]))


def ask(client: Client, name: str, times: int) -> None:
    for _ in range(times):
        assert client.jobs.get(name).id == name


def run_children(targets: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> list[int | None]:
    children = [FORK.Process(target=target, args=args) for target, args in targets]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        if child.is_alive():
            child.kill()
            child.join()
    return [child.exitcode for child in children]


def test_no_answer_belongs_to_another_child(server: ScriptedServer, client: Client) -> None:
    server.script = any_job
    ask(client, "job_parent", 1)  # a connection is open when the children are made
    assert run_children([(ask, (client, f"job_{n}", 30)) for n in range(8)]) == [0] * 8
    ask(client, "job_parent", 1)


def test_children_do_not_wait_for_what_the_parents_threads_were_doing(server: ScriptedServer, client: Client) -> None:
    server.script = any_job
    ended = threading.Event()

    def hammer(name: str) -> None:
        while not ended.is_set():
            ask(client, name, 1)

    threads = [threading.Thread(target=hammer, args=(f"job_thread{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        assert [run_children([(ask, (client, "job_child", 3))]) for _ in range(6)] == [[0]] * 6
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_closed_client_is_closed_in_a_child_too(server: ScriptedServer) -> None:
    server.script = any_job
    client = Client(server.url)
    client.close()
    assert run_children([(ask, (client, "job_1", 1))]) == [1]


class Held:
    """A stream that sends two events, waits until it is told to go on, and ends with two more."""

    def __init__(self) -> None:
        self.connections = 0
        self.go_on, self.broken = threading.Event(), threading.Event()

    def __call__(self, seen: Seen) -> Answer:
        if not seen.path.endswith("/events"):
            return Answer(body=examples.job(status="running"))
        self.connections += 1
        return Answer(headers=STREAM, parts=self.parts(int(seen.headers.get("last-event-id", 0))))

    def parts(self, after: int) -> Iterator[bytes]:
        yield from (frame(seq) for seq in (1, 2) if seq > after)
        try:
            while not self.go_on.wait(0.02):
                yield b": alive\n\n"
        except GeneratorExit:
            self.broken.set()
            raise
        yield from (frame(seq) for seq in (3, 4))


def frame(seq: int) -> bytes:
    event = examples.event(seq, "end" if seq == 4 else "progress")
    return f"id: {seq}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stream_goes_on_in_parent_and_child_each_with_every_event(server: ScriptedServer, client: Client) -> None:
    server.script = held = Held()
    events = client.jobs.stream("job_1")
    assert [next(events).seq, next(events).seq] == [1, 2]
    child = FORK.Process(target=expect_the_rest, args=(events,))
    child.start()
    try:
        wait_until(lambda: held.connections == 2)  # the child reads nothing of the parent's
        held.go_on.set()
        expect_the_rest(events)
        child.join(30)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()


def expect_the_rest(events: Iterator[Event]) -> None:
    assert [event.seq for event in events] == [3, 4]


def test_a_stream_that_the_parent_ends_is_not_kept_open_by_a_child(server: ScriptedServer, client: Client) -> None:
    server.script = held = Held()
    events = client.jobs.stream("job_1")
    next(events)
    child = FORK.Process(target=time.sleep, args=(60,))
    child.start()
    try:
        events.close()  # type: ignore[attr-defined] # a generator
        assert held.broken.wait(30)
    finally:
        child.kill()
        child.join()


def name_of(handle: JobHandle) -> tuple[str, str]:
    return handle.refresh().id, handle.best().checkpoint.id


def test_handles_go_to_workers_of_every_kind(server: ScriptedServer, client: Client) -> None:
    server.script = Trained()
    job = client.job("job_1")
    for method in ("fork", "spawn", "forkserver"):
        with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
            assert pool.submit(name_of, job).result(60) == ("job_1", "ckpt_1"), method
    try:
        assert joblib.Parallel(2)(joblib.delayed(name_of)(job) for _ in range(2)) == [("job_1", "ckpt_1")] * 2
    finally:
        get_reusable_executor().shutdown(wait=True, kill_workers=True)
    assert {seen.headers["authorization"] for seen in server.seen} == {"Bearer secret"}


COPIES: list[Callable[[Any], Any]] = [lambda one: pickle.loads(pickle.dumps(one)), copy.deepcopy]


@pytest.mark.parametrize("copied", COPIES, ids=["pickle", "deepcopy"])
def test_what_a_client_returns_can_be_copied(
    server: ScriptedServer, client: Client, copied: Callable[[Any], Any]
) -> None:
    server.script = Trained()
    job = client.job("job_1")
    listing = client.jobs.list()
    for one in (client, job, job.job, job.best(), listing, listing.first_page(), job.best().evaluate()):
        there = copied(one)
        assert (type(there), repr(there)) == (type(one), repr(one))
        assert "secret" not in repr(there)
    assert [job.id for job in copied(listing)] == ["job_1", "job_2", "job_3"]
    series = [{"name": "loss", "replica": 0, "steps": [1, 2], "values": [0.5, None]}]
    curves = Curves(Metrics.model_validate({"job": "job_1", "last_step": 2, "downsampled": False, "series": series}))
    np.testing.assert_array_equal(copied(curves)["loss"], [[0.5], [np.nan]])
    answer = Prediction(np.ones((1, 2, 1)), None, [[{"h": np.zeros(3)}]], None, "ckpt_1", 0)
    np.testing.assert_array_equal(copied(answer).outputs, answer.outputs)


ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, UnrollError)]


@pytest.mark.parametrize("copied", COPIES, ids=["pickle", "deepcopy"])
@pytest.mark.parametrize("kind", ERRORS)
def test_errors_keep_all_that_they_say(
    server: ScriptedServer, client: Client, kind: type[UnrollError], copied: Callable[[Any], Any]
) -> None:
    server.script = Trained()
    job = client.job("job_1").job
    arguments: tuple[Any, ...] = ("the words",)
    if issubclass(kind, APIError):
        arguments = (404, None, "req-1", "the words")
    elif issubclass(kind, JobEndedError):
        arguments = (job,)
    elif kind is WaitTimeout:
        arguments = (job, 3.0)
    error = kind(*arguments)
    error.request_id = "req-1"
    there = copied(error)
    assert (type(there), str(there), vars(there)) == (kind, str(error), vars(error))
