"""Registered models: a name for a network configuration, and the checkpoint that its predict uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from store.clock import instant
from store.db import Database, db_now
from store.errors import InvalidRequest, ModelInUse, NameConflict, NoCheckpoint, NotFound
from store.ids import new_id
from store.paging import page
from store.states import ACTIVE
from store.tables import TRAINED, checkpoints, jobs, models, pins
from unroll.contract import (
    CONTRACT_VERSION,
    Candidate,
    Model,
    Network,
    NewModel,
    Page,
    Pin,
    Pinned,
    Served,
    ServedCandidate,
    Serving,
)
from unroll.contract.suggestions import did_you_mean
from unroll.contract.wording import shown

_COMPARED = 200
"""Number of newest models whose names are compared with one that does not exist."""
_NAMED = 10
"""Number of them that are named."""


def register(db: Database, tenant: str, new: NewModel, parameters: int) -> tuple[Model, bool]:
    """Register a model and return (model, True).

    If the same name and configuration exist already, returns (the existing model, False). Raises NameConflict.
    """
    try:
        with db.begin() as tx:
            row = _find(tx, tenant, new.name)
            if row is None:
                values = {
                    "id": new_id("model"),
                    "tenant": tenant,
                    "name": new.name,
                    "config": new.config.model_dump(mode="json"),
                    "contract_version": CONTRACT_VERSION,
                    "parameters": parameters,
                    "created_at": db_now(),
                }
                row = tx.execute(insert(models).values(values).returning(models)).one()
                return _show(tx, row), True
            return _show(tx, _same(row, new)), False
    except IntegrityError:  # registered by somebody else at this moment
        with db.read() as tx:
            return _show(tx, _same(_get(tx, tenant, new.name), new)), False


def _same(row: Row[Any], new: NewModel) -> Row[Any]:
    # compared as models, not as JSON, so that a default added by a newer version breaks nothing
    if network(row) != new.config:
        raise NameConflict(f"The model {new.name} exists with another configuration.", pointer="/name")
    return row


def network(row: Row[Any]) -> Network:
    """Read the stored configuration."""
    return Network.model_validate(row.config, extra="ignore")


def get(db: Database, tenant: str, name: str) -> Model:
    """Return one model. Raises NotFound."""
    with db.read() as tx:
        return _show(tx, _get(tx, tenant, name))


def resolve(db: Database, tenant: str, name: str) -> tuple[str, Network]:
    """Return id and configuration of the model that a job names. Raises InvalidRequest at /model."""
    with db.read() as tx:
        row = _find(tx, tenant, name)
        if row is None:
            raise InvalidRequest(_no_model(tx, tenant, name), pointer="/model")
    return row.id, network(row)


def list_(db: Database, tenant: str, *, limit: int = 50, cursor: str | None = None) -> Page[Model]:
    """Return the tenant's models, newest first."""
    with db.read() as tx:
        query = select(models).where(models.c.tenant == tenant)
        return page(tx, query, models.c.id, limit=limit, cursor=cursor, show=lambda row: _show(tx, row))


def remove(db: Database, tenant: str, name: str) -> None:
    """Remove the name; jobs and checkpoints stay. Raises NotFound, and ModelInUse while a job trains the model."""
    with db.begin() as tx:
        row = _get(tx, tenant, name, lock=True)  # a job that is submitted at this moment comes before or after
        training = select(jobs.c.id).where(jobs.c.model_id == row.id, jobs.c.status.in_(ACTIVE)).limit(1)
        if (job_id := tx.execute(training).scalar_one_or_none()) is not None:
            raise ModelInUse(f"Job {job_id} trains this model and has not ended.")
        tx.execute(delete(models).where(models.c.id == row.id))


def pin(db: Database, tenant: str, name: str, serving: Serving) -> Model:
    """Set what predict uses. Raises NotFound, and InvalidRequest for a checkpoint that does not fit."""
    return _change(db, tenant, name, lambda tx, row: _pin(tx, tenant, row, serving))


def unpin(db: Database, tenant: str, name: str) -> Model:
    """Let predict use the best checkpoint of the train job that finished last. Raises NotFound."""
    return _change(db, tenant, name, lambda tx, row: _pin(tx, tenant, row, None))


