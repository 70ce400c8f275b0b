from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from tests.unit.sdk.command import unroll
from tests.unit.sdk.scripted_server import Answer, ScriptedServer, Seen, problem
from tests.unit.sdk.service import Trained
from unroll.cli.app import app


def double(seen: Seen) -> Answer:
    if seen.path != "/v1/models/m/predict":
        return problem(404, "not_found")
    outputs = [[[2 * value for value in step] for step in sequence] for sequence in seen.json["inputs"]]
    answer = {"outputs": outputs, "state": [{"layers": [{"h": [0.5]}]} for _ in outputs]}
    asked = {name: answer[name] for name in seen.json["return"]}
    return Answer(body={**asked, "model": "m", "checkpoint": "ckpt_1", "replica": 4})


def test_replicas_are_reduced_to_one_answer_with_an_interval(server: ScriptedServer, tmp_path: Path) -> None:
    interval = {"lower": [[[1.0]]], "upper": [[[3.0]]], "level": None}
    said = {"outputs": [[[2.0]]], "interval": interval, "model": "m", "checkpoint": "ckpt_1", "replica": "all"}
    server.script = lambda _: Answer(body=said)
    saved = tmp_path / "out.npz"
    ask = ("predict", "m", "-i", "-", "--reduce", "mean")
    ended = unroll(server, *ask, "-o", "json", "--save", str(saved), stdin="[[[1.0]]]")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == said
    with np.load(saved) as arrays:
        assert {name.split("_")[0] for name in arrays.files} == {"outputs", "lower", "upper"}
    table = unroll(server, *ask, stdin="[[[1.0]]]").stdout
    assert [line.split()[3:] for line in table.splitlines()[1:]] == [["y", "2"], ["lower", "1"], ["upper", "3"]]
    assert (server.seen[0].json["replica"], server.seen[0].json["reduce"]) == ("all", "mean")


@pytest.mark.parametrize("source", ["json", "stdin", "npy", "npz"])
def test_predictions_are_made_from_files(server: ScriptedServer, tmp_path: Path, source: str) -> None:
    server.script = double
    sequences = [np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]])]
    text = json.dumps([sequence.tolist() for sequence in sequences])
    file = tmp_path / f"input.{source}"
    match source:
        case "json":
            file.write_text(text)
        case "npy":
            np.save(file, np.stack(sequences))
        case "npz":
            np.savez(file, *sequences)
    where = "-" if source == "stdin" else str(file)
    saved = tmp_path / "out.npz"
    ended = unroll(server, "predict", "m", "-i", where, "-o", "json", "--save", str(saved), stdin=text)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["outputs"] == [[[2.0], [4.0]], [[6.0], [8.0]]]
    with np.load(saved) as arrays:
        values = [arrays[name] for name in sorted(arrays.files)]
        np.testing.assert_array_equal(np.concatenate(values).ravel(), [2, 4, 6, 8])


def test_one_array_of_a_file_is_a_batch_or_one_sequence(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = double
    file = tmp_path / "input.npy"
    for array in (np.zeros((3, 4, 2)), np.zeros((4, 2)), np.zeros(4)):
        np.save(file, array)
        assert unroll(server, "predict", "m", "-i", str(file)).returncode == 0
    shapes = [np.array(seen.json["inputs"]).shape for seen in server.seen]
    assert shapes == [(3, 4, 2), (1, 4, 2), (1, 4, 1)]


@pytest.mark.parametrize(
    ("name", "text", "inputs"),
    [
        ("s.csv", "0.5\n-1\n2e0\n", [[[0.5], [-1.0], [2.0]]]),
        ("s.CSV", "\ufeffx1,x2\r\n1, 2\r\n\r\n3,4\r\n", [[[1.0, 2.0], [3.0, 4.0]]]),
        ("s.csv", "x;sequence\n1;a\n2;b\n3;a\n", [[[1.0], [3.0]], [[2.0]]]),
        ("s.csv", "0,5;1\n-1,25;2e0\n", [[[0.5, 1.0], [-1.25, 2.0]]]),
        ("s.tsv", "sequence\tx\n0\t1\n1\t2\n", [[[1.0]], [[2.0]]]),
    ],
)
def test_a_table_has_a_row_a_time_step(
    server: ScriptedServer, tmp_path: Path, name: str, text: str, inputs: list[list[list[float]]]
) -> None:
    server.script = double
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    ended = unroll(server, "predict", "m", "-i", str(tmp_path / name))
    assert ended.returncode == 0, ended.stderr
    assert server.seen[0].json["inputs"] == inputs


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("s.csv", "1\ntwo\n", "line 2, column 1: 'two' is no number"),
        ("s.csv", "1,2\n3\n", "line 2: 1 columns, but 2 before"),
        ("s.csv", "x\n", "there is no row of numbers"),
        ("s.csv", "", "there is no row of numbers"),
        ("s.mat", "1", "a file .mat is not read; read are .json, .csv, .npy and .npz"),
        ("s.json", "0.5\n1.0\n", "is no JSON (Extra data: line 2 column 1 (char 4)); read are .json, .csv"),
        ("s", "x1,x2", "is no JSON (Expecting value: line 1 column 1 (char 0)); read are .json, .csv"),
        ("s.json", "", "is no JSON (it is empty)"),
        ("s.json", '{"x": 1, "x": 2}', "s.json: The name 'x' stands twice in one object, at line 1 column 11"),
        ("s.npy", "1", "s.npy"),
    ],
)
def test_a_file_that_cannot_be_read_is_told_with_what_can(
    server: ScriptedServer, tmp_path: Path, name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text)
    ended = unroll(server, "predict", "m", "-i", str(tmp_path / name))
    assert ended.returncode == 2
    assert words.replace(" ", "") in re.sub(r"[^\x21-\x7f]", "", ended.stderr)
    assert server.seen == []


