"""The files that jobs make: listed, read whole or in part, and shown to nobody else."""

from __future__ import annotations

import hashlib

import httpx2
import pytest

from store import leases
from store.artifacts import NewArtifact
from store.leases import Lease, Report
from tests.integration.api.serving import JOB, Api, claim, problem

CONTENT = bytes(range(256)) * 8


@pytest.fixture
def lease(api: Api, client: httpx2.Client) -> Lease:
    """A running job that has made an artifact."""
    client.post("/v1/jobs", json=JOB)
    claimed = claim(api)
    leases.report(claimed, Report(artifacts=[NewArtifact("model.bin", "application/x-model", CONTENT)]))
    return claimed


@pytest.fixture
def path(lease: Lease) -> str:
    return f"/v1/jobs/{lease.job_id}/artifacts/model.bin"


def test_a_job_lists_its_artifacts_with_size_and_hash(client: httpx2.Client, path: str):
    page = client.get(path.removesuffix("/model.bin")).json()
    assert page["next"] is None
    (one,) = page["data"]
    assert (one["name"], one["media_type"], one["size"]) == ("model.bin", "application/x-model", len(CONTENT))
    assert one["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_an_artifact_is_read_whole_and_not_again_where_the_client_has_it(client: httpx2.Client, path: str):
    whole = client.get(path)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["content-type"] == "application/x-model"
    assert whole.headers["etag"] == f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    assert 'filename="model.bin"' in whole.headers["content-disposition"]
    again = client.get(path, headers={"If-None-Match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-9", 0, 9), ("bytes=2000-", 2000, 2047), ("bytes=-5", 2043, 2047), ("bytes=10-99999", 10, 2047)],
)
def test_one_range_is_answered_with_its_place(client: httpx2.Client, path: str, asked: str, first: int, last: int):
    part = client.get(path, headers={"Range": asked})
    assert (part.status_code, part.content) == (206, CONTENT[first : last + 1])
    assert part.headers["content-range"] == f"bytes {first}-{last}/{len(CONTENT)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "lines=1-2", "bytes=9-3", "bytes=-", "bytes=a-b"])
def test_what_is_no_single_range_of_bytes_is_answered_whole(client: httpx2.Client, path: str, asked: str):
    assert client.get(path, headers={"Range": asked}).content == CONTENT


def test_a_range_outside_of_the_file_is_refused_with_its_size(client: httpx2.Client, path: str):
    for asked in ("bytes=2048-", "bytes=-0"):
        refused = client.get(path, headers={"Range": asked})
        problem(refused, 416, "range_not_satisfiable")
        assert refused.headers["content-range"] == "bytes */2048"


def test_a_range_of_another_version_is_answered_whole(client: httpx2.Client, path: str):
    etag = client.get(path).headers["etag"]
    assert client.get(path, headers={"Range": "bytes=0-9", "If-Range": etag}).status_code == 206
    assert client.get(path, headers={"Range": "bytes=0-9", "If-Range": '"old"'}).content == CONTENT


def test_artifacts_are_hidden_from_another_tenant(stranger: httpx2.Client, client: httpx2.Client, path: str):
    for one in (path, path.removesuffix("/model.bin")):
        problem(stranger.get(one), 404, "not_found")
    problem(client.get(f"{path}.other"), 404, "not_found")


def test_an_artifact_goes_with_its_job(client: httpx2.Client, lease: Lease, path: str):
    leases.end(lease, "succeeded")
    assert client.get(path).content == CONTENT
    assert client.delete(f"/v1/jobs/{lease.job_id}").status_code == 204
    problem(client.get(path), 404, "not_found")
