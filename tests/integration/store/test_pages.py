"""Lists in pages: nothing twice, nothing left out, also while others insert; filters; cursors that are none of ours."""

from __future__ import annotations

import base64
import threading

import pytest

from store import checkpoints, jobs, keys, models
from store.db import Database
from store.errors import InvalidRequest
from tests.integration.store.factories import NETWORK, TENANT, claim, submit, train
from unroll.contract import NewKey, NewModel


def test_a_job_that_joins_the_line_between_counting_it_and_reading_the_rows_is_listed_without_a_place(
    db: Database, monkeypatch: pytest.MonkeyPatch
):
    first, second = submit(db).id, submit(db).id
    monkeypatch.setattr(jobs, "places_in_line", lambda _tx: {first: 1})
    newest, oldest = jobs.list_(db, TENANT).data
    assert (newest.id, newest.queue) == (second, None)
    assert oldest.queue is not None
    assert oldest.queue.position == 1


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
