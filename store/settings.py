"""Everything that can be configured, by environment variables with the prefix UNROLL_."""

from __future__ import annotations

import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_data_dir() -> Path:
    """The XDG data folder of the user; the SDK looks for the embedded server's key in the same place."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "unroll"


class Settings(BaseSettings):
    """Settings of every process; nothing is read from anywhere else."""

    # an empty variable is one that was not set, so that compose can pass on what .env leaves out
    model_config = SettingsConfigDict(
        env_prefix="UNROLL_", env_ignore_empty=True, extra="ignore", use_attribute_docstrings=True, frozen=True
    )

    data_dir: Path = Field(default_factory=default_data_dir)
    """Folder of the embedded mode: database, queue, key, logs."""
    database_url: str = ""
    """postgresql://..., or sqlite:///path; empty: SQLite in the data folder."""
    broker_url: str = ""
    """redis://:password@host:port/0; empty: files in the data folder."""
    secret: SecretStr = SecretStr("")
    """Key of the hashes that API keys are stored as. Empty: made once and kept in the data folder."""
    host: str = "127.0.0.1"
    """Address that the API listens on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Its port; 0: a free one."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What this worker trains on: cpu, or cuda, of which it uses the first device it sees (CUDA_VISIBLE_DEVICES)."""
    tf32: bool = False
    """On a GPU: round the factors of float32 products to 10 bits (TensorFloat-32). Faster, other bits."""
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Threads of one trainer. Resuming is bit for bit only with the same number."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Worker processes that `unroll-server up` starts."""
    lease_seconds: Annotated[float, Field(gt=0, le=3600)] = 15.0
    """A worker that was not heard of for so long has lost its job."""
    stall_seconds: Annotated[float, Field(gt=0)] = 600.0
    """A trainer that made no step for so long is ended; the attempt counts as a crash."""
    max_crashes: Annotated[int, Field(ge=1)] = 3
    """Attempts without progress after which a job fails."""
    reconcile_seconds: Annotated[float, Field(gt=0)] = 2.0
    """How often every worker looks for expired leases and jobs that nobody was told of."""
    flush_seconds: Annotated[float, Field(gt=0)] = 0.25
    """How often a worker writes metrics and renews its lease."""
    drain_seconds: Annotated[float, Field(gt=0)] = 20.0
    """Grace time after SIGTERM: the trainer checkpoints, the lease is given back."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    """Largest request body."""
    max_job_bytes: Annotated[int, Field(ge=0)] = 0
    """Most memory that a job may be estimated to need. 0: embedded, this machine's memory; else no limit."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines to log; at `info` every request has one."""

    @model_validator(mode="after")
    def _lease_outlives_reports(self) -> Self:
        if self.lease_seconds < 2 * self.flush_seconds:
            message = (
                "UNROLL_LEASE_SECONDS must be at least twice UNROLL_FLUSH_SECONDS, else workers lose their own jobs"
            )
            raise ValueError(message)
        return self

    @cached_property
    def database(self) -> str:
        """The SQLAlchemy URL, with psycopg 3 as PostgreSQL's driver."""
        url = self.database_url
        if not url:
            return f"sqlite:///{self.data_dir.absolute() / 'unroll.db'}"
        for scheme in ("postgresql://", "postgres://"):
            if url.startswith(scheme):
                return "postgresql+psycopg://" + url.removeprefix(scheme)
        return url

    @cached_property
    def broker(self) -> str:
        """The Celery broker's URL."""
        return self.broker_url or "filesystem://"

    @property
    def embedded(self) -> bool:
        """Whether the database is a file on this machine."""
        return self.database.startswith("sqlite")

    @cached_property
    def job_bytes(self) -> int | None:
        """The most memory that a job may need; None: no limit."""
        if self.max_job_bytes or not self.embedded:
            return self.max_job_bytes or None
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    @cached_property
    def hash_secret(self) -> bytes:
        """The secret behind key hashes. Raises ValueError where machines share a database but not the secret."""
        if given := self.secret.get_secret_value():
            return given.encode()
        if not self.embedded:
            message = "UNROLL_SECRET must be set, to the same value for every process that shares the database"
            raise ValueError(message)
        return read_or_create_private(self.data_dir / "secret", secrets.token_hex(32)).encode()


def read_or_create_private(path: Path, content: str) -> str:
    """The file's text; where it does not exist, it is made with `content`, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    try:
        os.link(temporary, path)  # atomic, and fails where another process was first
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return path.read_text().strip()
