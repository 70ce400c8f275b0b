from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.unit.sdk import examples
from tests.unit.sdk.scripted_server import Answer, ScriptedServer
from unroll import Client, Network, TaskData, Training, VanillaCell
from unroll._wire import summary_of
from unroll.contract import SGD, ChangeKey


def test_only_fields_that_were_set_are_sent_and_what_kind_they_are(server: ScriptedServer, client: Client) -> None:
    server.answers(Answer(202, examples.job()))
    client.train(
        model=Network(cell=VanillaCell(hidden_size=10), input_size=1, output_size=1),
        data=TaskData(name="integrate_noise"),
        training=Training(steps=100, optimizer=SGD(lr=0.1)),
        replicas=8,
    )
    assert server.seen[0].json == {
        "kind": "train",
        "model": {"cell": {"type": "vanilla", "hidden_size": 10}, "input_size": 1, "output_size": 1},
        "data": {"type": "task", "name": "integrate_noise"},
        "training": {"steps": 100, "optimizer": {"type": "sgd", "lr": 0.1}},
        "replicas": 8,
    }


def test_a_field_that_was_set_to_none_is_sent_as_null(server: ScriptedServer, client: Client) -> None:
    server.answers(Answer(body=examples.key()))
    client.keys.update("key_1", ChangeKey(max_active_jobs=None))
    assert server.seen[0].method == "PATCH"
    assert server.seen[0].json == {"max_active_jobs": None}


def test_plain_dicts_are_sent_as_they_are_with_numpy_numbers_as_numbers(server: ScriptedServer, client: Client) -> None:
    server.answers(Answer(202, examples.job()))
    config = {**examples.CONFIG, "seed": np.int64(3), "new_field": [np.float32(0.5), np.arange(2)]}
    client.jobs.submit(config)
    assert server.seen[0].json == {**examples.CONFIG, "seed": 3, "new_field": [0.5, [0, 1]]}


MASKED = np.ma.MaskedArray([1.0, 2.0], [False, True])


@pytest.mark.parametrize(
    ("value", "pointer", "said"),
    [
        (float("nan"), "", "nan, not a finite number"),
        (float("inf"), "", "inf, not a finite number"),
        (float("-inf"), "", "-inf, not a finite number"),
        (np.float64("nan"), "", "nan, not a finite number"),
        (np.float32("inf"), "", "inf, not a finite number"),
        (np.longdouble("nan"), "", "nan, not a finite number"),
        ([1.0, [2.0, float("nan")]], "/1/1", "nan, not a finite number"),
        (np.array([[0.0, np.nan]]), "/0/1", "nan, not a finite number"),
        ({"a/b": {"~": float("nan")}}, "/a~1b/~0", "nan, not a finite number"),
        (MASKED, "/1", "masked"),
        (np.ma.masked, "", "masked"),
        (datetime(2030, 1, 1), "", "2030-01-01 00:00:00, which has no time zone"),  # noqa: DTZ001
        (pd.NaT, "", "NaT, which has no time zone"),
    ],
    ids=repr,
)
def test_what_is_no_number_is_told_by_its_field_and_never_leaves(
    server: ScriptedServer, client: Client, value: object, pointer: str, said: str
) -> None:
    for config, where in (
        ({**examples.CONFIG, "max_seconds": value}, "/max_seconds"),
        ({**examples.CONFIG, "training": {"optimizer": {"type": "adam", "lr": value}}}, "/training/optimizer/lr"),
        ({**examples.CONFIG, "data": TaskData(name="sine", parameters={"x": value})}, "/data/parameters/x"),
    ):
        with pytest.raises(ValueError, match="is") as caught:
            client.jobs.submit(config)
        assert str(caught.value) == f"{where}{pointer} is {said}"
    with pytest.raises(ValueError, match="is") as caught:
        client.tasks.get("sine", {"x": value})
    assert str(caught.value) == f"/parameters/x{pointer} is {said}"
    assert server.seen == []


@pytest.mark.parametrize("value", [pd.NA, Decimal(1), {1, 2}, object()], ids=lambda value: type(value).__name__)
def test_what_json_does_not_have_is_told_by_its_field(server: ScriptedServer, client: Client, value: object) -> None:
    with pytest.raises(TypeError, match=f"^/training/steps is {type(value).__name__}, which JSON does not have$"):
        client.jobs.submit({**examples.CONFIG, "training": {"steps": value}})
    assert server.seen == []


