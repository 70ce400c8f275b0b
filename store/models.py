"""Registered models: a name for a network configuration, and the checkpoint that its predict uses."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from store.clock import instant
from store.db import Database, db_now
from store.errors import InvalidRequest, ModelInUse, NameConflict, NoCheckpoint, NotFound
from store.ids import new_id
from store.paging import page
from store.states import ACTIVE
from store.tables import TRAINED, checkpoints, jobs, models
from unroll.contract import CONTRACT_VERSION, Model, Network, NewModel, Page, Served, Serving
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
    """Set the checkpoint that predict uses. Raises NotFound, and InvalidRequest for a checkpoint that does not fit."""
    with db.begin() as tx:
        row = _get(tx, tenant, name)
        found = tx.execute(
            select(checkpoints, jobs.c.config)
            .join(jobs, jobs.c.id == checkpoints.c.job_id)
            .where(checkpoints.c.id == serving.checkpoint, checkpoints.c.tenant == tenant)
        ).one_or_none()
        if found is None:
            raise InvalidRequest(f"There is no checkpoint {serving.checkpoint}.", pointer="/checkpoint")
        if Network.model_validate(found.config["model"], extra="ignore") != network(row):
            raise InvalidRequest("The checkpoint is of a network with another configuration.", pointer="/checkpoint")
        replica = found.best_replica if serving.replica == "best" else serving.replica
        if replica is None:
            raise InvalidRequest("This checkpoint was not evaluated; name a replica.", pointer="/replica")
        if replica >= found.replicas:
            raise InvalidRequest(f"The checkpoint has replicas 0 to {found.replicas - 1}.", pointer="/replica")
        values = {"pinned_checkpoint": found.id, "pinned_replica": replica}
        try:
            with tx.begin_nested():
                tx.execute(update(models).where(models.c.id == row.id).values(values))
        except IntegrityError:  # deleted at this moment
            raise InvalidRequest(f"There is no checkpoint {serving.checkpoint}.", pointer="/checkpoint") from None
        return _show(tx, _get(tx, tenant, name))


def served(db: Database, tenant: str, name: str) -> Served:
    """Return the checkpoint that predict uses. Raises NotFound, and NoCheckpoint if nothing was trained yet."""
    with db.read() as tx:
        found = _served(tx, _get(tx, tenant, name))
    if found is None:
        raise NoCheckpoint(f"No train job of the model {name} has succeeded yet, and no checkpoint is pinned.")
    return found


def _served(tx: Connection, row: Row[Any]) -> Served | None:
    if row.pinned_checkpoint is not None:
        return Served(checkpoint=row.pinned_checkpoint, replica=row.pinned_replica, pinned=True)
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
    return Model(
        name=row.name,
        config=network(row),
        parameters=row.parameters,
        serving=_served(tx, row),
        created_at=instant(row.created_at),
    )
