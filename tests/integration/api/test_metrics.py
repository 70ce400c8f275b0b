from __future__ import annotations

import csv
import io

import httpx2
import numpy as np
import pyarrow as pa
import pytest

from store import metrics
from tests.integration.api.serving import JOB, Api, claim, curve, pointers, problem
from unroll import Client


@pytest.fixture
def path(api: Api, client: httpx2.Client) -> str:
    """The metrics of a job: 1,000 steps, 2 replicas, an extreme at step 500, and a replica that diverges at 900."""
    job = client.post("/v1/jobs", json=JOB | {"training": {"steps": 2000}}).json()["id"]
    values = np.stack([np.linspace(10, 1, 1000), np.linspace(9, 2, 1000)], axis=1)
    values[499, 0] = 77.5
    values[899:, 1] = np.nan
    lease = claim(api)
    for start in range(0, 1000, 250):
        curve(lease, values[start : start + 250], start + 1)
    return f"/v1/jobs/{job}/metrics"


def test_metrics_are_series_of_each_replica(client: httpx2.Client, path: str):
    found = client.get(path).json()
    assert (found["last_step"], found["downsampled"]) == (1000, False)
    assert [(one["name"], one["replica"], len(one["steps"])) for one in found["series"]] == [
        ("loss", 0, 1000),
        ("loss", 1, 1000),
    ]
    assert found["series"][0]["steps"] == list(range(1, 1001))
    assert found["series"][0]["values"][499] == 77.5
    assert found["series"][1]["values"][898:901] == [pytest.approx(9 - 7 * 898 / 999), None, None]


def test_a_thinned_series_keeps_its_end_points_and_extremes(client: httpx2.Client, path: str):
    found = client.get(path, params={"max_points": 20}).json()
    assert found["downsampled"]
    first = found["series"][0]
    assert len(first["steps"]) <= 20
    assert (first["steps"][0], first["steps"][-1]) == (1, 1000)
    assert 500 in first["steps"]


def test_metrics_can_begin_at_a_step_and_be_chosen_by_name(client: httpx2.Client, path: str):
    found = client.get(path, params={"from_step": 990, "names": "loss"}).json()
    assert found["series"][0]["steps"] == list(range(990, 1001))
    assert pointers(client.get(path, params={"names": ["loss", "accuracy"]})) == ["?names"]
    assert pointers(client.get(path, params={"max_points": 3})) == ["?max_points"]
    assert pointers(client.get(path, params={"format": "xml"})) == ["?format"]


@pytest.mark.parametrize("params", [{"from_step": 880}, {"max_points": 50}, {}])
def test_csv_and_arrow_hold_the_same_numbers_as_json(client: httpx2.Client, path: str, params: dict[str, int]):
    rows = [
        (one["name"], one["replica"], step, value)
        for one in client.get(path, params=params).json()["series"]
        for step, value in zip(one["steps"], one["values"], strict=True)
    ]
    rows.sort(key=lambda row: (row[2], row[1]))  # tables are in the order of steps
    as_csv = client.get(path, params=params | {"format": "csv"})
    assert as_csv.headers["content-type"].startswith("text/csv")
    assert [
        (row["name"], int(row["replica"]), int(row["step"]), float(row["value"]) if row["value"] else None)
        for row in csv.DictReader(io.StringIO(as_csv.text))
    ] == rows
    as_arrow = client.get(path, params=params | {"format": "arrow"})
    assert as_arrow.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(as_arrow.content).read_all()
    assert [tuple(row.values()) for row in table.to_pylist()] == rows
    assert table.schema.names == ["name", "replica", "step", "value"]


def test_the_accept_header_chooses_too(client: httpx2.Client, path: str):
    assert client.get(path, headers={"Accept": "text/csv"}).headers["content-type"].startswith("text/csv")
    assert client.get(path, headers={"Accept": "text/csv"}, params={"format": "json"}).json()["last_step"] == 1000
    problem(client.get(path, headers={"Accept": "image/png"}), 406, "not_acceptable")


@pytest.mark.parametrize("wanted", ["json", "csv", "arrow"])
def test_a_job_without_metrics_has_empty_ones(client: httpx2.Client, wanted: str):
    job = client.post("/v1/jobs", json=JOB).json()["id"]
    response = client.get(f"/v1/jobs/{job}/metrics", params={"format": wanted})
    assert response.status_code == 200
    if wanted == "json":
        assert response.json() == {"job": job, "last_step": 0, "downsampled": False, "series": [], "next": None}
    elif wanted == "csv":
        assert response.text.split() == ["name,replica,step,value"]
    else:
        assert pa.ipc.open_stream(response.content).read_all().num_rows == 0


def test_a_job_with_more_values_than_one_answer_has_is_answered_in_pages(
    client: httpx2.Client, path: str, monkeypatch: pytest.MonkeyPatch
):
    whole = client.get(path).json()
    monkeypatch.setattr(metrics, "MAX_VALUES", 700)
    first = client.get(path).json()
    assert (first["next"], first["last_step"], first["downsampled"]) == (351, 1000, False)
    assert sum(len(one["values"]) for one in first["series"]) == 700
    refused = client.get(path, params={"max_points": 400})
    assert pointers(refused) == ["?max_points"]
    assert "2 series of 400 points are 800 values, more than 700: at most 350 points" in refused.json()["detail"]
    for wanted in ("csv", "arrow"):
        streamed = client.get(path, params={"format": wanted})
        assert streamed.status_code == 200
        if wanted == "csv":
            assert len(streamed.text.splitlines()) == 2001
        else:
            assert pa.ipc.open_stream(streamed.content).read_all().num_rows == 2000
    host, key = str(client.base_url), client.headers["authorization"].removeprefix("Bearer ")
    with Client(url=host, api_key=key) as sdk:
        curves = sdk.jobs.metrics(path.split("/")[3])
    assert curves.steps.tolist() == list(range(1, 1001))
    values = [[np.nan if value is None else value for value in one["values"]] for one in whole["series"]]
    np.testing.assert_array_equal(curves["loss"], np.array(values).T)
