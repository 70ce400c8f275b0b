"""Progress where there is no terminal: a notebook, and Ctrl-C anywhere."""

from __future__ import annotations

import sys
import traceback
import types
from typing import Any

import pytest

from tests.unit.sdk import examples
from tests.unit.sdk.scripted_server import Answer, ScriptedServer
from tests.unit.sdk.test_job import handle, progress
from unroll import Client
from unroll.resources import Jobs

LONG = examples.trained(estimated_seconds=32400.0)


class Cell:
    """The output of a notebook's cell, by IPython's display protocol: bundles under ids, which may be replaced."""

    def __init__(self) -> None:
        self.shown: dict[int, list[dict[str, str]]] = {}

    def display(self, bundle: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        assert raw
        assert display_id
        place = self.shown.setdefault(len(self.shown), [bundle])

        def update(bundle: dict[str, str], *, raw: bool) -> None:
            assert raw
            place.append(bundle)

        return types.SimpleNamespace(update=update)


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> Cell:
    cell = Cell()
    ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    display.display = cell.display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return cell


def test_in_a_notebook_progress_is_one_bar_that_is_updated(
    server: ScriptedServer, client: Client, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    diverged = [{"replica": 1, "step": 40, "loss": None, "gradient_norm": 1e9, "hint": "<Clip> at 3."}]
    states = [{"name": "<b>", **progress(25)}, progress(50, diverged=diverged), progress(75, diverged=diverged)]
    handle(client, server, *states, {"status": "succeeded", **progress(100, diverged=diverged)}).wait(progress=True)
    ((first, *_, last),) = cell.shown.values()
    assert len(cell.shown[0]) == 4
    assert "width:25.0%" in first["text/html"]
    assert "&lt;b&gt; running" in first["text/html"]
    assert "1:05 left" in first["text/html"]
    assert "width:100.0%" in last["text/html"]
    assert "job_1 succeeded" in last["text/html"]
    assert last["text/html"].count("&lt;Clip&gt; at 3.") == 1
    assert last["text/plain"].splitlines()[-1] == "job_1 succeeded: step 100 of 100, loss 0.009901"
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_without_progress_a_notebook_shows_nothing(server: ScriptedServer, client: Client, cell: Cell) -> None:
    handle(client, server, {"status": "succeeded"}).wait()
    assert cell.shown == {}


def test_ipython_at_a_terminal_is_no_notebook(
    server: ScriptedServer, client: Client, cell: Cell, capsys: pytest.CaptureFixture[str]
) -> None:
    sys.modules["IPython"].get_ipython = types.SimpleNamespace
    handle(client, server, {"status": "succeeded"}).wait(progress=True)
    assert cell.shown == {}
    assert "job_1 succeeded" in capsys.readouterr().err


def test_a_long_job_is_told_to_be_one_once(
    server: ScriptedServer, client: Client, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "job_1: about 9 h on one CPU worker"
    server.script = lambda _: Answer(202, examples.job(status="queued", summary=LONG))
    job = client.submit(examples.CONFIG)
    assert repr(job).endswith("about 9 h on one CPU worker>")
    assert capsys.readouterr().err == ""
    states = [{"summary": LONG}, {"status": "succeeded", "summary": LONG}]
    handle(client, server, *states).wait(progress=True)
    assert capsys.readouterr().err.count(f"{said}; Ctrl-C does not stop it") == 1
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)  # at a prompt
    server.script = lambda _: Answer(202, examples.job(status="queued", summary=LONG))
    client.submit(examples.CONFIG)
    assert capsys.readouterr().err == f"{said}\n"
    handle(client, server, *states).wait(progress=True)
    assert said not in capsys.readouterr().err


@pytest.mark.parametrize("visible", [True, False])
def test_ctrl_c_says_which_job_goes_on_and_how_to_go_on_without_our_frames(
    server: ScriptedServer, client: Client, monkeypatch: pytest.MonkeyPatch, *, visible: bool
) -> None:
    job = handle(client, server, progress(1))

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Jobs, "changed", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        job.wait(progress=visible)
    (last,) = traceback.format_exception_only(caught.value)
    assert last == (
        'KeyboardInterrupt: stopped waiting for job job_1, which goes on; client.job("job_1").wait(progress=True) '
        "waits again, .cancel() ends it\n"
    )
    shown = traceback.format_exception(caught.value)
    assert sum("sdk/unroll" in line for line in shown) == 1, "one frame of ours: wait itself"
    assert {seen.method for seen in server.seen} == {"GET"}
