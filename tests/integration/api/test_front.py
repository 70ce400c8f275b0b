"""The page at /: what anybody may know of a server, for browsers and for programs."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
import threading
import time
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text

from api.front import Facts, Glance, State, of_this_machine
from store import fleet
from tests.integration.api.serving import JOB, Api, claim, fetch, problem
from tests.servers.deployment import ROOT

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}
ELSEWHERE = (
    "Whoever runs this server makes keys with `unroll-server key create --name NAME`; on the machine of an "
    "`unroll-server up`, one lies in the file `key` of its data folder, where `unroll` finds it by itself."
)


def wait_until_stale() -> None:
    time.sleep(1.1)


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", "", page).split())


def test_a_program_gets_json_and_a_browser_a_page_and_neither_needs_a_key(shared: tuple[Api, httpx2.Client]):
    api, _ = shared
    answer = fetch("GET", api.url)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["vary"] == "Accept"
    assert answer.json() == {
        "name": "Unroll",
        "version": fetch("GET", f"{api.url}/openapi.json").json()["info"]["version"],
        "address": api.url,
        "status": "ready",
        "workers": 0,
        "key": ELSEWHERE,
        "links": {"docs": "docs", "openapi": "openapi.json", "readiness": "readyz", "schemas": "v1/schema"},
    }
    for link in ("docs", "openapi", "readiness"):
        assert fetch("GET", f"{api.url}/{answer.json()['links'][link]}").status_code == 200
    page = fetch("GET", api.url, headers=BROWSER)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["vary"] == "Accept"
    assert page.headers["cache-control"] == "no-store"
    problem(fetch("GET", api.url, headers={"Accept": "image/png"}), 406, "not_acceptable")


def test_the_page_says_what_the_server_is_and_how_to_get_in(shared: tuple[Api, httpx2.Client]):
    api, _ = shared
    page = fetch("GET", api.url, headers=BROWSER).text
    said = words(page)
    assert "A REST service that trains recurrent neural networks by backpropagation through time" in said
    assert f"Address{api.url} Version{fetch('GET', api.url).json()['version']} Stateready" in said
    assert "Workersnone is alive: jobs wait until one starts" in said
    assert ELSEWHERE.replace("`", "") in said
    assert f"export UNROLL_URL={api.url} UNROLL_API_KEY=... unroll tasks" in said
    assert f"curl -H &quot;Authorization: Bearer $UNROLL_API_KEY&quot; {api.url}/v1/jobs" in said
    assert re.findall(r'<a href="([^"]*)">', page) == ["docs", "openapi.json", "readyz"]
    policy = fetch("GET", api.url, headers=BROWSER).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "script-src" not in policy
    assert "<script" not in page


def test_whoever_sits_at_the_machine_of_an_embedded_server_is_told_where_the_key_lies_and_nobody_else(
    shared: tuple[Api, httpx2.Client],
):
    api, _ = shared
    file = api.settings.data_dir / "key"
    file.write_text("unroll_123456789012_secret\n")
    try:
        told = fetch("GET", api.url, headers=BROWSER).text
        assert (
            f"On this machine it lies in the file {file}; the command unroll and the Python package find it by "
            "themselves."
        ) in words(told)
        assert f"Bearer $(cat {shlex.quote(str(file))})&quot; {api.url}/v1/jobs" in told
        assert f"export PATH={Path(sys.executable).parent}:&quot;$PATH&quot;" in told
        assert "secret" not in told
        assert "secret" not in fetch("GET", api.url).text
        through_a_proxy = fetch("GET", api.url, headers=BROWSER | {"Host": "lab.example"}).text
        assert str(file.parent) not in through_a_proxy
        assert ELSEWHERE.replace("`", "") in words(through_a_proxy)
        assert str(file.parent) not in fetch("GET", api.url, headers={"Host": "lab.example"}).text
    finally:
        file.unlink()


@pytest.mark.parametrize(
    ("client", "host", "told"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "localhost", True),
        ("::1", "[::1]", True),
        ("192.168.0.7", "127.0.0.1", False),
        ("127.0.0.1", "lab.example", False),
        ("127.0.0.1", None, False),
        (None, "localhost", False),
        ("testclient", "localhost", False),
    ],
)
def test_a_request_is_of_this_machine_if_it_came_from_it_and_was_addressed_to_it(
    client: str | None, host: str | None, told: object
):
    assert of_this_machine(client, host) is told


def test_what_a_request_says_of_itself_does_not_become_a_part_of_the_page(shared: tuple[Api, httpx2.Client]):
    api, _ = shared
    assert "<b>" not in fetch("GET", api.url, headers=BROWSER | {"Host": 'x"><b>'}).text
    page = fetch("GET", api.url, headers=BROWSER | {"Host": "lab&copy'$(id)"}).text
    assert "lab&copy" not in page
    assert "<dd><code>http://lab&amp;copy&#x27;$(id)</code></dd>" in page
    quoted = "&#x27;http://lab&amp;copy&#x27;&quot;&#x27;&quot;&#x27;$(id)/v1/jobs&#x27;"  # one word for a shell
    assert f"Bearer $UNROLL_API_KEY&quot; {quoted}</code>" in page


def test_the_page_counts_living_workers_and_shows_nothing_of_a_tenant(api: Api, client: httpx2.Client):
    job = client.post("/v1/jobs", json=JOB | {"name": "confidential"}).json()["id"]
    fleet.enlist(api.db, "worker-1", "a-host", 1, "cpu", "0.1.0")
    claim(api)
    fleet.seen(api.db, "worker-1", job)
    fleet.enlist(api.db, "worker-0", "a-host", 1, "cpu", "0.1.0")
    with api.db.begin() as tx:
        tx.execute(text("UPDATE workers SET seen_at = seen_at - 3600 WHERE id = 'worker-0'"))
    assert fetch("GET", api.url).json()["workers"] == 1
    page = fetch("GET", api.url, headers=BROWSER).text
    assert "Workers1 is alive" in words(page)
    for secret in (job, "confidential", "a-host", "worker-1"):
        assert secret not in page
    fleet.enlist(api.db, "worker-2", "a-host", 2, "cuda", "0.1.0")
    wait_until_stale()
    assert "Workers2 are alive" in words(fetch("GET", api.url, headers=BROWSER).text)


def test_a_database_that_cannot_be_used_is_said_on_the_page_too(api: Api):
    with api.db.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    facts = fetch("GET", api.url).json()
    assert (facts["status"], facts["workers"]) == ("not_ready", None)
    said = words(fetch("GET", api.url, headers=BROWSER).text)
    assert "Statenot ready: the database does not answer or is of another version Workersunknown" in said


def test_many_requests_ask_the_database_once_a_second_and_wait_for_it_two_seconds_at_most():
    asked: list[float] = []
    go_on = threading.Event()

    def ask() -> State:
        asked.append(time.monotonic())
        go_on.wait(30)
        return "ready", len(asked)

    async def look() -> None:
        glance = Glance()
        begin = time.monotonic()
        assert set(await asyncio.gather(*(glance.look(ask) for _ in range(50)))) == {("not_ready", None)}
        assert 1.5 < time.monotonic() - begin < 20
        assert await glance.look(ask) == ("not_ready", None)  # one thread waits for the database, never two
        assert len(asked) == 1
        go_on.set()
        while await glance.look(ask) == ("not_ready", None):
            pass
        wait_until_stale()
        assert set(await asyncio.gather(*(glance.look(ask) for _ in range(50)))) == {("ready", 2)}

    asyncio.run(look())
    assert len(asked) == 2


def test_the_document_describes_both_forms(shared: tuple[Api, httpx2.Client]):
    api, _ = shared
    operation = fetch("GET", f"{api.url}/openapi.json").json()["paths"]["/"]["get"]
    content = operation["responses"]["200"]["content"]
    assert set(content) == {"application/json", "text/html"}
    Facts.model_validate(content["application/json"]["example"])
    assert set(content["application/json"]["schema"]["properties"]) == set(fetch("GET", api.url).json())
    assert "security" not in operation


def test_the_page_begins_as_the_readme_does(shared: tuple[Api, httpx2.Client]):
    api, _ = shared
    page = words(fetch("GET", api.url, headers=BROWSER).text)
    _, first, second, *_ = (ROOT / "README.md").read_text().split("\n\n")
    for said in (first, " ".join(second.split()).partition(". ")[0]):
        assert " ".join(said.split()) in page
