from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sdk import examples
from tests.unit.sdk.command import unroll
from tests.unit.sdk.scripted_server import Answer, ScriptedServer, Seen, problem
from tests.unit.sdk.service import DONE, TASK, Service

FLAGS = ["--task", "integrate_noise", "--hidden", "10", "--steps", "100"]


def test_flags_make_a_job_and_its_end_is_shown(server: ScriptedServer) -> None:
    server.script = Service(DONE)
    more = ["-p", "length=30", "--lr", "0.01", "--replicas", "8", "--seed", "3", "--label", "lab=noise", "--clip", "1"]
    more += ["--patience", "5", "--stop-at-skill", "0.9", "--keep-checkpoints", "5"]
    ended = unroll(server, "train", *FLAGS, *more, "--name", "sum", "-o", "json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["status"] == "succeeded"
    submitted = next(seen for seen in server.seen if seen.method == "POST")
    assert submitted.json == {
        "kind": "train",
        "name": "sum",
        "model": {"cell": {"type": "vanilla", "hidden_size": 10}, "input_size": 1, "output_size": 1},
        "data": {"type": "task", "name": "integrate_noise", "parameters": {"length": 30}},
        "training": {
            "steps": 100,
            "optimizer": {"type": "adam", "lr": 0.01},
            "clip": {"type": "global_norm", "max_norm": 1.0},
            "early_stopping": {"patience": 5},
            "stop_at_skill": 0.9,
            "keep_checkpoints": 5,
        },
        "replicas": 8,
        "seed": 3,
        "labels": {"lab": "noise"},
    }


REVERSE = {
    **TASK,
    "name": "reverse",
    "input_size": 8,
    "output_size": 8,
    "vocabulary_size": 8,
    "architectures": ["encoder_decoder"],
    "losses": ["cross_entropy"],
}


def test_flags_fit_network_and_loss_to_the_task(server: ScriptedServer, tmp_path: Path) -> None:
    service = Service(DONE)
    server.script = lambda seen: Answer(body=REVERSE) if "/tasks/" in seen.path else service(seen)
    flags = ["--task", "reverse", "--hidden", "10", "--steps", "100", "--detach"]
    file = tmp_path / "job.json"
    file.write_text(json.dumps({"training": {"loss": {"type": "bce"}}}))
    for more in ([], ["--embedding", "4"], ["-f", str(file), "-p", "length=7"]):
        ended = unroll(server, "train", *flags, *more)
        assert ended.returncode == 0, ended.stderr
    asked = [seen.query for seen in server.seen if "/tasks/" in seen.path]
    assert asked == [{}, {}, {"parameters": ['{"length":7}']}]
    one_hot, embedded, told = (seen.json for seen in server.seen if seen.method == "POST")
    assert one_hot["model"] == {
        "cell": {"type": "vanilla", "hidden_size": 10},
        "input_size": 8,
        "output_size": 8,
        "architecture": "encoder_decoder",
        "feedback": "softmax",
    }
    assert one_hot["training"] == {"loss": {"type": "cross_entropy"}, "steps": 100}
    assert embedded["model"] == {**one_hot["model"], "input_size": 4, "vocabulary_size": 8}
    assert (told["training"]["loss"], told["model"]["feedback"]) == ({"type": "bce"}, "sigmoid")


def test_flags_and_paths_reach_every_field_of_a_job(server: ScriptedServer) -> None:
    service = Service(DONE)
    server.script = lambda seen: Answer(body=REVERSE) if "/tasks/" in seen.path else service(seen)
    flags = ["--task", "reverse", "--hidden", "10", "--steps", "9", "--detach", "--cell", "leaky", "--layers", "2"]
    more = ["--loss", "bce", "--architecture", "many_to_many", "--window", "5", "--set", "model.cell.tau=[2, 3]"]
    ended = unroll(server, "train", *flags, *more, "--set", "training.schedule.type=cosine")
    assert ended.returncode == 0, ended.stderr
    sent = next(seen.json for seen in server.seen if seen.method == "POST")
    assert sent["model"] == {
        "cell": {"type": "leaky", "hidden_size": 10, "tau": [2, 3]},
        "input_size": 8,
        "output_size": 8,
        "architecture": "many_to_many",
        "num_layers": 2,
    }
    assert sent["training"] == {
        "loss": {"type": "bce"},
        "steps": 9,
        "bptt": {"window": 5},
        "schedule": {"type": "cosine"},
    }


def test_a_registered_model_is_trained_as_it_is(server: ScriptedServer) -> None:
    flags = ["--task", "integrate_noise", "--model", "mine", "--steps", "9"]
    for more in (["--cell", "gru"], ["--hidden", "5"], ["--activation", "relu"], ["--layers", "2"]):
        ended = unroll(server, "train", *flags, *more)
        assert (ended.returncode, server.seen) == (2, [])
        assert more[0] in ended.stderr


def test_an_embedding_is_for_tasks_of_tokens_and_for_inline_networks(server: ScriptedServer) -> None:
    server.script = Service(DONE)
    for flags in (FLAGS, ["--task", "integrate_noise", "--model", "m", "--steps", "100"]):
        ended = unroll(server, "train", *flags, "--embedding", "4")
        assert ended.returncode == 2
        assert "--embedding" in ended.stderr
    assert all(seen.method == "GET" for seen in server.seen)


def test_where_stderr_is_no_terminal_progress_is_lines(server: ScriptedServer) -> None:
    server.script = Service(DONE)
    ended = unroll(server, "train", *FLAGS)
    assert [line.partition(", ")[0] for line in ended.stderr.splitlines()] == [
        "submitted job_1",
        "job_1 queued: number 1 in the queue",
        "job_1 running: step 10 of 100",
        "job_1 succeeded: step 10 of 100",
    ]
    assert "status\tsucceeded\n" in ended.stdout


@pytest.mark.parametrize(("seconds", "said"), [(59.0, 0), (32400.0, 1), (None, 0)])
@pytest.mark.parametrize("more", [[], ["--detach"]])
def test_a_long_job_is_told_to_be_one(
    server: ScriptedServer, seconds: float | None, said: int, more: list[str]
) -> None:
    service = Service(DONE)
    for state in service.states[:2]:
        state["summary"] = examples.trained(estimated_seconds=seconds)
    server.script = service
    ended = unroll(server, "train", *FLAGS, *more)
    assert ended.stderr.count("job_1: about 9 h on one CPU worker") == said
    assert ("estimate\tabout 9 h on one CPU worker\n" in ended.stdout) == (said == 1 and more != [])


DIVERGED = [
    {"replica": 1, "step": 40, "loss": None, "gradient_norm": None, "hint": "Clip at 3."},
    {"replica": 2, "step": 45, "loss": None, "gradient_norm": None, "hint": "Clip at 4."},
]


def test_a_hint_is_given_once_a_job(server: ScriptedServer) -> None:
    server.script = Service({**DONE, "summary": examples.trained(diverged=DIVERGED)})
    ended = unroll(server, "train", *FLAGS)
    assert (ended.stderr + ended.stdout).count("Clip at") == 1
    shown = unroll(server, "jobs", "job_1")
    assert "hint\tClip at 3.\n" in shown.stdout


def test_flags_go_before_the_file(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = Service(DONE)
    file = tmp_path / "job.json"
    config = {**examples.CONFIG, "training": {"steps": 5, "optimizer": {"type": "sgd", "lr": 1.0, "momentum": 0.5}}}
    file.write_text(json.dumps(config))
    ended = unroll(server, "train", "-f", str(file), "--lr", "0.5", "-p", "length=7", "--detach")
    assert ended.returncode == 0, ended.stderr
    sent = server.seen[0].json
    assert sent["training"] == {"steps": 5, "optimizer": {"type": "sgd", "lr": 0.5, "momentum": 0.5}}
    assert sent["data"]["parameters"] == {"length": 7}
    assert sent["model"] == examples.NETWORK


def test_flags_go_into_a_file_of_short_forms(server: ScriptedServer, tmp_path: Path) -> None:
    server.script = Service(DONE)
    file = tmp_path / "job.json"
    training = {"steps": 9, "optimizer": "sgd", "clip": 1.0, "loss": "mse"}
    file.write_text(json.dumps({"data": "integrate_noise", "model": {"cell": "lstm"}, "training": training}))
    flags = ["--lr", "0.5", "-p", "length=7", "--hidden", "4", "--name", "my run", "--set", "model.input_size=1"]
    ended = unroll(server, "train", "-f", str(file), *flags, "--detach")
    assert ended.returncode == 0, ended.stderr
    job = server.seen[0].json
    assert job["name"] == "my run"
    assert job["data"] == {"type": "task", "name": "integrate_noise", "parameters": {"length": 7}}
    assert job["model"] == {"cell": {"type": "lstm", "hidden_size": 4}, "input_size": 1}
    assert job["training"]["optimizer"] == {"type": "sgd", "lr": 0.5}
    assert job["training"]["clip"] == {"type": "global_norm", "max_norm": 1.0}
    assert job["training"]["loss"] == {"type": "mse"}


def test_detached_means_no_question_after_the_submit(server: ScriptedServer) -> None:
    server.script = Service(DONE)
    assert unroll(server, "train", "-f", "-", "-d", stdin=json.dumps(examples.CONFIG)).returncode == 0
    assert [seen.method for seen in server.seen] == ["POST"]


def test_a_dry_run_stores_nothing_and_shows_the_cost(server: ScriptedServer) -> None:
    server.script = Service()
    ended = unroll(server, "train", "-f", "-", "--dry-run", stdin=json.dumps(examples.CONFIG))
    assert ended.returncode == 0, ended.stderr
    assert "memory\t3.0 MiB\n" in ended.stdout
    assert "time\tabout 1:05\n" in ended.stdout
    assert [(seen.path, seen.query["dry_run"]) for seen in server.seen] == [("/v1/jobs", ["true"])]


ERROR = {"code": "all_replicas_diverged", "message": "both diverged", "log": "step 40\nloss nan\n"}


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        (DONE, 0, ""),
        ({"status": "failed", "error": ERROR}, 3, "both diverged"),
        ({"status": "cancelled"}, 4, "was cancelled"),
    ],
)
def test_the_exit_code_of_watch_says_how_the_job_ended(
    server: ScriptedServer, ending: dict[str, Any], code: int, said: str
) -> None:
    server.script = Service(ending)
    ended = unroll(server, "watch", "job_1", "-o", "json")
    assert ended.returncode == code
    assert said in ended.stderr
    assert json.loads(ended.stdout)["status"] == ending["status"]
    assert ("loss nan" in ended.stderr) == (code == 3)


