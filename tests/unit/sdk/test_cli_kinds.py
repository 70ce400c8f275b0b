from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.unit.sdk import examples
from tests.unit.sdk.command import unroll
from tests.unit.sdk.scripted_server import ScriptedServer
from tests.unit.sdk.service import Trained, submitted
from unroll.cli.app import app


def rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def fields(text: str) -> dict[str, str]:
    return dict(rows(text)[1:])


def test_an_evaluation_is_shown_by_length_with_its_skill(server: ScriptedServer) -> None:
    server.script = Trained()
    ended = unroll(server, "evaluate", "ckpt_1", "--lengths", "20,100")
    assert ended.returncode == 0, ended.stderr
    assert rows(ended.stdout) == [
        ["length", "mean loss", "baseline", "skill", "lowest skill", "highest skill"],
        ["as asked for", "0.75", "10", "0.925", "0.9", "0.95"],
        ["20", "0.75", "10", "0.925", "0.9", "0.95"],
        ["100", "-", "50", "-", "-", "-"],
    ]
    said = "loss 0.75 ± 0.5, baseline 10, skill 0.925; 2 replicas, 512 sequences"
    assert ended.stderr == f"submitted job_2\njob_2 succeeded: step 512 of 512, loss 0.75\n{said}\n"
    assert submitted(server.seen) == {"kind": "evaluate", "checkpoint": "ckpt_1", "lengths": [20, 100]}


def test_an_evaluation_as_json_is_the_result_with_its_job(server: ScriptedServer) -> None:
    server.script = Trained()
    ended = unroll(server, "evaluate", "ckpt_1", "-o", "json")
    assert json.loads(ended.stdout) == {"job": "job_2", **examples.RESULT}


def test_flags_reach_every_field_of_an_evaluation(server: ScriptedServer) -> None:
    server.script = Trained()
    flags = ["--task", "adding", "-p", "length=50", "-p", "exact=true", "--sequences", "64", "--replica", "3"]
    more = ["--seed", "9", "--loss", "mse", "--name", "long", "--device", "cpu", "--label", "lab=noise", "--detach"]
    ended = unroll(server, "evaluate", "ckpt_1", *flags, *more)
    assert ended.returncode == 0, ended.stderr
    assert submitted(server.seen) == {
        "kind": "evaluate",
        "checkpoint": "ckpt_1",
        "data": {"type": "task", "name": "adding", "parameters": {"length": 50, "exact": True}},
        "sequences": 64,
        "replica": 3,
        "seed": 9,
        "loss": {"type": "mse"},
        "name": "long",
        "device": "cpu",
        "labels": {"lab": "noise"},
    }
    assert fields(ended.stdout)["status"] == "queued"
    assert len(server.seen) == 1


def test_parameters_alone_change_the_data_of_the_training(server: ScriptedServer) -> None:
    server.script = service = Trained()
    service.checkpoint["data"] = {**examples.DATA, "parameters": {"length": 20, "scale": 2}}
    ended = unroll(server, "evaluate", "ckpt_1", "-p", "length=100", "-o", "json")
    assert ended.returncode == 0, ended.stderr
    expected = {"type": "task", "name": "integrate_noise", "parameters": {"length": 100, "scale": 2}}
    assert submitted(server.seen)["data"] == expected


@pytest.mark.parametrize("command", [["evaluate", "job_1"], ["export", "job_1", "onnx", "--to", "-"]])
def test_a_job_stands_for_its_best_checkpoint(server: ScriptedServer, command: list[str]) -> None:
    server.script = service = Trained()
    best = {"checkpoint": "ckpt_8", "replica": 1, "loss": 0.1}
    service.jobs["job_1"]["summary"] = examples.trained(best=best)
    ended = unroll(server, *command)
    assert ended.returncode == 0, ended.stderr
    assert submitted(server.seen)["checkpoint"] == "ckpt_8"


