"""Nobody sees, changes or learns of another tenant's rows, whichever function they call."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from store import artifacts, checkpoints, fleet, inputs, jobs, journal, keys, leases, metrics, models, sessions
from store.artifacts import NewArtifact
from store.db import Database
from store.errors import InputGone, InvalidRequest, NotFound
from tests.integration.store.factories import (
    KEY,
    NETWORK,
    TENANT,
    checkpoint,
    claim,
    load_inputs,
    new_job,
    submit,
    submit_reader,
    train,
)
from unroll.contract import ChangeKey, NewKey, NewModel, Pin, Serving

STRANGER = "another lab"


@pytest.fixture
def things(db: Database) -> dict[str, str]:
    """One of everything, of TENANT."""
    models.register(db, TENANT, NewModel(name="integrator", config=NETWORK), 19)
    model_id, _ = models.resolve(db, TENANT, "integrator")
    job, _ = jobs.submit(db, TENANT, KEY, new_job(model_id=model_id, model_name="integrator"))
    lease = claim(db)
    train(lease, 1, 10)
    leases.report(lease, leases.Report(checkpoint=checkpoint(10, losses=(0.5,))))
    leases.report(lease, leases.Report(artifacts=[NewArtifact("a.txt", "text/plain", b"ours")]))
    leases.end(lease, "succeeded")
    key = keys.create(db, b"s", TENANT, NewKey(name="k"))
    checkpoint_id = checkpoints.list_of_job(db, TENANT, job.id).data[0].id
    about = {"model": "integrator", "checkpoint": checkpoint_id, "replica": 0, "sequences": 1, "ttl": 60.0}
    return {
        "job": job.id,
        "checkpoint": checkpoint_id,
        "session": sessions.create(db, TENANT, key.id, "api", **about).saved.id,  # type: ignore[arg-type]
        "key": key.id,
        "sha256": artifacts.get(db, TENANT, job.id, "a.txt").sha256,
    }


ASK: dict[str, Callable[[Database, str, dict[str, str]], object]] = {
    "jobs.get": lambda db, who, its: jobs.get(db, who, its["job"]),
    "jobs.cancel": lambda db, who, its: jobs.cancel(db, who, its["job"]),
    "jobs.pause": lambda db, who, its: jobs.pause(db, who, its["job"]),
    "jobs.resume": lambda db, who, its: jobs.resume(db, who, its["job"]),
    "jobs.retry": lambda db, who, its: jobs.retry(db, who, its["job"]),
    "jobs.remove": lambda db, who, its: jobs.remove(db, who, its["job"]),
    "journal.head": lambda db, who, its: journal.head(db, who, its["job"]),
    "journal.read": lambda db, who, its: journal.read(db, who, its["job"]),
    "metrics.read": lambda db, who, its: metrics.read(db, who, its["job"]),
    "metrics.stream": lambda db, who, its: metrics.stream(db, who, its["job"]),
    "checkpoints.get": lambda db, who, its: checkpoints.get(db, who, its["checkpoint"]),
    "checkpoints.content": lambda db, who, its: checkpoints.content(db, who, its["checkpoint"]),
    "checkpoints.list_of_job": lambda db, who, its: checkpoints.list_of_job(db, who, its["job"]),
    "artifacts.list_of_job": lambda db, who, its: artifacts.list_of_job(db, who, its["job"]),
    "artifacts.get": lambda db, who, its: artifacts.get(db, who, its["job"], "a.txt"),
    "artifacts.content": lambda db, who, its: artifacts.content(db, who, its["job"], "a.txt", its["sha256"]),
    "keys.get": lambda db, who, its: keys.get(db, who, its["key"]),
    "keys.change": lambda db, who, its: keys.change(db, who, its["key"], ChangeKey(name="mine-now")),
    "keys.remove": lambda db, who, its: keys.remove(db, who, its["key"]),
    "models.get": lambda db, who, _: models.get(db, who, "integrator"),
    "models.remove": lambda db, who, _: models.remove(db, who, "integrator"),
    "models.served": lambda db, who, _: models.served(db, who, "integrator"),
    "models.pin": lambda db, who, its: models.pin(db, who, "integrator", Serving(checkpoint=its["checkpoint"])),
    "models.alias": lambda db, who, its: models.alias(db, who, "integrator", "a", Pin(checkpoint=its["checkpoint"])),
    "models.unalias": lambda db, who, _: models.unalias(db, who, "integrator", "a"),
    "models.unpin": lambda db, who, _: models.unpin(db, who, "integrator"),
    "models.undo": lambda db, who, _: models.undo(db, who, "integrator"),
    "sessions.get": lambda db, who, its: sessions.get(db, who, its["session"]),
    "sessions.look": lambda db, who, its: sessions.look(db, who, its["session"]),
    "sessions.take": lambda db, who, its: sessions.take(db, who, its["session"], "other"),
    "sessions.remove": lambda db, who, its: sessions.remove(db, who, its["session"]),
}


@pytest.mark.parametrize("name", ASK)
def test_what_belongs_to_another_tenant_does_not_exist(db: Database, things: dict[str, str], name: str):
    with pytest.raises(NotFound) as refused:
        ASK[name](db, STRANGER, things)
    unknown = dict.fromkeys(things, "job_00000000000000000000000000")
    with pytest.raises(NotFound) as missing:
        ASK[name](db, STRANGER, unknown)
    # the two answers differ in nothing but the identifier that was asked for
    for thing in things.values():
        refused.value.detail = refused.value.detail.replace(thing, unknown["job"])
    assert refused.value.detail == missing.value.detail


def test_every_function_that_takes_a_tenant_is_asked_here():
    noted = (jobs, journal, metrics, checkpoints, keys, models, artifacts, inputs, sessions)
    modules = {module.__name__.split(".")[1]: module for module in noted}
    takes_tenant = {
        f"{name}.{attribute}"
        for name, module in modules.items()
        for attribute, value in vars(module).items()
        if callable(value)
        and not attribute.startswith("_")
        and getattr(value, "__module__", "") == module.__name__
        and "tenant" in getattr(value, "__annotations__", {})
    }
    elsewhere = {
        "jobs.submit", "jobs.list_", "keys.create", "keys.list_", "models.register", "models.list_", "models.resolve",
        "checkpoints.write", "jobs.submitted", "inputs.add", "inputs.find", "inputs.lock", "inputs.load",
        "sessions.create", "sessions.list_", "sessions.named", "sessions.of_tenant",
    }  # fmt: skip
    records = {"keys.Identity", "checkpoints.NewCheckpoint"}
    assert takes_tenant - records == set(ASK) | elsewhere


def test_a_stranger_cannot_have_a_job_read_a_checkpoint_nor_load_what_a_job_reads(db: Database, things: dict[str, str]):
    with pytest.raises(InvalidRequest) as refusal:
        submit_reader(db, things["checkpoint"], STRANGER)
    assert refusal.value.pointer == "/checkpoint"
    reader = submit_reader(db, things["checkpoint"])
    assert list(load_inputs(db, TENANT, reader.id)) == [things["checkpoint"]]
    with pytest.raises(InputGone):
        load_inputs(db, STRANGER, reader.id)


def test_lists_show_ones_own_only(db: Database, things: dict[str, str]):
    assert jobs.list_(db, STRANGER).data == []
    assert keys.list_(db, STRANGER).data == []
    assert sessions.list_(db, STRANGER).data == []
    assert models.list_(db, STRANGER).data == []
    assert [job.id for job in jobs.list_(db, TENANT).data] == [things["job"]]


def test_idempotency_keys_are_a_tenants_own(db: Database):
    job, _ = jobs.submit(db, TENANT, KEY, new_job(), idempotency=("k", "a body"))
    assert jobs.submitted(db, STRANGER, ("k", "another body")) is None
    found = jobs.submitted(db, TENANT, ("k", "a body"))
    assert found is not None
    assert found.id == job.id


def test_names_are_a_tenants_own(db: Database, things: dict[str, str]):
    with pytest.raises(InvalidRequest):
        models.resolve(db, STRANGER, "integrator")
    other = NETWORK.model_copy(update={"input_size": 2})
    model, created = models.register(db, STRANGER, NewModel(name="integrator", config=other), 22)
    assert created
    assert model.serving is None
    assert models.get(db, TENANT, "integrator").config == NETWORK
    models.register(db, STRANGER, NewModel(name="same", config=NETWORK), 19)
    with pytest.raises(InvalidRequest) as refusal:
        models.pin(db, STRANGER, "same", Serving(checkpoint=things["checkpoint"]))
    assert refusal.value.pointer == "/checkpoint"


def test_a_strangers_job_is_busy_work_without_a_name(db: Database):
    submit(db)
    lease = claim(db, "w1")
    fleet.enlist(db, "w1", "host", 1, "cpu", "0")
    fleet.seen(db, "w1", lease.job_id)
    (ours,) = fleet.list_workers(db, TENANT, 60)
    (theirs,) = fleet.list_workers(db, STRANGER, 60)
    assert (ours.job, ours.busy) == (lease.job_id, True)
    assert (theirs.job, theirs.busy) == (None, True)
