"""Errors that the store raises, one class for each code of the contract.

A class's docstring is the message that users see if no other is given.
"""

from __future__ import annotations

from typing import ClassVar

from unroll.contract import LimitName, ProblemCode


class StoreError(Exception):
    """The store refused the request."""

    code: ClassVar[ProblemCode] = "internal_error"

    def __init__(self, detail: str | None = None, *, pointer: str | None = None) -> None:
        """`pointer` is a JSON Pointer to the request's field that caused the error, if there is one."""
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.pointer = pointer
        super().__init__(self.detail)


class NotFound(StoreError):
    """This does not exist, or it belongs to another tenant."""

    code = "not_found"


class NameConflict(StoreError):
    """Another configuration already has this name."""

    code = "name_conflict"


class ModelInUse(StoreError):
    """The model is used by jobs that have not ended."""

    code = "model_in_use"


class JobNotEnded(StoreError):
    """The job has not ended; cancel it first."""

    code = "job_not_ended"


class InvalidTransition(StoreError):
    """The job's current status does not allow this."""

    code = "invalid_transition"


class NoCheckpoint(StoreError):
    """There is no checkpoint to predict with yet."""

    code = "no_checkpoint"


class SessionExpired(StoreError):
    """The session has expired."""

    code = "session_expired"


class IdempotencyKeyReused(StoreError):
    """This Idempotency-Key was already sent with a different body."""

    code = "idempotency_key_reused"


class QuotaExceeded(StoreError):
    """A limit of the key or of its tenant is reached."""

    code = "quota_exceeded"

    def __init__(self, detail: str, *, limit: LimitName, pointer: str | None = None, seconds: int = 10) -> None:
        """`limit` is the one that is reached. After `seconds` it is worth trying again."""
        self.limit = limit
        self.seconds = seconds
        super().__init__(detail, pointer=pointer)


class Busy(StoreError):
    """Other requests of this kind are running; try again."""

    code = "busy"


class InvalidRequest(StoreError):
    """A field of the request is not valid."""

    code = "validation_failed"


class Unauthorized(StoreError):
    """The key is missing or unknown."""

    code = "unauthorized"


class KeyExpired(StoreError):
    """The key has expired."""

    code = "key_expired"


class DatabaseUnavailable(StoreError):
    """The database does not answer; try again."""

    code: ClassVar[ProblemCode] = "database_unavailable"


class StorageFull(DatabaseUnavailable):
    """The database's disk is full; reads go on."""

    code = "storage_full"


class StorageFailed(DatabaseUnavailable):
    """The database's files cannot be read or written."""

    code = "storage_failed"


class ReadOnly(DatabaseUnavailable):
    """The database takes no writes at present; reads go on."""

    code = "read_only"


class DatabaseUnfit(DatabaseUnavailable):
    """This program cannot work with the database as it is set up."""


class LeaseLost(Exception):
    """This attempt no longer owns the job and may not write: the lease was taken back or another worker holds it."""


class InputGone(Exception):
    """Something that the job reads was deleted."""


class TornBlob(Exception):
    """Stored content does not match the hash under which it is stored."""


class SchemaMismatch(Exception):
    """The database's schema is not the one that this version of the program needs."""


class BadBackup(Exception):
    """A file is no backup, or is damaged."""


class NotEmpty(Exception):
    """The database has rows that a backup would replace."""
