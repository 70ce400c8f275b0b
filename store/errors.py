"""What can go wrong in the store, as an enumerated vocabulary. A class's docstring is its default message."""

from __future__ import annotations

from typing import ClassVar

from unroll.contract import ProblemCode


class StoreError(Exception):
    """The store refused."""

    code: ClassVar[ProblemCode] = "internal_error"

    def __init__(self, detail: str | None = None, *, pointer: str | None = None) -> None:
        """`pointer` is a JSON Pointer into the request that caused it, where one field is to blame."""
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.pointer = pointer
        super().__init__(self.detail)


class NotFound(StoreError):
    """There is no such thing, or it belongs to somebody else."""

    code = "not_found"


class NameConflict(StoreError):
    """The name is taken by another configuration."""

    code = "name_conflict"


class ModelInUse(StoreError):
    """Jobs that have not ended train this model."""

    code = "model_in_use"


class JobNotEnded(StoreError):
    """The job has not ended; cancel it first."""

    code = "job_not_ended"


class InvalidTransition(StoreError):
    """The job's status does not allow this."""

    code = "invalid_transition"


class NoCheckpoint(StoreError):
    """There is no checkpoint to predict with yet."""

    code = "no_checkpoint"


class IdempotencyKeyReused(StoreError):
    """This Idempotency-Key was sent before with another body."""

    code = "idempotency_key_reused"


class QuotaExceeded(StoreError):
    """The key's quota of active jobs is used up."""

    code = "quota_exceeded"


class InvalidRequest(StoreError):
    """A field of the request is wrong."""

    code = "validation_failed"


class Unauthorized(StoreError):
    """The key is missing or unknown."""

    code = "unauthorized"


class KeyExpired(StoreError):
    """The key has expired."""

    code = "key_expired"


class DatabaseUnavailable(StoreError):
    """The database does not answer; try again."""

    code = "database_unavailable"


class LeaseLost(Exception):
    """Another worker owns the job now, or it was taken back; this attempt may write nothing more."""


class InputGone(Exception):
    """Something that the job reads was deleted."""


class TornBlob(Exception):
    """Stored content does not have the hash it is filed under."""


class SchemaMismatch(Exception):
    """The database's schema is not the one that this version of the program needs."""