def undo(db: Database, tenant: str, name: str) -> Model:
    """Go back to what was served before the last change; a second time, forth again.

    Raises NotFound, and InvalidRequest if a checkpoint of it was deleted.
    """

    def back(tx: Connection, row: Row[Any]) -> None:
        before = row.serving_before
        _pin(tx, tenant, row, None if before is None else Serving.model_validate(before))

    return _change(db, tenant, name, back)


def alias(db: Database, tenant: str, name: str, role: str, wanted: Pin) -> Model:
    """Give a checkpoint a name of its own. Raises NotFound, and InvalidRequest for one that does not fit."""

    def change(tx: Connection, row: Row[Any]) -> None:
        checkpoint, replica = _fitting(tx, tenant, row, wanted, "")
        _set(tx, row.id, f"alias:{role}", checkpoint, replica)

    return _change(db, tenant, name, change)


def unalias(db: Database, tenant: str, name: str, role: str) -> None:
    """Take a checkpoint's name away. Raises NotFound."""
    with db.begin() as tx:
        row = _get(tx, tenant, name)
        mine = (pins.c.model_id == row.id, pins.c.role == f"alias:{role}")
        if not tx.execute(delete(pins).where(*mine)).rowcount:
            raise NotFound(f"The model {name} has no alias {shown(role)}.")


def _change(db: Database, tenant: str, name: str, change: Callable[[Connection, Row[Any]], None]) -> Model:
    with db.begin() as tx:
        row = _get(tx, tenant, name)  # not locked: a checkpoint that is removed locks itself first, and its model then
        try:
            with tx.begin_nested():
                change(tx, row)
        except IntegrityError:  # a checkpoint was deleted, or somebody else changed the same, at this moment
            detail = "A checkpoint of it was deleted, or the model was changed, at this moment."
            raise InvalidRequest(detail, pointer="/checkpoint") from None
        return _show(tx, _get(tx, tenant, name))


def _pin(tx: Connection, tenant: str, row: Row[Any], serving: Serving | None) -> None:
    now = _pinned(tx, row)
    values: dict[str, Any] = {"pinned_checkpoint": None, "pinned_replica": None}
    tx.execute(delete(pins).where(pins.c.model_id == row.id, pins.c.role.in_(("candidate", "shadow"))))
    if serving is not None:
        values["pinned_checkpoint"], values["pinned_replica"] = _fitting(tx, tenant, row, serving, "")
        for role, wanted in (("candidate", serving.candidate), ("shadow", serving.shadow)):
            if wanted is not None:
                share = wanted.share if isinstance(wanted, Candidate) else None
                _set(tx, row.id, role, *_fitting(tx, tenant, row, wanted, f"/{role}"), share)
    values["serving_before"] = None if now is None else now.model_dump(mode="json")
    tx.execute(update(models).where(models.c.id == row.id).values(values))


def _pinned(tx: Connection, row: Row[Any]) -> Serving | None:
    """Return what is pinned now, as it would be set again."""
    if row.pinned_checkpoint is None:
        return None
    roles = _roles(tx, row.id)
    candidate, shadow = roles.get("candidate"), roles.get("shadow")
    return Serving(
        checkpoint=row.pinned_checkpoint,
        replica=row.pinned_replica,
        candidate=candidate
        and Candidate(checkpoint=candidate.checkpoint_id, replica=candidate.replica, share=candidate.share),
        shadow=shadow and Pin(checkpoint=shadow.checkpoint_id, replica=shadow.replica),
    )


def _roles(tx: Connection, model_id: str) -> dict[str, Row[Any]]:
    rows = tx.execute(select(pins).where(pins.c.model_id == model_id).order_by(pins.c.role)).all()
    return {row.role: row for row in rows}


def _set(tx: Connection, model_id: str, role: str, checkpoint: str, replica: int, share: float | None = None) -> None:
    tx.execute(delete(pins).where(pins.c.model_id == model_id, pins.c.role == role))
    values = {"model_id": model_id, "role": role, "checkpoint_id": checkpoint, "replica": replica, "share": share}
    tx.execute(insert(pins).values(values))


