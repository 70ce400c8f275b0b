"""Finds what answers the predictions that are posted to a model or to a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from api.errors import invalid
from api.inference import Predictors, Target
from store import checkpoints, models
from store.db import Database
from unroll.contract import Checkpoint, Pinned

Reserve = Callable[[int], None]


def of_model(
    db: Database, predictors: Predictors, tenant: str, name: str, *, reserve: Reserve = lambda _bytes: None
) -> Target:
    """Return what a model, or NAME@ALIAS, serves. Raises NotFound and NoCheckpoint.

    `reserve` is told how much memory a network takes that has to be read, and may refuse it.
    """
    served = models.served(db, tenant, name)

    def one(pinned: Pinned) -> Target:
        checkpoint = checkpoints.get(db, tenant, pinned.checkpoint)
        return _target(db, predictors, tenant, checkpoint, pinned.replica, name, reserve)

    candidate, shadow = served.candidate, served.shadow
    return replace(
        one(served),
        candidate=None if candidate is None else one(candidate),
        share=0.0 if candidate is None else candidate.share,
        shadow=None if shadow is None else one(shadow),
    )


def of_checkpoint(
    db: Database,
    predictors: Predictors,
    tenant: str,
    checkpoint_id: str,
    model: str | None = None,
    *,
    reserve: Reserve = lambda _bytes: None,
) -> Target:
    """Return a checkpoint and its own best replica. A checkpoint that was not evaluated has none. Raises NotFound."""
    checkpoint = checkpoints.get(db, tenant, checkpoint_id)
    best = 0 if checkpoint.best_replica is None and checkpoint.replicas == 1 else checkpoint.best_replica
    return _target(db, predictors, tenant, checkpoint, best, model, reserve)


def replica_of(target: Target, wanted: int | str) -> int | None:
    """Return the replica that is to run, None for all of them. Refuses one that is not there."""
    if wanted == "all":
        return None
    if wanted == "best":
        if target.best is None:
            raise invalid(
                "/replica", "not_evaluated", "This checkpoint was not evaluated; name a replica, or ask for all."
            )
        return target.best
    replica, count = int(wanted), target.predictor.replicas
    if replica >= count:
        raise invalid("/replica", "out_of_range", f"there is no replica {replica}: they are 0 to {count - 1}")
    return replica


def _target(
    db: Database,
    predictors: Predictors,
    tenant: str,
    checkpoint: Checkpoint,
    best: int | None,
    model: str | None,
    reserve: Reserve,
) -> Target:
    def load() -> bytes:
        reserve(3 * checkpoint.size)  # as it comes from the database, and as arrays
        return checkpoints.content(db, tenant, checkpoint.id)[1]

    return Target(predictors.get(checkpoint.sha256, load), best, checkpoint.id, model)
