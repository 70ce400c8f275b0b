"""Sequences of a task as arrays, with their accuracy, and as pictures in files and in a terminal."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.sdk.command import unroll
from tests.unit.sdk.scripted_server import Answer, ScriptedServer
from unroll import Client
from unroll.contract import SampleResponse
from unroll.samples import Sample, sample

TASK: dict[str, Any] = {
    "name": "integrate_noise",
    "group": "integration",
    "description": "sum white noise",
    "input_size": 1,
    "output_size": 1,
    "input_names": ["x"],
    "target_names": ["sum of x"],
    "architectures": ["many_to_many"],
    "losses": ["mse"],
    "parameters": {"properties": {"length": {"default": 20, "description": "time steps"}}},
    "baseline": {"predictor": "zero", "loss": 10.5, "formula": "(T+1)/2"},
}
SUMS = {
    "task": TASK,
    "parameters": {"length": 3},
    "seed": 4,
    "inputs": [[[0.5], [-1.0], [0.25]], [[1.0], [1.0], [1.0]]],
    "targets": [[[0.5], [-0.5], [-0.25]], [[1.0], [2.0], [3.0]]],
    "weights": None,
}
TOKENS = {
    "task": TASK
    | {
        "name": "order",
        "vocabulary_size": 3,
        "input_size": 3,
        "output_size": 2,
        "input_names": ["a", "b", "end"],
        "target_names": ["first", "second"],
        "losses": ["cross_entropy"],
        "chance": 0.5,
    },
    "parameters": {},
    "seed": 0,
    "inputs": [[[0], [1], [2]], [[1], [2]]],
    "targets": [[[1, 0], [1, 0], [0, 1]], [[0, 1], [1, 0]]],
    "weights": [[0.0, 1.0, 1.0], [1.0, 1.0]],
}
RING = {
    "task": TASK | {"name": "ring", "input_names": [f"neuron {k}" for k in range(8)], "architectures": ["many_to_one"]},
    "parameters": {},
    "seed": 0,
    "inputs": [[[float(t == k) for k in range(8)] for t in range(4)]],
    "targets": [[[0.5]] * 4],
}


def read(answer: dict[str, Any], **task: Any) -> Sample:
    return sample(SampleResponse.model_validate(answer | {"task": answer["task"] | task}))


def test_sequences_of_one_length_are_one_array_and_others_a_list(server: ScriptedServer, client: Client) -> None:
    server.script = lambda _: Answer(body=SUMS)
    found = client.tasks.sample("integrate_noise", {"length": 3}, sequences=2, seed=4)
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/v1/tasks/integrate_noise/sample")
    assert seen.json == {"parameters": {"length": 3}, "sequences": 2, "seed": 4}
    assert isinstance(found.inputs, np.ndarray)
    assert found.inputs.shape == (2, 3, 1)
    np.testing.assert_array_equal(found.targets, np.cumsum(found.inputs, axis=1))
    assert (len(found), found.seed, found.weights, found.task.baseline.loss) == (2, 4, None, 10.5)
    assert repr(found) == "<sample of integrate_noise: 2 sequences [3, 1] to [3, 1], seed 4>"
    ragged = read(TOKENS)
    assert isinstance(ragged.inputs, list)
    assert [one.shape for one in ragged.one_hot] == [(3, 3), (2, 3)]
    assert np.array_equal(ragged.one_hot[1], [[0, 1, 0], [0, 0, 1]])


def test_accuracy_counts_the_steps_that_count() -> None:
    classes = read(TOKENS)
    right = [np.array(one, float) for one in TOKENS["targets"]]
    assert classes.accuracy(right) == 1
    wrong_where_nothing_counts = [right[0][[2, 1, 2]], right[1]]
    assert classes.accuracy(wrong_where_nothing_counts) == 1
    assert classes.accuracy([right[0][[0, 2, 2]], right[1]]) == 3 / 4
    assert classes.accuracy([[-1.0, 2.0], [0.5, 0.0]]) == 1  # one output a sequence: the last step's
    yes_or_no = read(SUMS | {"targets": [[[0.0], [1.0], [1.0]]] * 2}, losses=["bce"], chance=0.5)
    assert yes_or_no.accuracy(np.array([[[-3.0], [0.1], [5.0]], [[3.0], [-0.1], [5.0]]])) == 4 / 6
    with pytest.raises(ValueError, match=r"outputs\[1\] has shape \(3, 1\), its targets \(2, 2\)"):
        classes.accuracy([right[0], [[1.0]] * 3])
    with pytest.raises(ValueError, match="no accuracy"):
        read(SUMS).accuracy(SUMS["targets"])


@pytest.mark.parametrize("answer", [SUMS, TOKENS, RING], ids=["lines", "choices", "map"])
def test_a_trial_is_drawn_to_a_file_of_the_format_that_its_name_says(answer: dict[str, Any], tmp_path: Path) -> None:
    read(answer).plot(tmp_path / "trial.png")
    content = (tmp_path / "trial.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert 500 < width < 1_000
    assert 200 < height < 1_000
    with pytest.raises(IndexError):
        read(answer).plot(tmp_path / "trial.png", sequence=5)


def test_a_picture_tells_what_each_series_is_and_leaves_out_what_does_not_count(tmp_path: Path) -> None:
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none"}):
        read(TOKENS).plot(tmp_path / "trial.svg")
        drawn = (tmp_path / "trial.svg").read_text(encoding="utf-8")
    assert all(f">{said}<" in drawn for said in ("order: tokens", "a", "b", "end", "first", "time step t"))
    said = read(TOKENS).text().splitlines()
    assert said[said.index("tokens") + 1 :][:3] == ["  a █··", "  b ·█·", "end ··█"]
    assert said[-2:] == [" first ░█·", "second ░·█"]


def test_a_trial_as_text_has_a_plot_for_each_series_and_a_row_for_each_of_many() -> None:
    said = read(SUMS).text(width=60)
    assert "x:\n" in said
    assert "sum of x:\n" in said
    assert "⠤" in said or "⢄" in said
    assert max(map(len, said.splitlines())) <= 60
    ring = read(RING).text().splitlines()
    assert ring[1:9] == [f"neuron {k} {''.join('█' if t == k else ' ' for t in range(4))}" for k in range(8)]
    long = read(RING | {"inputs": [[[0.0] * 8] * 500], "targets": [[[0.5]] * 500]}).text(width=40)
    assert "(the first 31 of 500 steps)" in long


def test_the_command_draws_a_trial_here_and_to_a_file(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = lambda _: Answer(body=SUMS)
    ended = unroll(server, "tasks", "integrate_noise", "-p", "length=3", "--seed", "4", "--plot")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "sum of x:" in ended.stdout
    assert "-p length=" not in ended.stdout
    assert server.seen[-1].json == {"parameters": {"length": 3}, "sequences": 1, "seed": 4}
    picture = tmp_path / "trial.png"
    ended = unroll(server, "tasks", "integrate_noise", "--plot-to", str(picture))
    assert ended.stderr == f"drawn: {picture}\n"
    assert "-p length=\ttime steps (default 20)" in ended.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    plain = unroll(server, "tasks", "integrate_noise", "--plot", encoding="ascii")
    assert plain.returncode == 0
    assert "sum of x:" in plain.stdout
    refused = unroll(server, "tasks", "--plot")
    assert refused.returncode == 2
    assert "name the task" in refused.stderr


@pytest.mark.parametrize(("module", "flag"), [("plotext", ["--plot"]), ("matplotlib.figure", ["--plot-to", "a.png"])])
def test_without_the_extra_the_command_says_what_to_install(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, module: str, flag: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    server.script = lambda _: Answer(body=SUMS)
    ended = unroll(server, "tasks", "integrate_noise", *flag)
    assert ended.returncode == 2
    assert 'pip install "unroll-sdk[plot]"' in ended.stderr
    assert "Traceback" not in ended.stderr


def test_tasks_are_listed_by_group(server: ScriptedServer) -> None:
    others = [TASK | {"name": name, "group": group} for name, group in (("a", "memory"), ("b", "integration"))]
    server.script = lambda _: Answer(body={"data": [TASK, *others], "next": None})
    listed = [line.split("\t")[:2] for line in unroll(server, "tasks").stdout.splitlines()]
    assert listed == [["group", "task"], ["integration", "integrate_noise"], ["integration", "b"], ["memory", "a"]]