def test_a_job_without_a_best_checkpoint_is_refused_by_name(server: ScriptedServer) -> None:
    server.script = service = Trained()
    service.jobs["job_1"]["summary"] = examples.trained()
    for job, said in (("job_1", "has not been evaluated yet"), ("job_3", "has no best network")):
        ended = unroll(server, "evaluate", job)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert f"unroll: job {job} {said}" in ended.stderr
    assert all(seen.method == "GET" for seen in server.seen)


@pytest.mark.parametrize("wrong", [["--lengths", "20,long"], ["--replica", "some"], ["-p", "length"], ["--label", "x"]])
def test_wrong_flags_of_an_evaluation_are_2_and_submit_nothing(server: ScriptedServer, wrong: list[str]) -> None:
    ended = unroll(server, "evaluate", "ckpt_1", *wrong)
    assert (ended.returncode, server.seen) == (2, [])


@pytest.mark.parametrize("to", [None, "net.onnx", "folder"])
def test_an_export_writes_its_file_and_shows_its_parity(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str | None
) -> None:
    server.script = Trained()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    place = {None: "model.onnx", "net.onnx": "net.onnx", "folder": "folder/model.onnx"}[to]
    ended = unroll(server, "export", "ckpt_1", "onnx", *(["--to", to] if to else []))
    assert ended.returncode == 0, ended.stderr
    assert Path(place).read_bytes() == b"\x08\x0a onnx"
    assert ended.stderr == f"submitted job_3\njob_3 succeeded: step 1 of 1\nwrote {place} (7 bytes)\n"
    shown = fields(ended.stdout)
    assert shown["parity"] == "passed: 2.50e-08 of the largest output, at most 1e-06 allowed, over 8 sequences"
    assert shown["parity in onnxruntime 1"] == "2.50e-08"
    assert submitted(server.seen) == {"kind": "export", "checkpoint": "ckpt_1", "format": "onnx"}


def test_an_export_to_stdout_is_nothing_but_the_file(server: ScriptedServer) -> None:
    server.script = service = Trained()
    service.files["job_3", "model.onnx"] = b"plain\n"
    ended = unroll(server, "export", "ckpt_1", "onnx", "--replica", "1", "--seed", "5", "--to", "-")
    assert (ended.returncode, ended.stdout) == (0, "plain\n")
    sent = submitted(server.seen)
    assert (sent["replica"], sent["seed"]) == (1, 5)