def test_wrong_usage_is_2_and_asks_the_server_nothing(server: ScriptedServer) -> None:
    for arguments in (["train"], ["train", "--hidden", "3"], ["watch"], ["train", *FLAGS, "-p", "length"], ["fly"]):
        assert unroll(server, *arguments).returncode == 2, arguments
    assert server.seen == []


def test_a_refusal_is_1_with_the_fields_and_the_request_on_stderr(server: ScriptedServer) -> None:
    errors = [{"pointer": "/training/steps", "detail": "must be at least 1", "code": "greater_than_equal"}]
    server.script = lambda _: problem(422, "validation_failed", body={"errors": errors})
    ended = unroll(server, "train", "-f", "-", stdin=json.dumps(examples.CONFIG))
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "/training/steps: must be at least 1" in ended.stderr
    assert "request id: req-1" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry"])
def test_a_job_is_steered_by_its_id(server: ScriptedServer, verb: str) -> None:
    server.script = lambda _: Answer(body=examples.job(requested="cancel"))
    ended = unroll(server, verb, "job_1")
    assert ended.returncode == 0, ended.stderr
    assert "status\trunning (cancel requested)\n" in ended.stdout
    assert [(seen.method, seen.path) for seen in server.seen] == [("POST", f"/v1/jobs/job_1/{verb}")]