def _fitting(tx: Connection, tenant: str, row: Row[Any], wanted: Pin, pointer: str) -> tuple[str, int]:
    """Return a checkpoint's id and the replica. Raises InvalidRequest if it is not one of this model's network."""
    found = tx.execute(
        select(checkpoints).where(checkpoints.c.id == wanted.checkpoint, checkpoints.c.tenant == tenant)
    ).one_or_none()
    if found is None:
        raise InvalidRequest(f"There is no checkpoint {wanted.checkpoint}.", pointer=f"{pointer}/checkpoint")
    if Network.model_validate(found.network, extra="ignore") != network(row):
        detail = "The checkpoint is of a network with another configuration."
        raise InvalidRequest(detail, pointer=f"{pointer}/checkpoint")
    replica = found.best_replica if wanted.replica == "best" else wanted.replica
    if replica is None:
        raise InvalidRequest("This checkpoint was not evaluated; name a replica.", pointer=f"{pointer}/replica")
    if replica >= found.replicas:
        detail = f"The checkpoint has replicas 0 to {found.replicas - 1}."
        raise InvalidRequest(detail, pointer=f"{pointer}/replica")
    return found.id, replica


def served(db: Database, tenant: str, name: str) -> Served:
    """Return what predict uses. The name may be NAME@ALIAS.

    Raises NotFound, and NoCheckpoint if nothing was trained yet.
    """
    model, _, role = name.partition("@")
    with db.read() as tx:
        row = _get(tx, tenant, model)
        if role:
            one = _roles(tx, row.id).get(f"alias:{role}")
            if one is None:
                raise NotFound(f"The model {model} has no alias {shown(role)}.")
            return Served(checkpoint=one.checkpoint_id, replica=one.replica, pinned=True)
        found = _served(tx, row, _roles(tx, row.id))
    if found is None:
        raise NoCheckpoint(f"No train job of the model {name} has succeeded yet, and no checkpoint is pinned.")
    return found


def _served(tx: Connection, row: Row[Any], roles: dict[str, Row[Any]]) -> Served | None:
    if row.pinned_checkpoint is not None:
        candidate, shadow = roles.get("candidate"), roles.get("shadow")
        return Served(
            checkpoint=row.pinned_checkpoint,
            replica=row.pinned_replica,
            pinned=True,
            candidate=candidate
            and ServedCandidate(checkpoint=candidate.checkpoint_id, replica=candidate.replica, share=candidate.share),
            shadow=shadow and Pinned(checkpoint=shadow.checkpoint_id, replica=shadow.replica),
        )
    best = tx.execute(
        select(jobs.c.best_checkpoint, jobs.c.best_replica)
        .where(jobs.c.model_id == row.id, TRAINED)
        .order_by(jobs.c.ended_at.desc())
        .limit(1)
    ).one_or_none()
    return best and Served(checkpoint=best.best_checkpoint, replica=best.best_replica, pinned=False)


def _find(tx: Connection, tenant: str, name: str, *, lock: bool = False) -> Row[Any] | None:
    query = select(models).where(models.c.tenant == tenant, models.c.name == name)
    return tx.execute(query.with_for_update() if lock else query).one_or_none()


def _get(tx: Connection, tenant: str, name: str, *, lock: bool = False) -> Row[Any]:
    if (row := _find(tx, tenant, name, lock=lock)) is None:
        raise NotFound(_no_model(tx, tenant, name))
    return row


def _no_model(tx: Connection, tenant: str, name: str) -> str:
    """Say that there is no such model, and which of the newest ones is probably meant."""
    newest = select(models.c.name).where(models.c.tenant == tenant).order_by(models.c.id.desc()).limit(_COMPARED)
    there = tx.execute(newest).scalars().all()
    if not there:
        return f"There is no model {shown(name)}; none is registered."
    some = f"{'is' if len(there) == 1 else 'are'} {', '.join(there[:_NAMED])}{', …' if len(there) > _NAMED else ''}"
    return f"There is no model {shown(name)}; there {some}.{did_you_mean(name, there)}"


def _show(tx: Connection, row: Row[Any]) -> Model:
    roles = _roles(tx, row.id)
    return Model(
        name=row.name,
        config=network(row),
        parameters=row.parameters,
        serving=_served(tx, row, roles),
        aliases={
            role.removeprefix("alias:"): Pinned(checkpoint=one.checkpoint_id, replica=one.replica)
            for role, one in roles.items()
            if role.startswith("alias:")
        },
        created_at=instant(row.created_at),
    )
