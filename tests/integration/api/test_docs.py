from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from tests.integration.api.serving import Api, fetch, problem


def test_the_docs_name_only_files_of_this_server_and_need_no_key(shared: tuple[Api, httpx2.Client]):
    api, _ = shared
    page = fetch("GET", f"{api.url}/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(named) == 4
    for one in named:
        answer = fetch("GET", str(httpx2.URL(f"{api.url}/docs").join(one)))
        assert answer.status_code == 200, one
        assert answer.url.host == "127.0.0.1"
    assert fetch("GET", f"{api.url}/docs/start.js").headers["content-type"].startswith("text/javascript")
    assert "<script>" not in page.text
    policy = page.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy


def test_a_browser_keeps_the_files_of_the_docs(shared: tuple[Api, httpx2.Client]):
    api, _ = shared
    script = f"{api.url}/docs/assets/swagger-ui-bundle.js"
    first = fetch("GET", script)
    assert first.headers["cache-control"] == "no-cache"
    again = fetch("GET", script, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["__init__.py", "../main.py", "..%2fmain.py", "nothing.js", ""])
def test_nothing_but_the_files_of_the_docs_is_served_beside_them(shared: tuple[Api, httpx2.Client], name: str):
    api, _ = shared
    problem(fetch("GET", f"{api.url}/docs/assets/{name}"), 404, "not_found")


def test_a_method_that_the_docs_do_not_take_is_refused_as_anywhere(shared: tuple[Api, httpx2.Client]):
    api, _ = shared
    for path in ("/docs", "/openapi.json"):
        refused = fetch("POST", api.url + path)
        problem(refused, 405, "method_not_allowed")
        assert refused.headers["allow"] == "GET"


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(method, path) for path, found in document["paths"].items() for method in found]


def test_a_query_parameter_that_a_route_does_not_have_is_refused_by_every_route(shared: tuple[Api, httpx2.Client]):
    api, client = shared
    found = operations(fetch("GET", f"{api.url}/openapi.json").json())
    assert len(found) > 30
    for method, path in [*found, ("get", "/docs"), ("get", "/docs/start.js"), ("get", "/openapi.json")]:
        response = client.request(method.upper(), re.sub(r"\{\w+\}", "x", path), params={"limti": 3, "lim%it": ""})
        document = problem(response, 422, "validation_failed")
        assert [(one["pointer"], one["code"]) for one in document["errors"]] == [
            ("?limti", "extra_forbidden"),
            ("?lim%it", "extra_forbidden"),
        ], path


def test_the_refusal_names_what_the_route_takes(shared: tuple[Api, httpx2.Client]):
    _, client = shared
    refused = client.get("/v1/jobs", params={"limit": 1, "state": "queued"})
    assert problem(refused, 422, "validation_failed")["detail"] == (
        "?state: There is no such query parameter. There is status, label, kind, parent, model, name, limit, cursor. "
        "Did you mean status?"
    )
    assert client.get("/v1/jobs?").status_code == 200
