"""Keys open what they should, as long as they should, and tell an attacker nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from store import jobs, keys
from store.db import Database
from store.errors import InvalidRequest, KeyExpired, NotFound, Unauthorized
from store.tables import keys as key_rows
from tests.integration.store.factories import TENANT, new_job
from unroll.contract import ChangeKey, NewKey

SECRET = b"the server's secret"


def new_key(db: Database, **fields: Any):
    return keys.create(db, SECRET, TENANT, NewKey(name="laptop", **fields))


def test_a_key_opens_with_its_secret_and_says_whose_it_is(db: Database):
    created = new_key(db, scopes=["read", "predict"])
    found = keys.authenticate(db, SECRET, created.secret)
    assert (found.key_id, found.tenant) == (created.id, TENANT)
    assert found.scopes == {"read", "predict"}
    assert created.secret.startswith(created.prefix)


def test_the_secret_is_in_the_answer_and_nowhere_in_the_database(db: Database):
    created = new_key(db)
    private = created.secret.removeprefix(created.prefix + "_")
    assert len(private) >= 43  # 256 bits
    with db.read() as tx:
        assert private not in repr(tx.execute(select(key_rows)).all())
    assert "secret" not in keys.get(db, TENANT, created.id).model_dump()


@pytest.mark.parametrize(
    "change",
    [
        lambda secret: secret[:-1],
        lambda secret: secret + "x",
        lambda secret: secret[:-1] + ("a" if secret[-1] != "a" else "b"),
        lambda secret: secret.rsplit("_", 1)[0] + "_",
        lambda _: "",
        lambda _: "unroll_",
        lambda _: "unroll__",
        lambda _: "unroll_000000000000_" + "A" * 43,
        lambda _: "ünröll_\N{SNOWMAN}_",
    ],
)
def test_any_other_secret_opens_nothing(db: Database, change: Callable[[str], str]):
    created = new_key(db)
    with pytest.raises(Unauthorized):
        keys.authenticate(db, SECRET, change(created.secret))


def test_a_stolen_database_is_of_no_use_without_the_servers_secret(db: Database):
    created = new_key(db)
    with pytest.raises(Unauthorized):
        keys.authenticate(db, b"another secret", created.secret)


def test_an_unknown_prefix_costs_the_same_work_as_a_wrong_secret(db: Database, monkeypatch: pytest.MonkeyPatch):
    created = new_key(db)
    work = []
    hash_, compare = keys._hash, keys.hmac.compare_digest
    monkeypatch.setattr(keys, "_hash", lambda *given: work.append("hash") or hash_(*given))
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda *given: work.append("compare") or compare(*given))
    costs = []
    for presented in (created.secret[:-3] + "xyz", "unroll_ffffffffffff_" + "A" * 43, "no key at all"):
        work.clear()
        with pytest.raises(Unauthorized):
            keys.authenticate(db, SECRET, presented)
        costs.append(list(work))
    assert costs == [["hash", "compare"]] * 3


def test_a_key_expires_by_the_clock_of_the_database(db: Database, monkeypatch: pytest.MonkeyPatch):
    created = new_key(db, expires_at=datetime.now(UTC) + timedelta(seconds=60))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    keys.authenticate(db, SECRET, created.secret)
    with db.begin() as tx:  # as if a minute had passed
        tx.execute(update(key_rows).values(expires_at=key_rows.c.expires_at - 61))
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    with pytest.raises(KeyExpired, match="laptop"):
        keys.authenticate(db, SECRET, created.secret)
    with pytest.raises(Unauthorized):  # only who knows the secret is told that it expired
        keys.authenticate(db, SECRET, created.secret[:-1])
    keys.change(db, TENANT, created.id, ChangeKey(expires_at=None))
    keys.authenticate(db, SECRET, created.secret)


def test_a_time_without_a_zone_is_refused(db: Database):
    with pytest.raises(InvalidRequest) as refusal:
        new_key(db, expires_at=datetime(2030, 1, 1))  # noqa: DTZ001
    assert refusal.value.pointer == "/expires_at"


def test_what_is_not_sent_stays_as_it_is(db: Database):
    created = new_key(db, scopes=["read"], max_active_jobs=3)
    changed = keys.change(db, TENANT, created.id, ChangeKey(name="desktop"))
    assert (changed.name, changed.scopes, changed.max_active_jobs) == ("desktop", ["read"], 3)
    assert keys.change(db, TENANT, created.id, ChangeKey(max_active_jobs=None)).max_active_jobs is None
    assert keys.change(db, TENANT, created.id, ChangeKey()) == keys.get(db, TENANT, created.id)
    for field in ("name", "scopes"):
        with pytest.raises(InvalidRequest):
            keys.change(db, TENANT, created.id, ChangeKey(**{field: None}))


def test_a_revoked_key_opens_nothing_and_its_jobs_stay(db: Database):
    created = new_key(db)
    job, _ = jobs.submit(db, TENANT, created.id, new_job())
    keys.remove(db, TENANT, created.id)
    with pytest.raises(Unauthorized):
        keys.authenticate(db, SECRET, created.secret)
    with pytest.raises(NotFound):
        keys.remove(db, TENANT, created.id)
    assert jobs.get(db, TENANT, job.id).status == "queued"


def test_use_is_noted_once_a_minute_so_that_a_request_is_not_a_write(db: Database):
    created = new_key(db)
    assert keys.get(db, TENANT, created.id).last_used_at is None
    keys.authenticate(db, SECRET, created.secret)
    noted = keys.get(db, TENANT, created.id).last_used_at
    assert noted is not None
    time.sleep(0.01)
    keys.authenticate(db, SECRET, created.secret)
    assert keys.get(db, TENANT, created.id).last_used_at == noted


def test_me_counts_the_jobs_that_have_not_ended(db: Database):
    created = new_key(db)
    identity = keys.authenticate(db, SECRET, created.secret)
    ended, _ = jobs.submit(db, TENANT, created.id, new_job())
    jobs.submit(db, TENANT, created.id, new_job())
    jobs.cancel(db, TENANT, ended.id)
    me = keys.me(db, identity)
    assert (me.key.id, me.active_jobs) == (created.id, 1)
