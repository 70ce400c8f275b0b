"""Lists in pages: nothing twice, nothing left out, also while others insert; filters; cursors that are none of ours."""

from __future__ import annotations

import base64
import itertools
import threading
from typing import Any

import pytest
from sqlalchemy import Row, select

from store import checkpoints, finding, jobs, keys, leases, line, models
from store.db import Database
from store.errors import InvalidRequest
from store.tables import jobs as job_rows
from tests.integration.store.factories import NETWORK, TENANT, checkpoint, claim, submit, submit_reader, train
from unroll.contract import Job, NewKey, NewModel


def test_a_job_that_left_the_line_after_its_row_was_read_has_no_place(db: Database):
    job = submit(db)
    late = row(db, job)
    jobs.pause(db, TENANT, job.id)
    with db.read() as tx:
        assert line.places(tx, [late]) == {}


def row(db: Database, job: Job) -> Row[Any]:
    with db.read() as tx:
        return tx.execute(select(job_rows).where(job_rows.c.id == job.id)).one()


def test_a_place_far_behind_says_that_it_was_not_counted_to_its_end(db: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(line, "COUNTED", 4)
    found = [submit(db, device=device) for device in ("cuda", "auto", "cpu", "auto", "cuda", "cpu")]
    submit(db, "another tenant", priority=5)
    expected = [(1, True), (2, True), (2, True), (4, True), (4, False), (4, False)]
    for job, place in zip(found, expected, strict=True):
        queue = jobs.get(db, TENANT, job.id).queue
        assert (queue.position, queue.exact) == place
    listed = [(job.queue.position, job.queue.exact) for job in jobs.list_(db, TENANT).data]
    assert listed == expected[::-1]
    assert jobs.cancel(db, TENANT, found[0].id).queue is None
    assert jobs.get(db, TENANT, found[4].id).queue.line() == "number 3 in the queue"
    assert jobs.get(db, TENANT, found[5].id).queue.line() == "number 4 or later in the queue"


def test_pages_while_others_insert_have_no_double_and_no_gap(db: Database):
    there = [submit(db).id for _ in range(23)]
    over = threading.Event()

    def insert() -> None:
        while not over.is_set():
            submit(db)

    others = threading.Thread(target=insert)
    others.start()
    seen: list[str] = []
    cursor = None
    try:
        while True:
            page = jobs.list_(db, TENANT, limit=3, cursor=cursor)
            seen += [job.id for job in page.data]
            cursor = page.next
            if cursor is None:
                break
    finally:
        over.set()
        others.join()
    assert len(seen) == len(set(seen))
    assert set(there) <= set(seen)
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize(("rows", "sizes"), [(0, [0]), (1, [1]), (3, [3]), (4, [3, 1]), (6, [3, 3])])
def test_the_last_page_says_so(db: Database, rows: int, sizes: list[int]):
    for _ in range(rows):
        submit(db)
    found = []
    cursor = None
    while True:
        page = jobs.list_(db, TENANT, limit=3, cursor=cursor)
        found.append(len(page.data))
        cursor = page.next
        if cursor is None:
            break
    assert found == sizes


def test_checkpoints_of_a_job_come_newest_first_in_pages(db: Database):
    job = submit(db)
    lease = claim(db)
    for step in range(5, 60, 5):
        train(lease, step - 4, step, checkpointed=True)
    steps, cursor = [], None
    while True:
        page = checkpoints.list_of_job(db, TENANT, job.id, limit=4, cursor=cursor)
        steps += [one.step for one in page.data]
        cursor = page.next
        if cursor is None:
            break
    assert steps == list(range(55, 0, -5))


def test_keys_and_models_come_in_pages_too(db: Database):
    for number in range(5):
        keys.create(db, b"s", TENANT, NewKey(name=f"k{number}"))
        models.register(db, TENANT, NewModel(name=f"m{number}", config=NETWORK), 19)
    for list_ in (keys.list_, models.list_):
        first = list_(db, TENANT, limit=3)
        second = list_(db, TENANT, limit=3, cursor=first.next)
        assert (len(first.data), len(second.data), second.next) == (3, 2, None)
        assert len({one.name for one in [*first.data, *second.data]}) == 5


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "====", "ünï", *(base64.urlsafe_b64encode(b).decode() for b in (b"\0", b"job_\0", b"' OR 1=1", b"\xff"))],
)
def test_a_cursor_that_is_none_of_ours_is_refused(db: Database, cursor: str):
    job = submit(db)
    for list_ in (jobs.list_, keys.list_, models.list_):
        with pytest.raises(InvalidRequest) as refusal:
            list_(db, TENANT, cursor=cursor)
        assert refusal.value.pointer == "?cursor"
    with pytest.raises(InvalidRequest):
        checkpoints.list_of_job(db, TENANT, job.id, cursor=cursor)


