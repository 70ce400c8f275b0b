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
    literal_column,
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
    # the fields of `Limits` that are set
    Column("limits", JSON, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("last_used_at", Double),
    Index(None, "tenant", "id"),
)

# only tenants that the operator has given a weight or limits; every other tenant has weight 1 and no limits
tenants = Table(
    "tenants",
    metadata,
    Column("tenant", String(100), primary_key=True),
    Column("weight", Integer, nullable=False),
    Column("limits", JSON, nullable=False),
)

# whose turn it is at the workers of each device (store/turns.py); a claim locks the rows
clocks = Table(
    "clocks",
    metadata,
    Column("device", String(10), primary_key=True),
    Column("now", Double, nullable=False),
    Column("starts", JSON, nullable=False),
)

# the size of what the jobs of each key have stored (store/stored.py); it outlives the key
stored = Table(
    "stored",
    metadata,
    Column("tenant", String(100), primary_key=True),
    Column("key_id", String(40), primary_key=True),
    Column("bytes", BigInteger, nullable=False),
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
    # what was served before the last change, as a Serving; null: nothing was pinned, or nothing was changed yet
    Column("serving_before", JSON),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("tenant", "name"),
    Index(None, "tenant", "id"),
    Index(None, "pinned_checkpoint"),
)

# checkpoints of a model besides the one that it serves; role: candidate, shadow, or alias:NAME
pins = Table(
    "pins",
    metadata,
    Column("model_id", String(40), ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    Column("role", String(120), primary_key=True),
    Column("checkpoint_id", String(40), ForeignKey("checkpoints.id", ondelete="CASCADE"), nullable=False),
    Column("replica", Integer, nullable=False),
    Column("share", Double),
    Index(None, "checkpoint_id"),
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
    # the size of its checkpoints and artifacts
    Column("stored_bytes", BigInteger, nullable=False, server_default="0"),
    Column("created_at", Double, nullable=False),
    Column("queued_at", Double, nullable=False),
    Column("started_at", Double),
    # when the present or last attempt was claimed, and the running time of all attempts before it
    Column("claimed_at", Double),
    Column("ran_seconds", Double, nullable=False, server_default="0"),
    Column("ended_at", Double),
    UniqueConstraint("tenant", "idempotency_key"),
    Index(None, "tenant", "id"),
    # one for each filter of a list of jobs, in the list's order; parent_id leads, as deleting a parent looks for it
    Index(None, "tenant", "name", "id"),
    Index(None, "tenant", "model_name", "id"),
    Index(None, "tenant", "kind", "id"),
    Index(None, "tenant", "status", "id"),
    Index(None, "parent_id", "tenant", "id"),
    Index(None, "model_id", "status"),
    Index(None, "status", "ended_at"),
)

# Partial indexes hold only some of the jobs. Their conditions are written out as literals, because a database uses such
# an index only for a query that has the same condition, and does not look into bound values for it.
QUEUED = (jobs.c.status == literal_column("'queued'")) & (jobs.c.driver == literal_column("'trainer'"))
RUNNING = jobs.c.status == literal_column("'running'")
NOT_ENDED = jobs.c.ended_at.is_(None)
TRAINED = (jobs.c.status == literal_column("'succeeded'")) & jobs.c.best_checkpoint.is_not(None)
# The order of claims, of one tenant's jobs and of those for one device. No index has it for all jobs: PostgreSQL would
# take that one for a tenant with many jobs, and go through everybody's.
IN_LINE = jobs.c.priority.desc(), jobs.c.queued_at, jobs.c.id
Index("ix_jobs_line", jobs.c.tenant, *IN_LINE, jobs.c.device, sqlite_where=QUEUED, postgresql_where=QUEUED)
Index("ix_jobs_waiting", jobs.c.device, *IN_LINE, sqlite_where=QUEUED, postgresql_where=QUEUED)
# what a model serves: the checkpoint of the job of it that ended last
Index("ix_jobs_trained", jobs.c.model_id, jobs.c.ended_at, sqlite_where=TRAINED, postgresql_where=TRAINED)
# the best job of each tenant; key_id comes last, so that jobs of keys that may not run more are skipped
Index(
    "ix_jobs_turn",
    *(jobs.c.device, jobs.c.tenant, *IN_LINE, jobs.c.key_id),
    sqlite_where=QUEUED,
    postgresql_where=QUEUED,
)
Index("ix_jobs_running", jobs.c.tenant, jobs.c.key_id, sqlite_where=RUNNING, postgresql_where=RUNNING)
# for counts of a key's and a tenant's jobs in a status
Index("ix_jobs_key_open", jobs.c.key_id, jobs.c.status, sqlite_where=NOT_ENDED, postgresql_where=NOT_ENDED)
Index("ix_jobs_tenant_open", jobs.c.tenant, jobs.c.status, sqlite_where=NOT_ENDED, postgresql_where=NOT_ENDED)

# the labels of jobs once more, to find jobs by them; the order of the key is that of a list of jobs
job_labels = Table(
    "job_labels",
    metadata,
    Column("tenant", String(100), primary_key=True),
    Column("label", String(100), primary_key=True),
    Column("value", String(100), primary_key=True),
    Column("job_id", String(40), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Index(None, "job_id"),
)

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

# the hidden state of live streams. `owner` is the API process that keeps it in memory; `epoch` is its fence
sessions = Table(
    "sessions",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("tenant", String(100), nullable=False),
    Column("key_id", String(40), nullable=False),
    Column("model_name", String(100)),
    Column("checkpoint_id", String(40), ForeignKey("checkpoints.id", ondelete="CASCADE"), nullable=False),
    # null: all of them
    Column("replica", Integer),
    Column("sequences", Integer, nullable=False),
    Column("ttl", Double, nullable=False),
    Column("owner", String(40)),
    Column("epoch", BigInteger, nullable=False),
    Column("step", BigInteger, nullable=False),
    # as safetensors; null: the network's own start
    Column("state", LargeBinary),
    # the last request and its answer, for a client that did not get it: steps before it, hash of its body, the answer
    Column("asked_at", BigInteger),
    Column("asked_hash", LargeBinary),
    Column("answer", LargeBinary),
    # the client's own name for it, with the model's (the Open Inference Protocol's sequence_id)
    Column("correlation", String(255)),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    UniqueConstraint("tenant", "correlation"),
    Index(None, "tenant", "id"),
    Index(None, "key_id"),
    Index(None, "checkpoint_id"),
    Index(None, "expires_at"),
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
