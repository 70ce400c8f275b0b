"""The page at /docs in a real browser, with nothing but this machine to ask."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from store import schema
from store.settings import Settings
from tests.integration.api.serving import Api, fetch, serving
from tests.servers.chromium import Browser

pytestmark = pytest.mark.browser


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    settings = Settings(data_dir=tmp_path / "data", secret="the tests' secret")  # type: ignore[arg-type]
    schema.migrate(settings)
    with serving(settings) as running:
        yield running


def test_the_docs_show_every_operation_and_ask_nobody_else(api: Api, browser: Browser):
    document = fetch("GET", f"{api.url}/openapi.json").json()
    operations = [one for found in document["paths"].values() for one in found.values()]
    assert len(operations) > 30
    page = browser.open(f"{api.url}/docs")
    shown = set(re.findall(r'id="operations-([a-z_-]+)"', page.dom))
    assert {f"{one['tags'][0]}-{one['operationId']}" for one in operations} <= shown
    assert "Failed to load" not in page.dom
    assert "Unable to render" not in page.dom
    assert f"{api.url}/openapi.json" in page.asked
    assert [one for one in page.asked if not one.startswith((f"{api.url}/", "data:"))] == []


def test_a_link_to_an_operation_opens_it_with_its_example(api: Api, browser: Browser):
    submit = fetch("GET", f"{api.url}/openapi.json").json()["paths"]["/v1/jobs"]["post"]
    page = browser.open(f"{api.url}/docs#/jobs/submit_job")
    text = re.sub(r"<[^>]*>", "", page.dom).replace("&quot;", '"')
    assert submit["description"].split("\n")[0] in text
    assert "Try it out" in text
    assert '"integrate_noise"' in text
    assert "idempotency_key_reused" in text


def test_a_page_that_asks_somebody_else_is_caught_at_it(tmp_path: Path, browser: Browser):
    (tmp_path / "page.html").write_text('<img src="http://elsewhere.example/picture.png">')
    serve = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        page = browser.open(f"http://127.0.0.1:{server.server_port}/page.html")
        server.shutdown()
        thread.join()
    assert "http://elsewhere.example/picture.png" in page.asked