LABELS = ["seed", "a b", 'quo"te', "it's", "dot.ted", "$[0]", "back\\slash", "%s", ":name", "ünï☃"]


@pytest.mark.parametrize("label", LABELS)
def test_jobs_are_found_by_labels_of_any_wording(db: Database, label: str):
    wanted = submit(db, labels={label: label, "other": "x"})
    submit(db, labels={label: "something else"})
    submit(db)
    assert [job.id for job in jobs.list_(db, TENANT, labels={label: label}).data] == [wanted.id]
    assert [job.id for job in jobs.list_(db, TENANT, labels={label: label, "other": "x"}).data] == [wanted.id]
    assert jobs.list_(db, TENANT, labels={label: label, "other": "y"}).data == []


def test_filters_narrow_the_list(db: Database):
    mine = submit(db, name="mine")
    cancelled = submit(db)
    jobs.cancel(db, TENANT, cancelled.id)
    assert [job.id for job in jobs.list_(db, TENANT, name="mine").data] == [mine.id]
    assert [job.id for job in jobs.list_(db, TENANT, status=["cancelled"]).data] == [cancelled.id]
    assert len(jobs.list_(db, TENANT, status=["cancelled", "queued"]).data) == 2
    assert jobs.list_(db, TENANT, model="integrator").data == []


@pytest.mark.parametrize("ask", [{"name": "\0"}, {"model": "a\0b"}, {"labels": {"a": "\0"}}, {"labels": {"\0": "a"}}])
def test_text_that_no_database_row_can_hold_finds_nothing_or_is_refused(db: Database, ask: dict):
    submit(db, labels={"a": "b"})
    try:
        assert jobs.list_(db, TENANT, **ask).data == []
    except InvalidRequest:
        assert db.dialect == "postgresql"


def pages(db: Database, **ask: Any) -> list[list[str]]:
    found, cursor = [], None
    while True:
        page = jobs.list_(db, TENANT, cursor=cursor, **ask)
        found.append([job.id for job in page.data])
        cursor = page.next
        if cursor is None:
            return found


def test_every_set_of_filters_finds_what_matches_all_of_them_in_pages_that_look_at_few_jobs(
    db: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(finding, "EXAMINED", 5)
    submit(db)
    lease = claim(db)
    leases.report(lease, leases.Report(checkpoint=checkpoint(5), step=5))
    leases.end(lease, "succeeded")
    parent = jobs.get(db, TENANT, lease.job_id)
    read = parent.summary.last_checkpoint
    facts = {parent.id: {"name": None, "labels": None, "kind": "train", "parent": False, "status": "succeeded"}}
    for number in range(24):
        named = {"name": "even" if number % 2 == 0 else None, "labels": {"third": str(number % 3), "all": "x"}}
        job = submit_reader(db, read, parent=parent.id, **named) if number % 4 == 0 else submit(db, **named)
        if number % 5 == 0:
            jobs.cancel(db, TENANT, job.id)
        facts[job.id] = {
            "name": named["name"],
            "labels": str(number % 3),
            "kind": job.kind,
            "parent": number % 4 == 0,
            "status": "cancelled" if number % 5 == 0 else "queued",
        }
    filters = {
        "name": ("even", "even"),
        "labels": ({"third": "1", "all": "x"}, "1"),
        "kind": ("train", "train"),
        "parent": (parent.id, True),
        "status": (["cancelled"], "cancelled"),
    }
    for size in range(1, 4):
        for chosen in itertools.combinations(filters, size):
            ask = {name: filters[name][0] for name in chosen}
            matching = [one for one, of in facts.items() if all(of[name] == filters[name][1] for name in chosen)]
            found = pages(db, limit=2, **ask)
            assert sorted(itertools.chain(*found)) == sorted(matching), ask
            assert list(itertools.chain(*found)) == sorted(matching, reverse=True), ask
    two = pages(db, limit=3, status=["cancelled", "queued", "cancelled"])
    assert list(itertools.chain(*two)) == sorted(set(facts) - {parent.id}, reverse=True)
    # none of both kinds: five are looked at for each page
    assert [len(page) for page in pages(db, name="even", kind="export")] == [0, 0, 0]
