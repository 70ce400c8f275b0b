"""Identifiers, settings and private files."""

from __future__ import annotations

import re
import stat
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError

from store.db import Database
from store.ids import new_id
from store.settings import Settings, default_data_dir, read_or_create_private
from store.states import EDGES
from unroll.contract import ENDED


def test_identifiers_differ_and_sort_by_age():
    made = []
    for _ in range(5):
        made.append([new_id("job") for _ in range(200)])
        time.sleep(0.002)
    flat = [one for batch in made for one in batch]
    assert len(set(flat)) == len(flat)
    assert all(re.fullmatch(r"job_[0-9a-hjkmnp-tv-z]{26}", one) for one in flat)
    for earlier, later in pairwise(made):
        assert max(earlier) < min(later)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
    ],
)
def test_a_database_url_of_any_common_spelling_is_understood(given: str, url: str):
    assert Settings(database_url=given).database == url


def test_without_a_url_everything_lies_in_the_data_folder(tmp_path: Path):
    settings = Settings(data_dir=tmp_path)
    assert settings.database == f"sqlite:///{tmp_path}/unroll.db"
    assert settings.broker == "filesystem://"
    assert settings.embedded


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("UNROLL_LEASE_SECONDS", "3.5")
    monkeypatch.setenv("UNROLL_PORT", "9000")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    settings = Settings()
    assert (settings.lease_seconds, settings.port) == (3.5, 9000)
    assert settings.data_dir == default_data_dir() == tmp_path / "unroll"
    monkeypatch.setenv("UNROLL_PORT", "99999")
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize("url", ["mysql://h/d", "sqlite://", "sqlite:///:memory:"])
def test_other_databases_are_refused_by_name(url: str):
    with pytest.raises(ValueError, match="UNROLL_DATABASE_URL"):
        Database(Settings(database_url=url))


def test_several_machines_must_be_given_their_secret(tmp_path: Path):
    with pytest.raises(ValueError, match="UNROLL_SECRET"):
        _ = Settings(data_dir=tmp_path, database_url="postgresql://h/d").hash_secret
    assert Settings(database_url="postgresql://h/d", secret="s").hash_secret == b"s"


def test_the_secret_of_a_data_folder_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path):
    folder = tmp_path / "new"
    secret = Settings(data_dir=folder).hash_secret
    assert len(secret) == 64
    assert Settings(data_dir=folder).hash_secret == secret
    assert stat.S_IMODE((folder / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "s3cr3t-value" not in repr(Settings(secret="s3cr3t-value"))


def test_of_several_that_make_a_private_file_at_once_all_read_the_same(tmp_path: Path):
    found: list[str] = []
    together = threading.Barrier(8)

    def make(number: int) -> None:
        together.wait()
        found.append(read_or_create_private(tmp_path / "key", f"content {number}"))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {(tmp_path / "key").read_text()}
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_the_state_machine_leads_from_every_status_to_an_end_and_out_of_success_nowhere():
    statuses = {status for edge in EDGES for status in edge}
    for status in statuses - {"succeeded"}:
        assert any(source == status for source, _ in EDGES)
    assert not any(source == "succeeded" for source, _ in EDGES)
    reachable = {"queued"}
    for _ in statuses:
        reachable |= {target for source, target in EDGES if source in reachable}
    assert reachable == statuses
    assert all(target == "queued" for source, target in EDGES if source in ENDED)


def test_a_lease_that_runs_out_between_two_reports_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNROLL_FLUSH_SECONDS", "10")
    with pytest.raises(ValueError, match="UNROLL_LEASE_SECONDS must be at least twice UNROLL_FLUSH_SECONDS"):
        Settings()
