"""Submitting: one job for one Idempotency-Key, and never more jobs than the quota."""

from __future__ import annotations

from typing import Any

import pytest

from store import jobs, journal, keys, models
from store.db import Database
from store.errors import IdempotencyKeyReused, InvalidRequest, ModelInUse, QuotaExceeded
from tests.integration.store.factories import KEY, NETWORK, TENANT, at_once, claim, count, new_job, submit, train_job
from unroll.contract import Job, NewKey, NewModel


def idempotent(db: Database, key: str, tenant: str = TENANT, **fields: Any):
    return jobs.submit(db, tenant, KEY, new_job(**fields), idempotency=(key, jobs.body_hash(train_job(**fields))))


def test_the_same_key_and_body_give_the_same_job(db: Database):
    job, created = idempotent(db, "k1")
    again, created_again = idempotent(db, "k1")
    assert (created, created_again) == (True, False)
    assert again.id == job.id
    assert count(db, "jobs") == count(db, "events") == 1


def test_the_same_key_with_another_body_is_refused(db: Database):
    idempotent(db, "k1")
    with pytest.raises(IdempotencyKeyReused):
        idempotent(db, "k1", seed=1)
    assert count(db, "jobs") == 1


def test_an_idempotency_key_belongs_to_its_tenant(db: Database):
    ours, _ = idempotent(db, "k1")
    theirs, created = idempotent(db, "k1", tenant="another lab", seed=1)
    assert created
    assert theirs.id != ours.id


def test_many_at_once_with_one_key_make_one_job(db: Database):
    for round_ in range(5):
        answers = at_once([lambda: idempotent(db, f"k{round_}")] * 8)  # noqa: B023
        assert sum(created for _, created in answers) == 1
        assert len({job.id for job, _ in answers}) == 1
    assert count(db, "jobs") == count(db, "events") == 5


def test_of_two_bodies_at_once_under_one_key_one_is_stored(db: Database):
    for round_ in range(10):
        answers = at_once([lambda seed=seed: idempotent(db, f"k{round_}", seed=seed) for seed in (0, 1)])  # noqa: B023
        assert {type(answer) for answer in answers} == {tuple, IdempotencyKeyReused}
    assert count(db, "jobs") == 10


def limited_key(db: Database, quota: int) -> str:
    return keys.create(db, b"secret", TENANT, NewKey(name="k", max_active_jobs=quota)).id


def one_more(db: Database, key_id: str) -> Job:
    return jobs.submit(db, TENANT, key_id, new_job())[0]


def test_the_quota_counts_jobs_that_have_not_ended(db: Database):
    key, somebody_else = limited_key(db, 2), limited_key(db, 2)
    first = one_more(db, key)
    one_more(db, key)
    with pytest.raises(QuotaExceeded):
        one_more(db, key)
    one_more(db, somebody_else)
    jobs.cancel(db, TENANT, first.id)
    one_more(db, key)


def test_a_retry_is_held_to_the_quota_of_the_key_that_submitted_the_job(db: Database):
    key = limited_key(db, 1)
    first = one_more(db, key)
    jobs.cancel(db, TENANT, first.id)
    second = one_more(db, key)
    with pytest.raises(QuotaExceeded):
        jobs.retry(db, TENANT, first.id)
    assert jobs.get(db, TENANT, first.id).status == "cancelled"
    jobs.cancel(db, TENANT, second.id)
    assert jobs.retry(db, TENANT, first.id).status == "queued"


def test_submits_at_once_do_not_exceed_the_quota(db: Database):
    for quota in (1, 3):
        key = limited_key(db, quota)
        answers = at_once([lambda: one_more(db, key)] * 8)  # noqa: B023
        assert sum(isinstance(answer, Job) for answer in answers) == quota
        assert sum(isinstance(answer, QuotaExceeded) for answer in answers) == 8 - quota


def test_a_used_up_quota_does_not_hide_the_job_stored_before(db: Database):
    key, idempotency = limited_key(db, 1), ("k", jobs.body_hash(train_job()))
    job, _ = jobs.submit(db, TENANT, key, new_job(), idempotency=idempotency)
    again, created = jobs.submit(db, TENANT, key, new_job(), idempotency=idempotency)
    assert (again.id, created) == (job.id, False)


def test_a_job_stands_behind_those_it_competes_with_and_no_others(db: Database):
    places = {
        name: submit(db, device=device, priority=priority, name=name).id
        for name, device, priority in (
            ("cpu", "cpu", 0),
            ("cuda", "cuda", 0),
            ("auto", "auto", 0),
            ("later-cpu", "cpu", 0),
            ("urgent", "cuda", 5),
        )
    }
    expected = {"cpu": 1, "cuda": 2, "auto": 4, "later-cpu": 3, "urgent": 1}
    assert {name: jobs.get(db, TENANT, job_id).queue.position for name, job_id in places.items()} == expected
    assert {job.name: job.queue.position for job in jobs.list_(db, TENANT).data} == expected


def test_what_was_submitted_is_what_is_stored(db: Database):
    job = submit(db, steps=321, seed=5, replicas=4, labels={"a": "b"}, priority=3, device="cpu", name="mine")
    assert job == jobs.get(db, TENANT, job.id)
    assert job.config == train_job(
        steps=321, seed=5, replicas=4, labels={"a": "b"}, priority=3, device="cpu", name="mine"
    )
    assert (job.status, job.progress.step, job.progress.total, job.queue.position) == ("queued", 0, 321, 1)
    told, closed = journal.read(db, TENANT, job.id)
    assert [(event.seq, event.type, event.data) for event in told] == [(1, "queued", {"reason": "submitted"})]
    assert not closed
    assert claim(db).config == job.config


def test_a_model_deleted_while_a_job_of_it_is_submitted_is_in_use_or_gone(db: Database):
    for round_ in range(20):
        name = f"m{round_}"
        models.register(db, TENANT, NewModel(name=name, config=NETWORK), 19)
        model_id, _ = models.resolve(db, TENANT, name)
        new = new_job(model_id=model_id, model_name=name)
        submitted, removed = at_once(
            [lambda: jobs.submit(db, TENANT, KEY, new)[0], lambda: models.remove(db, TENANT, name)]  # noqa: B023
        )
        if isinstance(submitted, Job):
            assert isinstance(removed, ModelInUse)
        else:
            assert isinstance(submitted, InvalidRequest)
            assert submitted.pointer == "/model"
            assert removed is None