def test_jobs_are_listed_by_filter_over_pages(server: ScriptedServer) -> None:
    page = {"data": [examples.job(id="job_1"), examples.job(id="job_2", name="tab\tbed")], "next": "more"}
    server.script = lambda _: Answer(body=page)
    ended = unroll(server, "jobs", "--status", "running", "--label", "lab=noise", "--limit", "3")
    assert ended.returncode == 0, ended.stderr
    lines = [line.split("\t") for line in ended.stdout.splitlines()]
    assert [line[0] for line in lines] == ["job", "job_1", "job_2", "job_1"]
    assert {len(line) for line in lines} == {len(lines[0])}
    assert server.seen[0].query["status"] == ["running"]
    assert server.seen[0].query["label"] == ["lab:noise"]
    assert len(server.seen) == 2


def test_a_hint_is_given_once_for_a_job_that_failed_for_it(server: ScriptedServer) -> None:
    error = {"code": "all_replicas_diverged", "message": "All 2 replicas diverged, the last at step 45. Clip at 4."}
    server.script = Service({"status": "failed", "error": error, "summary": examples.trained(diverged=DIVERGED)})
    ended = unroll(server, "train", *FLAGS)
    assert ended.returncode == 3
    assert (ended.stderr + ended.stdout).count("Clip at") == 1
    assert "error\tAll 2 replicas diverged, the last at step 45. (all_replicas_diverged)\n" in ended.stdout
    assert "Clip at 4." in unroll(server, "jobs", "job_1").stdout


def trial(number: int, lr: float, **fields: Any) -> dict[str, Any]:
    training = {"steps": 100, "optimizer": {"type": "adam", "lr": lr}, "held_out": {"seed": number}}
    config = {**examples.CONFIG, "training": training, "seed": number}
    return examples.job(id=f"job_{number}", config=config, **fields)


