from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.settings import default_data_dir
from unroll._settings import data_dir, discover

SECRET = "unroll_0123456789ab_" + "Secret-Words_" * 3
"""A key as the server makes them."""


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


@pytest.mark.parametrize(
    "url",
    [
        "https://lab.example.org",
        "http://192.0.2.7:8124",
        "https://192.0.2.7:8123",
        "http://localhost.example.org",
        "http://localhost:8123",
        "http://127.0.0.1:8123",
    ],
)
def test_the_local_key_is_never_sent_to_another_server(folder: Path, url: str) -> None:
    del folder
    assert discover(url).api_key is None


def test_the_local_key_is_for_one_port_of_this_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "url").write_text("http://127.0.0.1:8123\n")
    for url in ("http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:8123", "http://127.0.0.2:8123"):
        monkeypatch.setenv("UNROLL_URL", url)
        found = discover()
        assert (found.url, found.api_key) == (url, None)
        assert "for http://127.0.0.1:8123 alone" in found.unauthorised
        assert "UNROLL_API_KEY" in found.unauthorised


@pytest.mark.parametrize("url", ["http://127.0.0.1:8123", "http://localhost:8123/", "http://localhost:8123/docs"])
def test_the_local_server_is_the_same_by_its_other_name_and_asked_at_its_own(folder: Path, url: str) -> None:
    (folder / "url").write_text("http://127.0.0.1:8123\n")
    found = discover(url)
    assert (found.url, found.api_key) == ("http://127.0.0.1:8123", "local")


def test_a_key_whose_server_is_not_running_stays_where_it_is(folder: Path) -> None:
    """Whatever listens at the address by now is not the server that the key is for."""
    (folder / "url").unlink()
    assert discover("http://127.0.0.1:8000").api_key is None
    assert discover().api_key is None
    (folder / "url").write_text("http://127.0.0.1:8123\n")
    (folder / "lock").write_text(f"{gone()}\n")
    assert (discover().url, discover().api_key) == ("http://127.0.0.1:8123", None)
    (folder / "lock").write_text(f"{os.getpid()}\n")
    assert discover().api_key == "local"


def gone() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    "end",
    ["/v1", "/v1/", "/docs", "/docs/", "/", "//", "/openapi.json", "/v1/jobs", "/v1/jobs/job_1/metrics", "/docs#/jobs"],
)
@pytest.mark.parametrize("server", ["https://lab.example.org", "https://example.org/tools/unroll"])
def test_an_address_that_was_copied_from_a_browser_is_that_of_the_server(server: str, end: str) -> None:
    assert discover(server + end).url == server


def test_a_part_of_a_servers_own_address_is_left_alone() -> None:
    for url in ("https://example.org/v1/unroll", "https://example.org/docs/unroll", "https://v1.example.org"):
        assert discover(url).url == url


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("localhost:8000/v1", "http://localhost:8000/v1"),
        ("lab.example.org", "https://lab.example.org"),
        ("gpu:8000", "https://gpu:8000"),
    ],
)
def test_an_address_without_its_scheme_is_told_with_it(given: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNROLL_URL", given)
    with pytest.raises(ValueError, match=r"UNROLL_URL must be an http:// or https:// URL") as caught:
        discover()
    assert f"did you mean {meant}?" in str(caught.value)


def test_a_port_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="the argument url is no address: its host or port cannot be read, in 'http"):
        discover("http://127.0.0.1:99999")


def test_a_server_that_does_not_run_is_said_with_what_starts_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "its address is from" in discover().unreachable
    (folder / "lock").write_text(f"{gone()}\n")
    assert (
        f"the server that wrote {folder / 'url'} has ended: start it with `unroll-server up`" in discover().unreachable
    )
    (folder / "url").unlink()
    assert f"no server runs with its data in {folder} (UNROLL_DATA_DIR); start it" in discover().unreachable
    (folder / "lock").write_text(f"{os.getpid()}\n")
    assert "still starting: try again in some seconds" in discover().unreachable
    monkeypatch.setenv("UNROLL_DATA_DIR", str(folder / "none"))
    assert "which does not exist; start it" in discover().unreachable
    monkeypatch.setenv("UNROLL_DATA_DIR", str(folder / "key"))
    assert "which is a file; start it" in discover().unreachable


def test_an_address_that_is_not_that_of_the_running_server_is_told_with_it(folder: Path) -> None:
    del folder
    said = discover("http://127.0.0.1:9").unreachable
    assert said == "that address is from the argument url, but the server of this machine is at http://192.0.2.7:8123"


def test_a_folder_of_somebody_else_is_said_to_be_that(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: str) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ValueError, match="cannot be read") as caught:
        discover()
    assert str(caught.value).startswith(f"{folder / 'url'} cannot be read (Permission denied): set UNROLL_DATA_DIR")
    assert discover("https://lab.example.org", "mine").api_key == "mine"


