from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.integration.api.serving import JOB, Api, fetch, pointers, problem, trained
from unroll.contract import Scope


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer x", "Bearer unroll_x_y", "Basic dTpw", "Bearer unroll__", "bearer é"]
)
def test_without_a_valid_key_nothing_is_answered(shared: tuple[Api, httpx2.Client], authorization: str | None):
    api, _ = shared
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    response = fetch("GET", f"{api.url}/v1/me", headers=headers)
    problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_the_key_is_asked_for_before_the_body_is_read(api: Api):
    problem(fetch("POST", f"{api.url}/v1/jobs", content=b"{"), 401, "unauthorized")


def test_one_wrong_character_makes_a_key_wrong(api: Api):
    secret = api.key()
    other = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    problem(fetch("GET", f"{api.url}/v1/me", headers={"Authorization": f"Bearer {other}"}), 401, "unauthorized")
    assert fetch("GET", f"{api.url}/v1/me", headers={"Authorization": f"bearer {secret}"}).status_code == 200


def test_an_expired_key_is_refused_as_expired(api: Api):
    with api.client(expires_at=datetime.now(UTC) - timedelta(seconds=1)) as expired:
        problem(expired.get("/v1/me"), 401, "key_expired")
        problem(expired.post("/v1/jobs", json=JOB), 401, "key_expired")
    assert api.count() == 0


ROUTES: list[tuple[str, str, Scope]] = [
    ("GET", "/v1/tasks", "read"),
    ("POST", "/v1/tasks/xor/sample", "read"),
    ("GET", "/v1/jobs", "read"),
    ("GET", "/v1/jobs/{job}", "read"),
    ("GET", "/v1/jobs/{job}/events", "read"),
    ("GET", "/v1/jobs/{job}/metrics", "read"),
    ("GET", "/v1/jobs/{job}/checkpoints", "read"),
    ("GET", "/v1/jobs/{job}/artifacts", "read"),
    ("GET", "/v1/jobs/{job}/artifacts/result.json", "read"),
    ("GET", "/v1/checkpoints/{checkpoint}", "read"),
    ("GET", "/v1/checkpoints/{checkpoint}/content", "read"),
    ("GET", "/v1/models", "read"),
    ("GET", "/v1/workers", "read"),
    ("GET", "/v1/queues", "read"),
    ("GET", "/metrics", "read"),
    ("POST", "/v1/jobs", "write"),
    ("POST", "/v1/jobs/{job}/retry", "write"),
    ("DELETE", "/v1/jobs/{job}", "write"),
    ("POST", "/v1/models", "write"),
    ("PUT", "/v1/models/net/serving", "write"),
    ("DELETE", "/v1/models/net", "write"),
    ("POST", "/v1/models/net/predict", "predict"),
    ("POST", "/v1/checkpoints/{checkpoint}/predict", "predict"),
    ("GET", "/v1/keys", "admin"),
    ("POST", "/v1/keys", "admin"),
    ("PATCH", "/v1/keys/any", "admin"),
    ("DELETE", "/v1/keys/any", "admin"),
]


def test_each_route_needs_its_scope_and_names_it(api: Api, client: httpx2.Client):
    job = trained(api, client)
    names = {"job": job["id"], "checkpoint": job["summary"]["last_checkpoint"]}
    others = {
        scope: api.client(*({"read", "write", "predict", "admin"} - {scope}))
        for scope in ("read", "write", "predict", "admin")
    }
    alone = {scope: api.client(scope) for scope in others}
    for method, path, scope in ROUTES:
        refused = others[scope].request(method, path.format(**names))
        assert f"scope {scope};" in problem(refused, 403, "missing_scope")["detail"]
        assert f'scope="{scope}"' in refused.headers["www-authenticate"]
        assert alone[scope].request(method, path.format(**names)).status_code not in {401, 403}
    for one in (*others.values(), *alone.values()):
        assert one.get("/v1/me").status_code == 200
        one.close()


