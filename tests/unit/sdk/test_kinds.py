from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sdk import examples
from tests.unit.sdk.scripted_server import Answer, ScriptedServer, file
from tests.unit.sdk.service import Trained, submitted
from unroll import (
    Client,
    EvaluateJob,
    EvaluationResult,
    ExportJob,
    JobFailed,
    JobHandle,
    NotFoundError,
    TaskData,
    UnexpectedAnswerError,
)

PARITY = {"code": "parity_failed", "message": "the outputs differ"}


def test_a_handle_is_of_any_kind(server: ScriptedServer, client: Client) -> None:
    server.script = Trained()
    jobs = [client.job(f"job_{n}") for n in (1, 2, 3)]
    assert [repr(job) for job in jobs] == [
        "<train job job_1: succeeded, step 10 of 100, best loss 0.01, baseline 10.5>",
        "<evaluate job job_2: succeeded, step 512 of 512, loss 0.75 ± 0.5, skill 0.925>",
        "<export job job_3: succeeded, step 1 of 1, model.onnx, outputs equal to 2.5e-08>",
    ]
    assert [job.summary.kind for job in jobs] == ["train", "evaluate", "export"]
    assert [job.wait().parent for job in jobs] == [None, "job_1", "job_1"]


@pytest.mark.parametrize(
    ("config", "sent"),
    [
        (EvaluateJob(checkpoint="ckpt_1", sequences=8), {"kind": "evaluate", "checkpoint": "ckpt_1", "sequences": 8}),
        (
            ExportJob(checkpoint="ckpt_1", format="npz"),
            {"kind": "export", "checkpoint": "ckpt_1", "format": "npz"},
        ),
        (examples.CONFIG, examples.CONFIG),
    ],
    ids=["evaluate", "export", "plain"],
)
def test_jobs_of_any_kind_are_submitted_as_they_are(
    server: ScriptedServer, client: Client, config: Any, sent: dict[str, Any]
) -> None:
    server.script = Trained()
    job = client.submit(config, idempotency_key="once")
    assert isinstance(job, JobHandle)
    assert job.job.kind == sent["kind"]
    assert submitted(server.seen) == sent
    assert server.seen[0].headers["idempotency-key"] == "once"


def test_only_what_was_said_about_an_evaluation_or_an_export_is_sent(server: ScriptedServer, client: Client) -> None:
    server.script = Trained()
    client.evaluate("ckpt_1")
    client.evaluate("ckpt_1", lengths=[20, 40], sequences=8, seed=3, replica="all", loss={"type": "mse"}, priority=1)
    client.export("ckpt_1", "onnx", replica=0, labels={"lab": "noise"}, name="mine")
    plain, evaluation, export = (seen.json for seen in server.seen)
    assert plain == {"kind": "evaluate", "checkpoint": "ckpt_1"}
    assert evaluation == {
        **plain,
        "lengths": [20, 40],
        "sequences": 8,
        "seed": 3,
        "replica": "all",
        "loss": {"type": "mse"},
        "priority": 1,
    }
    labels = {"labels": {"lab": "noise"}, "name": "mine"}
    assert export == {"kind": "export", "checkpoint": "ckpt_1", "format": "onnx", "replica": 0, **labels}


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, None),
        ({"task": "adding"}, {"type": "task", "name": "adding", "parameters": {}}),
        (
            {"task": "adding", "parameters": {"length": 9}},
            {"type": "task", "name": "adding", "parameters": {"length": 9}},
        ),
        (
            {"parameters": {"length": 100, "min_length": 5}},
            {"type": "task", "name": "integrate_noise", "parameters": {"length": 100, "min_length": 5, "scale": 2}},
        ),
        ({"data": TaskData(name="xor")}, {"type": "task", "name": "xor"}),
        ({"data": {"name": "xor"}}, {"name": "xor"}),
    ],
    ids=["as trained", "task", "task and parameters", "parameters", "data", "plain data"],
)
@pytest.mark.parametrize("through", ["client", "best"])
def test_the_data_of_an_evaluation_are_named_in_several_ways(
    server: ScriptedServer, client: Client, through: str, asked: dict[str, Any], sent: Any
) -> None:
    server.script = service = Trained()
    service.checkpoint["data"] = {**examples.DATA, "parameters": {"length": 20, "scale": 2}}
    if through == "client":
        client.evaluate("ckpt_1", **asked)
    else:
        client.job("job_1").best().evaluate(**asked)
    assert submitted(server.seen).get("data") == sent


def test_data_that_are_named_twice_or_not_at_all_are_refused_here(server: ScriptedServer, client: Client) -> None:
    server.script = service = Trained()
    service.checkpoint["data"] = None
    for asked in ({"task": "xor"}, {"parameters": {"length": 3}}):
        with pytest.raises(ValueError, match="already"):
            client.evaluate("ckpt_1", data={"name": "xor"}, **asked)
    with pytest.raises(ValueError, match="ckpt_1 was not trained on a task"):
        client.evaluate("ckpt_1", parameters={"length": 3})
    assert all(seen.method == "GET" for seen in server.seen)


def test_the_best_network_is_evaluated_and_the_result_is_short_to_read(server: ScriptedServer, client: Client) -> None:
    server.script = Trained()
    found = client.job("job_1").best().evaluate(lengths=[20, 100])
    assert submitted(server.seen) == {"kind": "evaluate", "checkpoint": "ckpt_1", "replica": 0, "lengths": [20, 100]}
    assert isinstance(found, EvaluationResult)
    assert (found.mean, found.ci95, found.by_length[1].losses) == (0.75, (0.25, 1.25), [20.0, None])
    assert (found.job.id, found.job.status) == ("job_2", "succeeded")
    said = "loss 0.75 ± 0.5, baseline 10, skill 0.925; 2 replicas, 512 sequences"
    said += "; length 20: loss 0.75; length 100: loss not finite"
    assert repr(found) == str(found) == f"<evaluation job_2: {said}>"
    assert found.model_dump(mode="json") == json.loads(json.dumps(examples.RESULT))


