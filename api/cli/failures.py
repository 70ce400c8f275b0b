"""What a command reports if it cannot do what was asked: one line on stderr, and an exit code.

Exit codes: 0 done; 1 it did not work now (the database does not answer, a folder is in use); 2 it will never work like
this (the settings, the arguments or the database's schema are wrong, or a disk is full or broken).
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

    from store.db import Database
    from store.settings import Settings

FAILED = 1
WRONG_SETTINGS = 2


class Failure(Exception):
    """A command ends with this message and exit code."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        """`message` is one line, or one line for each wrong setting."""
        super().__init__(message)
        self.exit_code = exit_code


def known(error: Exception) -> Failure | None:
    """Describe an expected failure in one line. None for an error in the program, which needs its traceback."""
    if isinstance(error, Failure):
        return error
    from pydantic import ValidationError

    from store.errors import BadBackup, DatabaseUnfit, NotEmpty, SchemaMismatch, StorageFailed, StorageFull, StoreError

    match error:
        case SchemaMismatch() | DatabaseUnfit() | StorageFull() | StorageFailed() | BadBackup() | NotEmpty():
            return Failure(_one_line(error), WRONG_SETTINGS)
        case StoreError(code="validation_failed"):
            return Failure(_one_line(error), WRONG_SETTINGS)
        case StoreError():
            return Failure(_one_line(error))
        case ValidationError():
            return Failure(_wrong_fields(error), WRONG_SETTINGS)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT | errno.EROFS | errno.EIO):
            where = error.filename or _data_dir()  # an error of a file that is open does not name it
            return Failure(f"Nothing can be written to {where}: {_reason(error)}", WRONG_SETTINGS)
        case OSError():
            return Failure(_one_line(error))
    return None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _data_dir() -> Path:
    from store.settings import Settings

    return Settings().data_dir


def load_settings() -> Settings:
    """Return the settings of this environment. Raises Failure, naming the variable, if one is wrong."""
    from pydantic import ValidationError

    from store.settings import Settings
    from store.variables import warn_of_unknown

    warn_of_unknown()
    try:
        settings = Settings()
    except ValidationError as error:
        raise Failure(_wrong_fields(error, "UNROLL_"), WRONG_SETTINGS) from error
    if "://" in settings.broker_url and not settings.broker_url.startswith(("redis://", "rediss://", "filesystem://")):
        scheme = settings.broker_url.split("://")[0]
        raise Failure(f"UNROLL_BROKER_URL: redis://... or empty, not {scheme}://...", WRONG_SETTINGS)
    return settings


def require_data_folder(settings: Settings, *, always: bool = False) -> None:
    """Make the data folder if these settings keep the database or the hash secret in it, or `always`.

    Raises Failure if it cannot be used.
    """
    from store.folder import FolderUnusable, make_folder

    if not (settings.needs_data_dir or always):
        return
    try:
        make_folder(settings.data_dir)
    except FolderUnusable as error:
        raise Failure(str(error), WRONG_SETTINGS) from error


def hash_secret(settings: Settings) -> bytes:
    """Return the secret of the key hashes. Raises Failure if it is required but not set."""
    try:
        return settings.hash_secret
    except ValueError as error:
        raise Failure(str(error), WRONG_SETTINGS) from error


def open_database(settings: Settings, *, checked: bool = True) -> Database:
    """Return the database, not yet connected. With `checked`, its schema must be this program's.

    Raises Failure and SchemaMismatch.
    """
    from sqlalchemy.exc import ArgumentError

    from store.db import Database
    from store.schema import check

    try:
        db = Database(settings, pool_size=1)
    except ArgumentError as error:  # its message could repeat the URL, and with it a password
        raise Failure("UNROLL_DATABASE_URL: not a database URL", WRONG_SETTINGS) from error
    except ValueError as error:
        raise Failure(str(error), WRONG_SETTINGS) from error
    if checked:
        try:
            check(db)
        except BaseException:
            db.close()
            raise
    return db


def _wrong_fields(error: ValidationError, prefix: str = "") -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in problem["loc"])
        lines.append(f"{prefix}{name.upper() if prefix else name}: {problem['msg']}")
    return "\n".join(lines)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