def test_a_new_key_works_and_its_secret_is_shown_once(api: Api, client: httpx2.Client):
    response = client.post("/v1/keys", json={"name": "notebook", "scopes": ["read"], "max_active_jobs": 3})
    created = response.json()
    assert (response.status_code, response.headers["location"]) == (201, f"/v1/keys/{created['id']}")
    secret = created.pop("secret")
    assert secret.startswith(created["prefix"])
    assert secret not in client.get("/v1/keys").text
    assert client.get(f"/v1/keys/{created['id']}").json() == created
    me = fetch("GET", f"{api.url}/v1/me", headers={"Authorization": f"Bearer {secret}"}).json()
    assert (me["key"]["id"], me["key"]["tenant"], me["active_jobs"]) == (created["id"], "ours", 0)


def test_a_key_never_gives_more_scopes_than_it_has(api: Api):
    with api.client("admin", "read") as admin:
        refused = admin.post("/v1/keys", json={"name": "k", "scopes": ["read", "write"]})
        assert problem(refused, 403, "missing_scope")["errors"][0]["pointer"] == "/scopes"
        mine = admin.post("/v1/keys", json={"name": "k", "scopes": ["read"]}).json()
        changed = admin.patch(f"/v1/keys/{mine['id']}", json={"scopes": ["read", "predict"]})
        problem(changed, 403, "missing_scope")
        assert admin.get(f"/v1/keys/{mine['id']}").json()["scopes"] == ["read"]


def test_changing_a_key_changes_what_was_sent_and_nothing_else(client: httpx2.Client):
    created = client.post("/v1/keys", json={"name": "k", "max_active_jobs": 3}).json()
    path = f"/v1/keys/{created['id']}"
    soon = "2100-01-01T00:00:00Z"
    assert client.patch(path, json={"expires_at": soon}).json()["expires_at"] == soon
    shown = client.patch(path, json={"name": "renamed", "max_active_jobs": None}).json()
    assert (shown["name"], shown["max_active_jobs"], shown["expires_at"]) == ("renamed", None, soon)
    assert client.patch(path, json={}).json() == shown
    assert pointers(client.patch(path, json={"scopes": None})) == ["/scopes"]
    assert pointers(client.patch(path, json={"expires_at": "2100-01-01T00:00:00"})) == ["/expires_at"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"name": "  "}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"name": "k", "scopes": []}, "/scopes"),
        ({"name": "k", "scopes": ["root"]}, "/scopes/0"),
        ({"name": "k", "expires_at": "tomorrow"}, "/expires_at"),
        ({"name": "k", "expires_at": 0}, "/expires_at"),
        ({"name": "k", "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"name": "k", "expires_at": "2100-01-01T00:00:00"}, "/expires_at"),
        ({"name": "k", "max_active_jobs": 0}, "/max_active_jobs"),
        ({"name": "k", "tenant": "theirs"}, "/tenant"),
    ],
)
def test_a_wrong_field_of_a_key_is_named_and_no_key_is_made(
    shared: tuple[Api, httpx2.Client], body: dict[str, Any], pointer: str
):
    _, client = shared
    assert pointers(client.post("/v1/keys", json=body)) == [pointer]
    assert len(client.get("/v1/keys").json()["data"]) == 1


def test_a_revoked_key_stops_working_at_once(api: Api, client: httpx2.Client):
    created = client.post("/v1/keys", json={"name": "k"}).json()
    headers = {"Authorization": f"Bearer {created['secret']}"}
    assert fetch("GET", f"{api.url}/v1/me", headers=headers).status_code == 200
    assert client.delete(f"/v1/keys/{created['id']}").status_code == 204
    problem(fetch("GET", f"{api.url}/v1/me", headers=headers), 401, "unauthorized")
    problem(client.delete(f"/v1/keys/{created['id']}"), 404, "not_found")


def test_keys_are_hidden_from_another_tenant(client: httpx2.Client, stranger: httpx2.Client):
    created = client.post("/v1/keys", json={"name": "k"}).json()
    path = f"/v1/keys/{created['id']}"
    problem(stranger.get(path), 404, "not_found")
    problem(stranger.patch(path, json={"name": "x"}), 404, "not_found")
    problem(stranger.delete(path), 404, "not_found")
    assert created["id"] not in stranger.get("/v1/keys").text
    assert stranger.post("/v1/keys", json={"name": "k"}).json()["tenant"] == "theirs"
    assert client.get(path).json()["name"] == "k"
