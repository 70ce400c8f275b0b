from __future__ import annotations

from pathlib import Path

import pytest

from store.settings import default_data_dir
from unroll._settings import data_dir, discover


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UNROLL_DATA_DIR", str(tmp_path))
    (tmp_path / "url").write_text("http://192.0.2.7:8123\n")
    (tmp_path / "key").write_text("local\n")
    return tmp_path


def test_the_server_on_this_machine_is_found_by_itself(folder: Path) -> None:
    del folder
    found = discover()
    assert (found.url, found.api_key) == ("http://192.0.2.7:8123", "local")


def test_the_environment_goes_before_the_folder_and_arguments_before_both(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del folder
    monkeypatch.setenv("UNROLL_URL", "https://lab.example.org/")
    monkeypatch.setenv("UNROLL_API_KEY", "theirs")
    assert (discover().url, discover().api_key) == ("https://lab.example.org", "theirs")
    given = discover("http://127.0.0.1:1", "mine")
    assert (given.url, given.api_key) == ("http://127.0.0.1:1", "mine")


@pytest.mark.parametrize("url", ["https://lab.example.org", "http://192.0.2.7:8124", "http://localhost.example.org"])
def test_the_local_key_is_never_sent_to_another_server(folder: Path, url: str) -> None:
    del folder
    assert discover(url).api_key is None


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"])
def test_the_local_key_serves_every_address_of_this_machine(folder: Path, url: str) -> None:
    del folder
    assert discover(url).api_key == "local"


def test_without_anything_the_default_address_is_asked_without_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNROLL_DATA_DIR", str(tmp_path / "none"))
    assert (discover().url, discover().api_key) == ("http://127.0.0.1:8000", None)


@pytest.mark.parametrize("url", ["lab.example.org", "ftp://lab.example.org", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        discover(url)


def test_a_key_is_not_shown_by_accident() -> None:
    assert "mine" not in repr(discover("http://127.0.0.1:1", "mine"))


@pytest.mark.parametrize("xdg", [None, "/somewhere"])
def test_server_and_sdk_look_into_the_same_folder(monkeypatch: pytest.MonkeyPatch, xdg: str | None) -> None:
    monkeypatch.delenv("UNROLL_DATA_DIR")
    if xdg is None:
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_DATA_HOME", xdg)
    assert data_dir() == default_data_dir()
