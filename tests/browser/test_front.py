"""The page at / in a real browser, by day and by night."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from store import fleet, schema
from store.settings import Settings
from tests.integration.api.serving import Api, serving
from tests.servers.chromium import Browser

pytestmark = pytest.mark.browser

PAPER = {"light": (0xFB, 0xFA, 0xF7), "dark": (0x19, 0x1A, 0x1C)}
INK = {"light": (0x23, 0x22, 0x1F), "dark": (0xE8, 0xE6, 0xE1)}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    settings = Settings(data_dir=tmp_path / "data", secret="the tests' secret")  # type: ignore[arg-type]
    schema.migrate(settings)
    with serving(settings) as running:
        fleet.enlist(running.db, "worker-1", "box", 1, "cpu", "0.1.0")
        yield running


def test_a_browser_shows_the_page_and_asks_nobody_for_more(api: Api, browser: Browser):
    page = browser.open(api.url)
    text = " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", "", page.dom, flags=re.DOTALL).split())
    assert text.startswith("Unroll Unroll A REST service that trains recurrent neural networks")
    assert f"Address{api.url} Version" in text
    assert "Workers1 is alive" in text
    assert [one for one in page.asked if not one.startswith("data:")] == []


def test_its_links_lead_to_pages_of_this_server(api: Api, browser: Browser):
    links = re.findall(r'<a href="([^"]*)"', browser.open(api.url).dom)
    assert links == ["docs", "openapi.json", "readyz"]
    assert "Unroll: the API" in browser.open(f"{api.url}/{links[0]}").dom
    assert '"openapi"' in browser.open(f"{api.url}/{links[1]}").dom
    assert '"status"' in browser.open(f"{api.url}/{links[2]}").dom


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_own_style_is_allowed_by_its_policy_and_can_be_read_by_day_and_by_night(
    api: Api, browser: Browser, tmp_path: Path, scheme: str
):
    picture = tmp_path / "page.png"
    browser.screenshot(api.url, picture, dark=scheme == "dark")
    pixels = np.round(matplotlib.image.imread(picture)[..., :3] * 255).astype(int)
    assert tuple(pixels[5, 5]) == PAPER[scheme]
    assert (np.abs(pixels - INK[scheme]).max(axis=2) == 0).sum() > 500, "no text in the colour of the ink"
