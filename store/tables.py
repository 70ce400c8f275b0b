"""The database's tables. Every row that belongs to a user has a tenant, and every query filters by it.

Times are double precision seconds since 1970. JSON columns hold contract types.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(100), nullable=False),
    Column("name", String(100), nullable=False),
    Column("prefix", String(32), nullable=False, unique=True),
    Column("hash", LargeBinary, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("expires_at", Double),
    Column("max_active_jobs", Integer),
    Column("created_at", Double, nullable=False),
    Column("last_used_at", Double),
    Index(None, "tenant"),
)

models = Table(
    "models",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(100), nullable=False),
    Column("name", String(100), nullable=False),
    Column("config", JSON, nullable=False),
    Column("contract_version", Integer, nullable=False),
    Column("parameters", BigInteger, nullable=False),
    Column("pinned_checkpoint", String(40), ForeignKey("checkpoints.id", ondelete="SET NULL", use_alter=True)),
    Column("pinned_replica", Integer),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("tenant", "name"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(100), nullable=False),
    Column("key_id", String(40), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("name", String(100)),
    Column("model_id", String(40), ForeignKey("models.id", ondelete="SET NULL")),
    Column("model_name", String(100)),
    Column("config", JSON, nullable=False),
    Column("contract_version", Integer, nullable=False),
    # what moves the job forward: "trainer", a process that a worker claims it for, or "reconciler"
    Column("driver", String(20), nullable=False),
    # what was known before it ran (sizes, costs, baseline), and what its kind has reported since
    Column("facts", JSON, nullable=False),
    Column("summary", JSON, nullable=False),
    # the last logged value of each metric, [R]
    Column("latest", JSON, nullable=False),
    # the job that made what this one reads
    Column("parent_id", String(40), ForeignKey("jobs.id", ondelete="SET NULL")),
    Column("labels", JSON, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("device", String(10), nullable=False),
    Column("idempotency_key", String(255)),
    Column("idempotency_hash", String(64)),
    # the W3C trace context of the request that submitted it, for the workers' logs
    Column("traceparent", String(55)),
    # the state machine: status moves along the edges of states.py; requested is what the user wants of a running job
    Column("status", String(10), nullable=False),
    Column("requested", String(10)),
    Column("attempt", Integer, nullable=False),
    Column("crashes", Integer, nullable=False),
    Column("lease_owner", String(100)),
    Column("lease_expires", Double),
    Column("last_seq", BigInteger, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("steps_per_second", Double),
    Column("best_checkpoint", String(40)),
    Column("best_replica", Integer),
    Column("best_loss", Double),
    Column("last_checkpoint", String(40)),
    Column("environment", JSON),
    Column("error", JSON),
    Column("created_at", Double, nullable=False),
    Column("queued_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    UniqueConstraint("tenant", "idempotency_key"),
    Index(None, "tenant", "id"),
    Index(None, "model_id"),
    Index(None, "parent_id"),
    Index(None, "key_id", "status"),
)
# the order of claims; device comes last, so that claims and counts of positions skip rows that do not match
Index("ix_jobs_queue", jobs.c.status, jobs.c.priority.desc(), jobs.c.queued_at, jobs.c.id, jobs.c.device)

events = Table(
    "events",
    metadata,
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("type", String(30), nullable=False),
    Column("time", Double, nullable=False),
    Column("data", JSON, nullable=False),
)

metric_blocks = Table(
    "metric_blocks",
    metadata,
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("first_step", BigInteger, primary_key=True, autoincrement=False),
    Column("last_step", BigInteger, nullable=False),
    Column("names", JSON, nullable=False),
    Column("replicas", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

blobs = Table(
    "blobs",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("size", BigInteger, nullable=False),
)

blob_chunks = Table(
    "blob_chunks",
    metadata,
    Column("sha256", String(64), ForeignKey("blobs.sha256", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(100), nullable=False),
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("reason", String(20), nullable=False),
    Column("weights_sha256", String(64), ForeignKey("blobs.sha256"), nullable=False),
    Column("state_sha256", String(64), ForeignKey("blobs.sha256")),
    Column("size", BigInteger, nullable=False),
    Column("losses", JSON),
    Column("best_replica", Integer),
    Column("replicas", Integer, nullable=False),
    Column("certificate", JSON),
    # what the weights are, so that nobody needs to read the job that made them
    Column("network", JSON, nullable=False),
    Column("dtype", String(10), nullable=False),
    Column("data", JSON),
    Column("loss", JSON),
    Column("contract_version", Integer, nullable=False),
    # the job's summary at this step, which a job that goes back to this step gets again
    Column("summary", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("job_id", "step"),
    Index(None, "weights_sha256"),
    Index(None, "state_sha256"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("step", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("media_type", String(100), nullable=False),
    Column("sha256", String(64), ForeignKey("blobs.sha256"), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Index(None, "sha256"),
)

# which checkpoints a job reads; a deleted checkpoint leaves its id here, so that the job can say what is missing
inputs = Table(
    "inputs",
    metadata,
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("checkpoint_id", String(40), primary_key=True),
    Index(None, "checkpoint_id"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(100), primary_key=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", String(10), nullable=False),
    Column("job_id", String(40)),
    Column("version", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
)