def test_predictions_are_shown_a_line_a_step(server: ScriptedServer) -> None:
    server.script = double
    ended = unroll(server, "predict", "m", "-i", "-", stdin="[[[1.0], [2.0]]]")
    assert ended.stdout.splitlines()[1:] == ["0\t4\t0\ty\t2", "0\t4\t1\ty\t4"]


def test_a_state_that_no_table_has_room_for_is_not_passed_over_in_silence(server: ScriptedServer) -> None:
    server.script = double
    ended = unroll(server, "predict", "m", "-i", "-", "--return", "state", stdin="[[[1.0]]]")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "-o json" in ended.stderr
    asked = unroll(server, "predict", "m", "-i", "-", "--return", "state", "-o", "json", stdin="[[[1.0]]]")
    assert json.loads(asked.stdout)["state"] == [{"layers": [{"h": [0.5]}]}]


def test_a_file_has_what_the_request_has(server: ScriptedServer) -> None:
    server.script = double
    text = json.dumps({"inputs": [[[1.0]]], "state": [{"layers": [{"h": [0.5]}]}], "steps": 3})
    for more, steps in (([], 3), (["--steps", "4"], 4)):
        assert unroll(server, "predict", "m", "-i", "-", *more, stdin=text).returncode == 0
        sent = server.seen[-1].json
        assert (sent["steps"], sent["state"]) == (steps, [{"layers": [{"h": [0.5]}]}])


@pytest.mark.parametrize(
    ("text", "flags", "code", "words"),
    [
        ("3", [], 1, "inputs must be a list of sequences"),
        ('{"inputs": [[[1.0]]], "state": {"layers": []}}', [], 1, "state must be a list with one entry a sequence"),
        ('{"inputs": [[[1.0]]], "foo": 1}', [], 2, "foo"),
        ('{"steps": 3}', [], 2, "there are no inputs"),
        ("[[[1.0]]]", ["--replica", "x"], 2, "an index from 0"),
        ("[[[1.0]]]", ["--replica=-1"], 2, "an index from 0"),
    ],
)
def test_bad_input_is_refused_by_name(
    server: ScriptedServer, text: str, flags: list[str], code: int, words: str
) -> None:
    server.script = double
    ended = unroll(server, "predict", "m", "-i", "-", *flags, stdin=text)
    assert ended.returncode == code
    assert words in " ".join(re.sub(r"[^\x20-\x7f]", " ", ended.stderr).split())
    assert "Traceback" not in ended.stderr
    assert server.seen == []


@pytest.mark.parametrize("name", sorted(get_command(app).commands))
def test_help_says_every_word_that_was_written_for_it(server: ScriptedServer, name: str) -> None:
    """Words in square brackets would be taken for markup, and left out."""
    command = get_command(app).commands[name]
    said = " ".join(re.sub(r"[^\x00-\x7f]", " ", unroll(server, name, "--help").stdout).split())
    words = {word for option in command.params for word in (getattr(option, "help", "") or "").split()}
    assert not {word for word in words if word not in said}


def test_a_checkpoints_id_is_told_from_a_models_name(server: ScriptedServer) -> None:
    server.script = double
    ended = unroll(server, "predict", "ckpt_2", "-i", "-", stdin="[[[1.0]]]")
    assert ended.returncode == 1
    assert [seen.path for seen in server.seen] == ["/v1/checkpoints/ckpt_2/predict", "/v1/models/ckpt_2/predict"]


def test_a_pickle_is_not_opened(server: ScriptedServer, tmp_path: Path) -> None:
    file = tmp_path / "bad.npy"
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    ended = unroll(server, "predict", "m", "-i", str(file))
    assert ended.returncode == 2
    assert server.seen == []


def test_a_job_stands_for_its_best_network(server: ScriptedServer, tmp_path: Path) -> None:
    trained = Trained()

    def answer(seen: Seen) -> Answer:
        if seen.path == "/v1/checkpoints/ckpt_1/predict":
            asked = {"outputs": seen.json["inputs"], "replica": seen.json["replica"]}
            return Answer(body={**asked, "model": None, "checkpoint": "ckpt_1"})
        return trained(seen)

    server.script = answer
    file = tmp_path / "sequences.json"
    file.write_text("[[[0.5], [-1.0]]]")
    ended = unroll(server, "predict", "job_1", "-i", str(file), "-o", "json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["checkpoint"], found["replica"]) == ("ckpt_1", 0)


def test_a_job_without_a_best_network_is_an_error_in_words(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = Trained()
    file = tmp_path / "sequences.json"
    file.write_text("[[[0.5]]]")
    ended = unroll(server, "predict", "job_2", "-i", str(file))
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert "job_2" in ended.stderr
