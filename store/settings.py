"""All settings, read from environment variables with the prefix UNROLL_."""

from __future__ import annotations

import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_data_dir() -> Path:
    """Return the user's XDG data folder. The SDK looks there for the embedded server's key."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "unroll"


class Settings(BaseSettings):
    """The settings of every process. They are read only from the environment."""

    # an empty variable is one that was not set, so that compose can pass on what .env leaves out
    model_config = SettingsConfigDict(
        env_prefix="UNROLL_", env_ignore_empty=True, extra="ignore", use_attribute_docstrings=True, frozen=True
    )

    data_dir: Path = Field(default_factory=default_data_dir)
    """Folder of the embedded mode: database, queue, key and logs."""
    database_url: str = ""
    """postgresql://... or sqlite:///path. Empty: SQLite in the data folder."""
    broker_url: str = ""
    """redis://:password@host:port/0. Empty: files in the data folder."""
    secret: SecretStr = SecretStr("")
    """Key of the hashes of API keys. Empty: a key is created once and kept in the data folder."""
    host: str = "127.0.0.1"
    """Address on which the API listens."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port on which the API listens; 0: a free port."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device on which this worker trains: cpu, or cuda, the first device that it sees (CUDA_VISIBLE_DEVICES)."""
    tf32: bool = False
    """On a GPU, round factors of float32 products to 10 bits (TensorFloat-32): faster, with different bits."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Number of threads of one trainer. 0: as many as pay for its network, of this worker's share of the cores."""
    warm_bytes: Annotated[int, Field(ge=0)] = 512 * 1024 * 1024
    """GPU memory beside CUDA's own context that a waiting trainer may hold. 0: it opens the GPU only for a job."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Number of worker processes that `unroll-server up` starts."""
    api_processes: Annotated[int, Field(ge=1, le=256)] = 1
    """Number of API processes that `unroll-server up` and `unroll-server api` start behind one address."""
    lease_seconds: Annotated[float, Field(gt=0, le=3600)] = 15.0
    """A worker that has been silent for this time loses its job."""
    stall_seconds: Annotated[float, Field(gt=0)] = 600.0
    """A trainer that shows no work for this time has crashed; longer where one part of a job may take longer."""
    max_crashes: Annotated[int, Field(ge=1)] = 3
    """Number of attempts without progress after which a job fails."""
    reconcile_seconds: Annotated[float, Field(gt=0)] = 2.0
    """Interval at which every worker looks for expired leases and lost rings; at most a quarter of a lease."""
    flush_seconds: Annotated[float, Field(gt=0)] = 0.25
    """Interval at which a worker writes metrics and renews its lease."""
    drain_seconds: Annotated[float, Field(gt=0)] = 20.0
    """Grace time after SIGTERM, in which the trainer saves a checkpoint and gives the lease back."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 32 * 1024 * 1024
    """Largest size of a request body."""
    body_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Longest pause of a request that arrives, and its time in all, plus a second for every 16 KiB of its body."""
    max_held_bytes: Annotated[int, Field(ge=0)] = 0
    """Memory of all requests of an API process together. 0: an eighth of this machine's memory, at least 512 MiB."""
    max_job_bytes: Annotated[int, Field(ge=0)] = 0
    """Largest estimated memory of a job. 0: this machine's memory in the embedded mode, otherwise no limit."""
    claim_order: Literal["turns", "plain"] = "turns"
    """Order in which jobs start. turns: tenants take turns. plain: priority and age among the jobs of all tenants."""
    queued_jobs: Annotated[int, Field(ge=0)] = 1000
    """Largest number of queued jobs of a key that has no such limit of its own. 0: no limit."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level of lines that are logged. At `info` every request has a line."""

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
        """The URL of the Celery broker."""
        return self.broker_url or "filesystem://"

    @property
    def embedded(self) -> bool:
        """Whether the database is a file on this machine."""
        return self.database.startswith("sqlite")

    @property
    def needs_data_dir(self) -> bool:
        """Whether the database or the secret of the key hashes lies in the data folder."""
        return not self.database_url or (self.embedded and not self.secret.get_secret_value())

    @cached_property
    def job_bytes(self) -> int | None:
        """The largest memory that a job may need; None: no limit."""
        if self.max_job_bytes or not self.embedded:
            return self.max_job_bytes or None
        return machine_bytes()

    @cached_property
    def held_bytes(self) -> int:
        """The memory that all requests in flight of one API process share."""
        return self.max_held_bytes or max((machine_bytes() or 0) // 8, 512 * 1024 * 1024)

    @cached_property
    def hash_secret(self) -> bytes:
        """The secret of the key hashes. Raises ValueError if machines share a database but no secret is set."""
        if given := self.secret.get_secret_value():
            return given.encode()
        if not self.embedded:
            message = "UNROLL_SECRET must be set, to the same value for every process that shares the database"
            raise ValueError(message)
        return read_or_create_private(self.data_dir / "secret", secrets.token_hex(32)).encode()


def machine_bytes() -> int | None:
    """Return the size of this machine's memory in bytes, or None where the system does not tell it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not every system has these two names
        return None


def read_or_create_private(path: Path, content: str) -> str:
    """Return the file's text. If the file does not exist, create it with `content`, readable only by its owner."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        os.link(temporary, path)  # atomic, and fails where another process was first
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return path.read_text(encoding="utf-8").strip()