def test_a_list_by_label_shows_what_differs(server: ScriptedServer) -> None:
    labels = {"sweep": "a"}
    trials = [trial(1, 0.01, labels={**labels, "arm": "x"}), trial(2, 0.1, labels={**labels, "arm": "y"})]
    trials.append(
        examples.job(id="job_3", kind="sweep", config={"kind": "sweep", "trials": 3}, summary={"kind": "sweep"})
    )
    server.script = lambda _: Answer(body={"data": trials[:2], "next": None})
    header, *rows = (line.split("\t") for line in unroll(server, "jobs", "--label", "sweep=a").stdout.splitlines())
    assert header[8:] == ["arm", "lr", "held_out.seed", "seed"]
    assert [row[8:] for row in rows] == [["x", "0.01", "1", "1"], ["y", "0.1", "2", "2"]]
    header, *_ = (line.split("\t") for line in unroll(server, "jobs").stdout.splitlines())
    assert header[-1] == "age"
    server.script = lambda _: Answer(body={"data": trials, "next": None})
    header, *rows = (line.split("\t") for line in unroll(server, "jobs", "--label", "sweep=a").stdout.splitlines())
    assert {len(row) for row in rows} == {len(header)}
    assert len(header) <= 8 + 10


def test_one_job_is_shown(server: ScriptedServer) -> None:
    server.script = Service(DONE)
    ended = unroll(server, "jobs", "job_1")
    assert "progress\tnumber 1 in the queue\n" in ended.stdout


def test_tasks_and_models_are_shown_as_table_and_as_json(server: ScriptedServer) -> None:
    model = {"name": "m", "config": examples.NETWORK, "parameters": 19, "serving": None, "created_at": examples.TIME}
    server.script = Service()
    assert "integration\tintegrate_noise\t1\t1\t10.5\tsum white noise\n" in unroll(server, "tasks").stdout
    assert "-p length=\ttime steps (default 20)\n" in unroll(server, "tasks", "integrate_noise").stdout
    (task,) = json.loads(unroll(server, "tasks", "-o", "json").stdout)
    assert {name: task[name] for name in TASK} == TASK
    server.script = lambda _: Answer(body={"data": [model], "next": None})
    assert "m\t19\t-\t-\t-\t2026-01-01T00:00:00+00:00\n" in unroll(server, "models").stdout
    assert json.loads(unroll(server, "models", "-o", "json").stdout)[0]["name"] == "m"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-f", "-", "--lr", "nan"], "/training/optimizer/lr is nan, not a finite number"),
        (["-f", "-", "--max-seconds", "inf"], "/max_seconds is inf, not a finite number"),
        (["-f", "-", "-p", "length=NaN"], "/data/parameters/length is nan, not a finite number"),
        (["-f", "-", "--set", "model.cell.tau=-Infinity"], "/model/cell/tau is -inf, not a finite number"),
        (["--task", "integrate_noise", "--hidden", "3", "-p", "length=NaN"], "/parameters/length is nan, not a finite"),
    ],
)
def test_a_number_that_is_none_is_told_by_its_field(server: ScriptedServer, arguments: list[str], said: str) -> None:
    ended = unroll(server, "train", *arguments, stdin=json.dumps(examples.CONFIG))
    assert (ended.returncode, server.seen) == (1, [])
    assert ended.stderr.startswith(f"unroll: {said}")
    text = json.dumps({**examples.CONFIG, "max_seconds": float("nan")})
    assert "/max_seconds is nan" in unroll(server, "train", "-f", "-", stdin=text).stderr


@pytest.mark.parametrize("verb", ["watch", "jobs", "artifacts", "cancel", "pause", "resume", "retry"])
def test_a_name_stands_for_the_newest_job_of_that_name(server: ScriptedServer, verb: str) -> None:
    def answer(seen: Seen) -> Answer:
        if seen.path == "/v1/jobs":
            found = [examples.job(id="job_9", name="sum")] if seen.query == {"name": ["sum"], "limit": ["1"]} else []
            return Answer(body={"data": found, "next": None})
        if seen.path.startswith("/v1/jobs/job_9"):
            listed = {"data": [], "next": None}
            return Answer(body=listed if "artifacts" in seen.path else examples.job(id="job_9", status="succeeded"))
        return problem(404, "not_found")

    server.script = answer
    ended = unroll(server, verb, "sum")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.startswith("sum is job_9, the newest job of that name\n")
    ended = unroll(server, verb, "nobody")
    assert ended.returncode == 1
    assert "there is no job of the name 'nobody', and it is no id: ids begin with job_" in ended.stderr