def test_a_masked_array_without_masked_values_is_an_array(server: ScriptedServer, client: Client) -> None:
    server.answers(Answer(202, examples.job()))
    client.jobs.submit({**examples.CONFIG, "x": np.ma.MaskedArray([1.0, 2.0], [False, False])})
    assert server.seen[0].json["x"] == [1.0, 2.0]


def test_an_expiry_needs_a_time_zone(server: ScriptedServer, client: Client) -> None:
    server.answers(Answer(201, examples.key(secret="s")))
    client.keys.create("a", expires_at=datetime(2030, 1, 1, tzinfo=UTC))
    assert datetime.fromisoformat(server.seen[0].json["expires_at"]) == datetime(2030, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="time zone"):
        client.keys.create("a", expires_at=datetime(2030, 1, 1))  # noqa: DTZ001


def test_unknown_fields_of_an_answer_are_ignored_at_every_depth(server: ScriptedServer, client: Client) -> None:
    def strewn(value: Any) -> Any:
        if isinstance(value, dict):
            return {"a_new_field": {"x": 1}} | {key: strewn(item) for key, item in value.items()}
        return [strewn(item) for item in value] if isinstance(value, list) else value

    plain = examples.job(labels={}, summary=examples.trained(best={"checkpoint": "ckpt_1", "replica": 1, "loss": 0.1}))
    new = strewn(plain) | {"labels": {}}
    new["config"]["data"]["parameters"] = {"length": 20}
    server.answers(Answer(body=plain), Answer(body=new))
    assert client.jobs.get("job_1") == client.jobs.get("job_1")


def test_a_list_stays_readable_when_a_newer_server_has_new_words_in_it(server: ScriptedServer, client: Client) -> None:
    lstm = {"type": "lstm", "hidden_size": 4, "forget_bias": 1.0}
    new = examples.job(id="job_2", status="archived")
    new["config"] = {**examples.CONFIG, "model": {**examples.NETWORK, "cell": lstm}}
    server.answers(Answer(body={"data": [new, examples.job()], "next": None}))
    strange, known = client.jobs.list()
    assert strange.status == "archived"
    assert strange.progress.step == 10
    assert getattr(strange.config, "model") is not None  # noqa: B009 - whatever its type is
    assert json.dumps(lstm) in json.dumps(strange.model_dump(mode="json", warnings=False))
    assert known.status == "running"


def test_a_kind_of_job_that_only_the_server_knows_is_kept_as_it_came(server: ScriptedServer, client: Client) -> None:
    config, summary = {"kind": "sweep", "over": "lr"}, {"kind": "sweep", "trials": 7, "best_lr": 0.01}
    new = examples.job(kind="sweep", config=config, summary=summary)
    server.script = lambda _: Answer(body=new)
    job = client.job("job_1")
    assert (job.job.kind, job.job.config, job.job.summary) == ("sweep", config, summary)
    assert summary_of(job.job).details() == {"trials": 7, "best lr": 0.01}
    assert (summary_of(job.job).headline(), summary_of(job.job).notes()) == (None, [])
    with pytest.raises(LookupError, match="sweep"):
        job.best()


def test_a_summary_with_a_new_word_in_it_is_still_one_of_its_kind(server: ScriptedServer, client: Client) -> None:
    best = {"checkpoint": "ckpt_1", "replica": 1, "loss": 0.1}
    new = examples.job(status="succeeded", summary=examples.trained(stopped="bored", best=best))
    server.script = lambda _: Answer(body=new)
    job = client.job("job_1")
    assert (job.best().checkpoint_id, summary_of(job.job).details()["stopped by"]) == ("ckpt_1", "bored")


def test_requests_name_the_key_the_package_and_the_python(server: ScriptedServer, client: Client) -> None:
    server.answers(Answer(body=examples.job()))
    client.jobs.get("job_1")
    headers = server.seen[0].headers
    assert headers["authorization"] == "Bearer secret"
    assert headers["user-agent"].startswith("unroll-sdk/")


def test_names_are_quoted_in_paths(server: ScriptedServer, client: Client) -> None:
    server.answers(Answer(204))
    client.models.delete("a/../b?c")
    assert server.seen[0].path == "/v1/models/a%2F..%2Fb%3Fc"
