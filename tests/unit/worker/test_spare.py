"""The trainer that waits for a job: ready before one is claimed, or the worker says why it cannot work."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from store.settings import Settings
from worker import runner
from worker.messages import Gone, Place, Ready, Unfit
from worker.runner import CannotWork, Runner

UNFIT = Unfit("the GPU fell off the bus", ever=False)


class Child:
    """A trainer of whom only what it says before its assignment is there."""

    def __init__(self, says: Any) -> None:
        self.says, self.alive, self.killed = says, True, False

    def readiness(self, _timeout: float) -> Any:
        return self.says() if callable(self.says) else self.says

    def log(self) -> str:
        return "Traceback:\nImportError: no libgomp\n"

    def wake(self) -> None: ...

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., tuple[Runner, list[Child]]]]:
    """A worker whose children say these things, one after another, and the children that it has started."""

    def make(*says: Any, **settings: Any) -> tuple[Runner, list[Child]]:
        left, children = list(says), []

        def start(_context: Any, _log: Path, place: Place) -> Child:
            said = left.pop(0)
            if isinstance(said, Exception):
                raise said
            places.append(place)
            children.append(Child(said))
            return children[-1]

        monkeypatch.setattr(runner, "TrainerProcess", start)
        nothing: Any = None
        return Runner(Settings(data_dir=tmp_path, **settings), nothing, "w1", nothing, nothing, nothing), children

    places: list[Place] = []
    yield make
    assert all(place.device == "cpu" for place in places)


def test_a_child_that_died_before_a_job_came_is_replaced_once(started: Any):
    worker, children = started(Gone(-9), Ready())
    worker.prepare()
    assert [child.killed for child in children] == [True, False]
    assert worker._spare() is children[1], "it waits for its job"


def test_a_second_one_that_dies_ends_the_worker_with_its_last_words(started: Any):
    worker, _ = started(Gone(1), Gone(1))
    with pytest.raises(CannotWork, match=r"exit code 1\. Its last words: ImportError: no libgomp") as raised:
        worker.prepare()
    assert not raised.value.ever


def test_a_forkserver_that_cannot_start_is_told(started: Any):
    worker, _ = started(EOFError(), OSError("AF_UNIX path too long"))
    with pytest.raises(CannotWork, match="AF_UNIX path too long"):
        worker.prepare()


@pytest.mark.parametrize("unfit", [UNFIT, Unfit("no CUDA device", ever=True)])
def test_one_that_can_run_no_job_says_so_at_once(started: Any, unfit: Unfit):
    worker, children = started(unfit)
    with pytest.raises(CannotWork, match=unfit.message) as raised:
        worker.prepare()
    assert raised.value.ever == unfit.ever
    assert len(children) == 1


def test_a_worker_that_can_work_no_more_claims_nothing_and_stops(started: Any, monkeypatch: pytest.MonkeyPatch):
    def claim(*_: Any) -> None:
        raise AssertionError("a job would have failed for the machine's fault")

    signals: list[tuple[int, signal.Signals]] = []
    monkeypatch.setattr(runner.leases, "claim", claim)
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    worker, children = started(Ready(), UNFIT)
    worker.prepare()
    children[0].alive = False
    worker.work()
    assert str(worker.broken) == UNFIT.message
    assert signals == [(os.getpid(), signal.SIGTERM)]


def test_one_that_is_told_to_stop_waits_for_no_child(started: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runner.leases, "claim", lambda *_: pytest.fail("it was told to stop"))
    worker, children = started(lambda: worker.drain())  # noqa: PLW0108 - it is made by this line
    worker.work()
    worker.close()
    assert [child.killed for child in children] == [True]