def test_a_failed_parity_is_exit_code_3_and_writes_nothing(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = Trained({"status": "failed", "error": {"code": "parity_failed", "message": "the outputs differ"}})
    monkeypatch.chdir(tmp_path)
    ended = unroll(server, "export", "ckpt_1", "onnx", "-o", "json")
    assert (ended.returncode, list(tmp_path.iterdir())) == (3, [])
    assert json.loads(ended.stdout)["error"]["code"] == "parity_failed"
    assert "the outputs differ" in ended.stderr


def test_artifacts_are_listed(server: ScriptedServer) -> None:
    server.script = Trained()
    (row,) = rows(unroll(server, "artifacts", "job_3").stdout)[1:]
    assert row[:4] == ["model.onnx", "7", "application/octet-stream", "2026-01-01T00:00:00+00:00"]
    (one,) = json.loads(unroll(server, "artifacts", "job_3", "-o", "json").stdout)
    assert (one["name"], one["sha256"]) == ("model.onnx", row[4])


def test_an_artifact_is_downloaded(server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.script = Trained()
    monkeypatch.chdir(tmp_path)
    ended = unroll(server, "artifacts", "job_2", "result.json", "--to", "-")
    assert (json.loads(ended.stdout), ended.stderr) == (examples.RESULT, "")
    ended = unroll(server, "artifacts", "job_3", "model.onnx", "-o", "json")
    assert json.loads(ended.stdout) == {"artifact": "model.onnx", "file": "model.onnx", "bytes": 7}
    assert Path("model.onnx").read_bytes() == b"\x08\x0a onnx"
    missing = unroll(server, "artifacts", "job_3", "model.txt")
    assert (missing.returncode, missing.stdout) == (1, "")
    nameless = unroll(server, "artifacts", "job_3", "--to", "x")
    assert (nameless.returncode, "name the file" in nameless.stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_file_that_cannot_be_written_is_one_sentence(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = Trained()
    ended = unroll(server, "artifacts", "job_3", "model.onnx", "--to", str(tmp_path / "none" / "x"))
    assert ended.returncode == 1
    assert "No such file or directory" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_jobs_of_all_kinds_are_listed_with_a_headline_each(server: ScriptedServer) -> None:
    server.script = service = Trained()
    service.jobs["job_4"] = examples.job(id="job_4", kind="sweep", config={"kind": "sweep"}, summary={"kind": "sweep"})
    ended = unroll(server, "jobs", "--kind", "train", "--parent", "job_0")
    assert ended.returncode == 0, ended.stderr
    header, *listed = rows(ended.stdout)
    assert header == ["job", "kind", "name", "status", "step", "of", "headline", "age"]
    assert [(row[0], row[1], row[6]) for row in listed] == [
        ("job_1", "train", "best loss 0.01, baseline 10.5"),
        ("job_2", "evaluate", "loss 0.75 ± 0.5, skill 0.925"),
        ("job_3", "export", "model.onnx, outputs equal to 2.5e-08"),
        ("job_4", "sweep", "-"),
    ]
    assert server.seen[0].query == {"kind": ["train"], "parent": ["job_0"], "limit": ["20"]}


DIVERGED = [
    {"replica": 1, "step": 40, "loss": None, "gradient_norm": None, "hint": "Clip."},
    {"replica": 3, "step": 50, "loss": None, "gradient_norm": None},
]


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (
            examples.job(
                summary=examples.trained(
                    best={"checkpoint": "ckpt_1", "replica": 0, "loss": 0.01},
                    diverged=DIVERGED,
                    stopped_replicas=[{"replica": 0, "step": 60, "reason": "skill_reached", "loss": 0.01}],
                )
            ),
            {
                "kind": "train",
                "parameters": "19",
                "baseline loss": "10.5",
                "best network": "replica 0 of ckpt_1",
                "diverged replicas": "1, 3",
                "hint": "Clip.",
                "stopped replicas": "0 at 60",
            },
        ),
        (
            examples.evaluated(),
            {"kind": "evaluate", "parent": "job_1", "loss": "0.75", "ci95": "0.25, 1.25", "skill": "0.925"},
        ),
        (examples.exported(), {"kind": "export", "artifact": "model.onnx", "size": "1,234 bytes"}),
        (
            examples.job(
                kind="sweep", config={"kind": "sweep"}, summary={"kind": "sweep", "trials": 3, "best": {"lr": 1}}
            ),
            {"kind": "sweep", "status": "running", "trials": "3", "best": "lr:1"},
        ),
    ],
    ids=["train", "evaluate", "export", "a newer server's"],
)
def test_a_job_of_any_kind_shows_what_it_has_to_say(
    server: ScriptedServer, job: dict[str, Any], expected: dict[str, str]
) -> None:
    server.script = service = Trained()
    service.jobs["job_9"] = job
    ended = unroll(server, "jobs", "job_9")
    assert ended.returncode == 0, ended.stderr
    shown = fields(ended.stdout)
    assert {name: shown.get(name) for name in expected} == expected
    as_json = json.loads(unroll(server, "jobs", "job_9", "-o", "json").stdout)
    assert (as_json["kind"], as_json["summary"]["kind"]) == (job["kind"], job["kind"])


@pytest.mark.parametrize("name", sorted(get_command(app).commands))
def test_every_command_helps_with_an_example_of_itself(server: ScriptedServer, name: str) -> None:
    said = " ".join(unroll(server, name, "--help").stdout.split())
    (example,) = re.findall(r"Example: unroll (\S+)", said)
    assert example == name
