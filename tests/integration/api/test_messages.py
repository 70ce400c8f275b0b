"""What people are told about the most natural mistakes, message by message."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from rnn.data import tasks
from tests.integration.api.serving import JOB, Api, problem

HEADERS = {"Content-Type": "application/json"}


def changed(pointer: str, value: Any) -> dict[str, Any]:
    """The job with one field changed or added."""
    job = json.loads(json.dumps(JOB))
    *path, last = pointer.strip("/").split("/")
    place = job
    for part in path:
        place = place.setdefault(part, {})
    place[last] = value
    return job


NETWORK = '{"cell": {"type": "vanilla", "hidden_size": 64}, "input_size": 1, "output_size": 1}'
CELLS = "'vanilla', 'leaky', 'linear', 'feedforward', 'lstm' or 'gru'"
TASKS = ", ".join(tasks.TASKS)
ACTIVATIONS = "'tanh', 'relu', 'leaky_relu', 'softplus', 'sigmoid', 'identity' or 'saturated_relu'"
ARCHITECTURES = "'one_to_one', 'one_to_many', 'many_to_one', 'many_to_many' or 'encoder_decoder'"
OPTIMIZERS = "'adam', 'adamw', 'sgd' or 'rmsprop'"
LOSSES = "'mse', 'cross_entropy', 'bce' or 'poisson'"
ADAM = 'an object, for example {"type": "adam", "lr": 0.001}'
MSE = 'an object, for example {"type": "mse"}'
ADAM_FORM = f'a name, for example "adam", or {ADAM}'
LETTERS = "Only letters A to Z, digits, '.', '_' and '-' are allowed, at most 100, the first one a letter or digit"
MESSAGES: list[tuple[str, Any, str, str]] = [
    # a field that there is not: a slip, a name of other programs, or another place
    ("/training/batchsize", 4, "", "training has no such field. Did you mean batch_size?"),
    ("/training/epochs", 4, "", "training has no such field. Did you mean steps?"),
    ("/data/parameters/lenght", 4, "", "integrate_noise has no such field. Did you mean length?"),
    (
        "/data/length",
        4,
        "",
        "data has no such field; it has name, parameters. Parameters of the task belong in data.parameters",
    ),
    ("/model/initialization", "x", "", "model has no such field. Did you mean initialisation?"),
    ("/steps", 100, "", "train has no such field: steps belongs in training"),
    ("/lr", 0.1, "", "train has no such field: lr belongs in training.optimizer"),
    ("/learning_rate", 0.1, "", "train has no such field. Did you mean training.optimizer.lr?"),
    ("/training/lr", 0.1, "", "training has no such field: lr belongs in training.optimizer"),
    ("/training/optimizer", {"learning_rate": 0.1}, "/learning_rate", "adam has no such field. Did you mean lr?"),
    ("/training/optimizer", {"momentum": 0.9}, "/momentum", "adam has no such field; sgd and rmsprop have it"),
    ("/training/replicas", 2, "", "training has no such field: replicas belongs at the top level"),
    ("/model/hidden_size", 9, "", "model has no such field: hidden_size belongs in model.cell"),
    ("/checkpoint", "c", "", "train has no such field; evaluate and export have it"),
    # a name that there is not
    (
        "/data/name",
        "integrate_nois",
        "",
        f"There is no task integrate_nois; there are {TASKS}. Did you mean integrate_noise?",
    ),
    (
        "/data",
        "integrate_nois",
        "/name",
        f"There is no task integrate_nois; there are {TASKS}. Did you mean integrate_noise?",
    ),
    ("/data", "integrate noise", "", f"{LETTERS}. Did you mean integrate_noise?"),
    ("/model/cell/type", "LSTM", "", f"Input should be {CELLS}. Did you mean lstm?"),
    ("/model/cell/type", "rnn", "", f"Input should be {CELLS}. Did you mean vanilla?"),
    (
        "/model/cell/activation",
        "Tanh",
        "",
        f"Input should be {ACTIVATIONS}. Did you mean tanh?",
    ),
    (
        "/model/architecture",
        "many_to_mny",
        "",
        f"Input should be {ARCHITECTURES}. Did you mean many_to_many?",
    ),
    (
        "/training/optimizer",
        {"type": "adma"},
        "/type",
        "Input should be 'adam', 'adamw', 'sgd' or 'rmsprop'. Did you mean adam?",
    ),
    (
        "/training/optimizer",
        "adma",
        "",
        f"Input should be {OPTIMIZERS}, or {ADAM}. Did you mean adam?",
    ),
    (
        "/training/loss",
        "crossentropy",
        "",
        f"Input should be {LOSSES}, or {MSE}. Did you mean cross_entropy?",
    ),
    ("/kind", "trian", "", "Input should be 'train', 'evaluate' or 'export'. Did you mean train?"),
    ("/device", "gpu", "", "Input should be 'auto', 'cpu' or 'cuda'. Did you mean cuda?"),
    ("/dtype", "float16", "", "Input should be 'float32' or 'float64'"),
    ("/model", "no-such-model", "", "There is no model no-such-model; none is registered."),
    # a short form that says too little, or something of another type
    ("/model/cell", "lstm", "", 'lstm needs hidden_size: write {"type": "lstm", "hidden_size": 64}'),
    ("/training/clip", "global_norm", "", 'global_norm needs max_norm: write {"type": "global_norm", "max_norm": 1.0}'),
    ("/training/schedule", "cosine", "", 'cosine needs steps: write {"type": "cosine", "steps": 2000}'),
    ("/training/schedule", {"steps": 9}, "/type", "This field is required: 'step', 'exponential' or 'cosine'"),
    ("/training/optimizer", 5, "", f"Input should be {ADAM_FORM}"),
    ("/training/optimizer", ["adam"], "", f"Input should be {ADAM_FORM}"),
    (
        "/training/optimizer",
        None,
        "",
        f"Input should be {ADAM_FORM}, not null; leave the field out to have its default",
    ),
    (
        "/training/clip",
        True,
        "",
        'Input should be a number, for example 1.0, or an object, for example {"type": "global_norm", "max_norm": 1.0}',
    ),
    ("/training/clip", -1, "", "Input should be at least 1e-30, not -1"),
    ("/model/cell", 64, "", 'Input should be an object, for example {"type": "vanilla", "hidden_size": 64}'),
    ("/model", [], "", f"Input should be a name, or an object, for example {NETWORK}"),
    (
        "/data",
        [1],
        "",
        (
            'Input should be a name, for example "integrate_noise", or an object, for example '
            '{"type": "task", "name": "integrate_noise"}'
        ),
    ),
    ("/data/parameters", [20], "", 'Input should be an object, for example {"length": 20}'),
    ("/training", [], "", 'Input should be an object, for example {"steps": 2000}'),
    ("/training/bptt", 20, "", 'Input should be an object, for example {"window": 20}'),
    ("/training/held_out", 100, "", 'Input should be an object, for example {"size": 512}'),
    ("/model/connectivity", {"dale": True}, "/dale", 'Input should be an object, for example {"excitatory": 0.8}'),
    ("/labels", ["a"], "", 'Input should be an object, for example {"course": "week-7"}'),
    ("/labels/a", 1, "", 'Input should be text: write "1"'),
    # numbers
    ("/training/steps", "100", "", "Input should be a whole number: write 100 without quotes"),
    ("/training/steps", "many", "", "Input should be a whole number, not text"),
    ("/training/steps", 1000.5, "", "Input should be a whole number, not 1000.5"),
    ("/training/steps", None, "", "Input should be a whole number, not null"),
    ("/training/steps", -1, "", "Input should be at least 1, not -1"),
    ("/data/parameters/length", "20", "", "Input should be a whole number: write 20 without quotes"),
    ("/data/parameters/length", -3, "", "Input should be at least 1, not -3"),
    ("/model/cell/hidden_size", 10**400, "", "Input should be at most 16384, not a number with so many digits"),
    ("/model/input_size", 2, "", "task integrate_noise needs input_size 1, not 2"),
    # names
    ("/name", "two\nlines", "", "Line breaks and other control characters are not allowed"),
    ("/name", "", "", "Input should not be empty"),
    ("/name", 5, "", 'Input should be text: write "5"'),
    ("/model", "not a name", "", f"{LETTERS}. Did you mean not_a_name?"),
]


@pytest.mark.parametrize(
    ("pointer", "value", "below", "detail"), MESSAGES, ids=[f"{at}={str(value)[:20]}" for at, value, _, _ in MESSAGES]
)
def test_a_message_says_what_is_allowed_and_what_was_meant(
    shared: tuple[Api, httpx2.Client], pointer: str, value: Any, below: str, detail: str
):
    _, client = shared
    response = client.post("/v1/jobs?dry_run=true", content=json.dumps(changed(pointer, value)), headers=HEADERS)
    (error,) = problem(response, 422, "validation_failed")["errors"]
    assert (error["pointer"], error["detail"]) == (pointer + below, detail)


@pytest.mark.parametrize(
    ("missing", "detail"),
    [
        ("model", f"This field is required, for example {NETWORK}"),
        ("data", 'This field is required, for example {"type": "task", "name": "integrate_noise"}'),
        ("training", 'This field is required, for example {"steps": 2000}'),
    ],
)
def test_a_part_that_is_missing_is_shown(shared: tuple[Api, httpx2.Client], missing: str, detail: str):
    _, client = shared
    body = {name: value for name, value in JOB.items() if name != missing}
    (error,) = problem(client.post("/v1/jobs", json=body), 422, "validation_failed")["errors"]
    assert (error["pointer"], error["detail"]) == (f"/{missing}", detail)


@pytest.mark.parametrize(
    ("method", "path", "body", "detail"),
    [
        (
            "GET",
            "/v1/jobs?statu=running",
            None,
            (
                "There is no such query parameter. There is status, label, kind, parent, model, name, limit, cursor. "
                "Did you mean status?"
            ),
        ),
        (
            "GET",
            "/v1/jobs?status=runing",
            None,
            (
                "Input should be 'queued', 'running', 'paused', 'succeeded', 'failed' or 'cancelled'. "
                "Did you mean running?"
            ),
        ),
        ("GET", "/v1/jobs?limit=x", None, "Input should be a whole number, not x"),
        ("GET", "/v1/jobs?limit=1000", None, "Input should be at most 200, not 1000"),
        ("GET", "/v1/jobs?kind=trian", None, "Input should be 'train', 'evaluate' or 'export'. Did you mean train?"),
        (
            "POST",
            "/v1/jobs?dryrun=true",
            JOB,
            "There is no such query parameter. There is dry_run, confirm_long. Did you mean dry_run?",
        ),
        ("GET", '/v1/tasks/sine?parameters={"lenght":3}', None, "sine has no such field. Did you mean length?"),
        ("GET", "/v1/tasks/sine?parameters=length", None, 'Input should be a JSON object, for example {"length": 20}'),
        ("POST", "/v1/models", {"name": "my model", "config": JOB["model"]}, f"{LETTERS}. Did you mean my_model?"),
        (
            "POST",
            "/v1/keys",
            {"name": "my key", "scopes": ["rad"]},
            "Input should be 'read', 'write', 'predict' or 'admin'. Did you mean read?",
        ),
        ("POST", "/v1/keys", {"name": "my key", "scopes": "read"}, 'Input should be a list: write ["read"]'),
        (
            "POST",
            "/v1/keys",
            {"name": "k", "expires_at": "tomorrow"},
            'Input should be a time with its zone, for example "2030-12-31T12:00:00Z"',
        ),
        (
            "POST",
            "/v1/models/m/predict",
            {"inputs": [1, 2]},
            "Input should be a list; the whole list looks like [[[0.5], [-1.0]]]",
        ),
        (
            "POST",
            "/v1/models/m/predict",
            {"inputs": [[[1]]], "return": ["output"]},
            "Input should be 'outputs', 'state' or 'hidden'. Did you mean outputs?",
        ),
        ("POST", "/v1/checks", {"model": JOB["model"], "steps": 3}, "There is no such field. Did you mean time_steps?"),
        (
            "POST",
            "/v1/jobs",
            {"kind": "export", "checkpoint": "c", "format": "onx"},
            "Input should be 'safetensors', 'npz', 'torch' or 'onnx'. Did you mean onnx?",
        ),
    ],
)
def test_messages_of_other_requests_are_as_plain(
    shared: tuple[Api, httpx2.Client], method: str, path: str, body: Any, detail: str
):
    _, client = shared
    response = client.request(method, path, json=body)
    assert [error["detail"] for error in problem(response, 422, "validation_failed")["errors"]] == [detail]


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/v1/job", "There is nothing at /v1/job. Did you mean /v1/jobs?"),
        ("/jobs", "There is nothing at /jobs. Did you mean /v1/jobs?"),
        ("/v1/jobs/", "There is nothing at /v1/jobs/. Did you mean /v1/jobs?"),
        ("/v1/model/mine/predict", "There is nothing at /v1/model/mine/predict. Did you mean /v1/models/mine/predict?"),
        ("/v1/nothing", "There is nothing at /v1/nothing."),
        ("/v1/tasks/integrate", f"There is no task integrate; there are {TASKS}. Did you mean integrate_noise?"),
    ],
)
def test_what_does_not_exist_is_told_with_what_does(shared: tuple[Api, httpx2.Client], path: str, detail: str):
    _, client = shared
    assert problem(client.get(path), 404, "not_found")["detail"] == detail


def test_short_forms_are_stored_and_answered_in_full(api: Api, client: httpx2.Client):
    network = JOB["model"] | {"initialisation": "orthogonal"}
    short = {
        "model": network,
        "data": "integrate_noise",
        "training": {"steps": 10, "optimizer": {"lr": 0.01}, "loss": "mse", "clip": 1},
    }
    headers = {"Idempotency-Key": "short-and-long"}
    job = client.post("/v1/jobs", json=short, headers=headers).json()
    config = client.get(f"/v1/jobs/{job['id']}").json()["config"]
    assert config["model"]["initialisation"] == {"type": "orthogonal", "gain": 1.0}
    assert config["data"] == {"type": "task", "name": "integrate_noise", "parameters": {}}
    assert config["training"]["optimizer"] == {"type": "adam", "lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    assert config["training"]["loss"]["type"] == "mse"
    assert config["training"]["clip"] == {"type": "global_norm", "max_norm": 1.0}
    again = client.post("/v1/jobs", json=config, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, job["id"])
    assert api.count() == 1


def test_names_for_people_have_spaces_and_any_letters_and_can_be_filtered_by(client: httpx2.Client):
    for name in ("my run", "Öğrenme №3 ☃", '👩‍🔬 it\'s 100 % "quoted"', "運動" * 50):
        job = client.post("/v1/jobs", json=JOB | {"name": f"  {name} "}).json()
        assert job["name"] == name
        found = client.get("/v1/jobs", params={"name": f" {name}"}).json()["data"]
        assert [one["id"] for one in found] == [job["id"]]
        key = client.post("/v1/keys", json={"name": name}).json()
        assert client.get(f"/v1/keys/{key['id']}").json()["name"] == name


def test_a_model_that_is_not_there_is_told_from_those_that_are(client: httpx2.Client):
    client.post("/v1/models", json={"name": "integrator", "config": JOB["model"]})
    detail = "There is no model integrater; there is integrator. Did you mean integrator?"
    assert problem(client.get("/v1/models/integrater"), 404, "not_found")["detail"] == detail
    refused = problem(client.post("/v1/jobs", json=JOB | {"model": "integrater"}), 422, "validation_failed")
    assert [(error["pointer"], error["detail"]) for error in refused["errors"]] == [("/model", detail)]


@pytest.mark.parametrize(
    ("content", "cure"),
    [
        (b" ", "The body is empty; send a JSON object."),
        (b'{"kind": "train",}', "leave the last comma out"),
        (b"{'kind': 'train'}", "names stand in double quotes"),
        (b'{"replicas": None}', "true, false and null are written in small letters"),
        (b'{"kind": "train"', "the end is missing"),
    ],
)
def test_what_is_no_json_is_told_its_cure(shared: tuple[Api, httpx2.Client], content: bytes, cure: str):
    _, client = shared
    response = client.post("/v1/jobs", content=content, headers=HEADERS)
    assert cure in problem(response, 400, "malformed_request")["detail"]