def test_a_file_that_is_no_address_is_named(folder: Path) -> None:
    (folder / "url").write_text("nonsense")
    with pytest.raises(ValueError, match=r"url must be an http:// or https:// URL$"):
        discover()
    (folder / "url").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="it is no text"):
        discover()


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


@pytest.mark.parametrize(
    "around", ["{}\n", " {}\r\n", "\ufeff{}", "\u200b{}\u2060\n", "\t{}\u00a0", "\ufeff {}\n"], ids=ascii
)
def test_what_copying_leaves_around_a_key_is_taken_off(
    folder: Path, monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    copied = around.format(SECRET)
    assert discover("http://127.0.0.1:1", copied).api_key == SECRET
    monkeypatch.setenv("UNROLL_API_KEY", copied)
    assert discover().api_key == SECRET
    monkeypatch.setenv("UNROLL_API_KEY", around.format(""))
    (folder / "key").write_text(copied, encoding="utf-8")
    assert discover().api_key == SECRET


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (f"\u201c{SECRET}\u201d", f"U+201C LEFT DOUBLE QUOTATION MARK as character 1 of {len(SECRET) + 2}"),
        (f'"{SECRET}"', f"U+0022 QUOTATION MARK as character 1 of {len(SECRET) + 2}"),
        (f"{SECRET[:9]} {SECRET[9:]}", "U+0020 SPACE as character 10 of"),
        (f"{SECRET[:9]}\n{SECRET[9:]}", "U+000A LINE FEED as character 10 of"),
        (f"Bearer {SECRET}", "U+0020 SPACE as character 7 of"),
        (f"{SECRET}\u00fc", "U+00FC LATIN SMALL LETTER U WITH DIAERESIS as character"),
        (f"{SECRET}\udcff", "U+DCFF an unnamed character"),
    ],
    ids=ascii,
)
def test_a_character_that_no_key_has_is_told_by_name_and_place_and_the_key_never(
    folder: Path, monkeypatch: pytest.MonkeyPatch, given: str, said: str
) -> None:
    (folder / "key").write_text(given, encoding="utf-8", errors="surrogateescape", newline="")
    found = []
    if "\udcff" not in given:
        with pytest.raises(ValueError, match="the key in") as caught:
            discover()
        found.append(caught.value)
    with pytest.raises(ValueError, match="the argument api_key has") as caught:
        discover("http://127.0.0.1:1", given)
    found.append(caught.value)
    monkeypatch.setenv("UNROLL_API_KEY", given)
    with pytest.raises(ValueError, match="UNROLL_API_KEY has") as caught:
        discover()
    found.append(caught.value)
    for error in found:
        assert said in str(error)
        assert SECRET[:9] not in "".join(traceback.format_exception_only(error))


@given(st.text(max_size=30))
def test_a_key_is_sent_as_it_is_or_refused_whatever_it_contains(text: str) -> None:
    try:
        key = discover("http://127.0.0.1:1", text).api_key
    except ValueError as error:
        told = str(error)
    else:
        told = ""
        header = f"Bearer {key or 'none'}".encode("ascii")
        h11.Request(method="GET", target="/", headers=[("host", "x"), ("authorization", header)])
    assert len(text) < 8 or text not in told


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (SECRET, "the argument url has a key in it"),
        (f"https://lab.example.org/?key={SECRET}", "the argument url has a key in it"),
        ("https://me:pass@lab.example.org", "a user name or a password in it, in 'https://...@lab.example.org'"),
        ("https://me:pa/ss@lab.example.org", "the argument url"),
        ("https://me:pa?ss#ass@lab.example.org:x", "the argument url"),
        ("me:pass@lab.example.org", "the argument url"),
        ("pass-word-of-another-kind", "must be an http:// or https:// URL$"),
        ("https://lab.example.org:x/?token=pass", "cannot be read, in 'https://lab.example.org:x/'"),
        ("lab.example.org/?token=pass", r"did you mean https://lab.example.org/\?"),
        ("http://lab.exa\nmple.org", "U+000A LINE FEED as character 15 of 23, in"),
        ("\u201chttp://lab.example.org\u201d", "U+201C LEFT DOUBLE QUOTATION MARK as character 1 of"),
        ("http://lab example.org", "U+0020 SPACE as character 11"),
        ("http://[::1", "its host or port cannot be read"),
    ],
    ids=ascii,
)
def test_an_address_is_refused_without_what_may_be_a_secret_in_it(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("+", r"\+")) as caught:
        discover(url)
    told = "".join(traceback.format_exception_only(caught.value))
    assert "pass" not in told.replace("password", "")
    assert SECRET not in told
    assert "ass@" not in told


@pytest.mark.parametrize("around", ["{}\n", "\ufeff{}", " {} "], ids=ascii)
def test_what_copying_leaves_around_an_address_is_taken_off(around: str) -> None:
    assert discover(around.format("http://lab.example.org")).url == "http://lab.example.org"