@pytest.mark.parametrize(("asked", "sent"), [(None, 3), ("best", 3), (5, 5), ("all", "all")])
def test_the_best_network_is_its_replica_unless_another_is_asked_for(
    server: ScriptedServer, client: Client, asked: Any, sent: Any
) -> None:
    server.script = service = Trained()
    best = {"checkpoint": "ckpt_1", "replica": 3, "loss": 0.01}
    service.jobs["job_1"]["summary"] = examples.trained(best=best)
    network = client.job("job_1").best()
    network.evaluate(replica=asked)
    network.export("npz", replica=asked)
    assert [seen.json["replica"] for seen in server.seen if seen.method == "POST"] == [sent, sent]


def test_an_evaluation_without_a_spread_or_a_mean_says_so(server: ScriptedServer, client: Client) -> None:
    server.script = service = Trained()
    best = client.job("job_1").best()
    for change, said in (
        ({"replicas": [4], "losses": [0.5], "mean": 0.5, "ci95": None}, "loss 0.5, baseline 10, skill 0.95; replica 4"),
        ({"losses": [0.5, None], "mean": None, "ci95": None}, "loss not finite, baseline 10; 2 replicas"),
    ):
        result = examples.RESULT | {"by_length": []} | change
        service.files["job_2", "result.json"] = json.dumps(result).encode()
        assert repr(best.evaluate()) == f"<evaluation job_2: {said}, 512 sequences>"


def test_the_best_network_is_exported_as_bytes_or_as_a_file(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    server.script = Trained()
    best = client.job("job_1").best()
    content = best.export("onnx")
    assert content == b"\x08\x0a onnx"
    assert submitted(server.seen) == {"kind": "export", "checkpoint": "ckpt_1", "format": "onnx", "replica": 0}
    for path, place in ((tmp_path / "net.onnx", "net.onnx"), (str(tmp_path), "model.onnx")):
        assert best.export("onnx", path) == tmp_path / place
        assert (tmp_path / place).read_bytes() == content


def test_an_export_whose_outputs_differ_is_a_failed_job(server: ScriptedServer, client: Client) -> None:
    server.script = Trained({"status": "failed", "error": PARITY})
    with pytest.raises(JobFailed, match="the outputs differ"):
        client.job("job_1").best().export("onnx")
    assert not any("artifacts" in seen.path for seen in server.seen)


def test_artifacts_are_listed_and_their_content_is_checked(server: ScriptedServer, client: Client) -> None:
    server.script = Trained()
    job = client.job("job_3")
    assert [(one.name, one.size) for one in job.artifacts()] == [("model.onnx", 7)]
    assert job.artifact("model.onnx") == b"\x08\x0a onnx"
    with pytest.raises(NotFoundError):
        job.artifact("other.onnx")
    whole = file(b"content")
    for damaged in (Answer(200, b"contenT", whole.headers), Answer(200, b"content")):
        server.script = lambda _, answer=damaged: answer
        with pytest.raises(UnexpectedAnswerError, match=r"model\.onnx of job_3 does not have its SHA-256"):
            job.artifact("model.onnx")
    server.script = lambda _: Answer(200, b"content", {"ETag": f"W/{whole.headers['ETag']}"})
    assert job.artifact("model.onnx") == b"content"


def test_an_artifact_is_saved_where_it_is_told_and_nowhere_else(
    server: ScriptedServer, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = service = Trained()
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    service.files["job_3", "..%2Fescaped"] = b"outside"
    job = client.job("job_3")
    assert job.save_artifact("model.onnx") == Path("model.onnx")
    assert job.save_artifact("model.onnx", folder / "a.onnx") == folder / "a.onnx"
    assert job.save_artifact("../escaped") == Path("escaped")
    assert sorted(path.name for path in folder.iterdir()) == ["a.onnx", "escaped", "model.onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_a_result_has_the_type_that_its_kind_gives_it(server: ScriptedServer, client: Client) -> None:
    server.script = service = Trained()
    found = client.job("job_2").result()
    assert isinstance(found, EvaluationResult)
    assert found.skill == [0.95, 0.9]
    service.files["job_1", "result.json"] = b'{"anything": [1, null]}'
    assert client.job("job_1").result() == {"anything": [1, None]}
    with pytest.raises(LookupError, match=r"job_3 has no result\.json; it is succeeded"):
        client.job("job_3").result()


@pytest.mark.parametrize("job", ["job_2", "job_3"])
def test_a_kind_without_networks_of_its_own_has_no_best_one(server: ScriptedServer, client: Client, job: str) -> None:
    server.script = Trained()
    with pytest.raises(LookupError, match=f"{job} has no best network: it is of the kind e"):
        client.job(job).best()


@pytest.mark.parametrize(
    ("job", "line"),
    [
        ("job_1", "job_1 succeeded: step 10 of 100, loss 0.375 (median of 2, 0.25 to 0.5)"),
        ("job_2", "job_2 succeeded: step 512 of 512, loss 0.75"),
        ("job_3", "job_3 succeeded: step 1 of 1"),
    ],
)
def test_progress_shows_the_loss_of_kinds_that_have_one(
    server: ScriptedServer, client: Client, capsys: pytest.CaptureFixture[str], job: str, line: str
) -> None:
    server.script = Trained()
    client.job(job).wait(progress=True)
    assert capsys.readouterr().err == f"{line}\n"
