"""Examples for OpenAPI, made of the contract's own types so that they cannot drift from it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from unroll.contract import (
    MSE,
    Adam,
    Allowance,
    Allowances,
    Artifact,
    Baseline,
    Best,
    BiasCheck,
    ChangeKey,
    Check,
    Checkpoint,
    CheckRequest,
    CreatedKey,
    Distances,
    DryRun,
    EngineCheck,
    Environment,
    Event,
    Formula,
    Job,
    Key,
    LayerState,
    Limits,
    Me,
    Metrics,
    Model,
    Network,
    NewKey,
    NewModel,
    NewSession,
    Page,
    Pin,
    PredictRequest,
    PredictResponse,
    Progress,
    Queue,
    Readiness,
    SampleRequest,
    SampleResponse,
    SchemaKinds,
    Series,
    Served,
    Serving,
    Session,
    SessionState,
    State,
    StepRequest,
    StepResponse,
    Task,
    TaskData,
    Tolerances,
    Training,
    TrainJob,
    TrainSummary,
    VanillaCell,
    Worker,
)


def shown(value: BaseModel, **options: Any) -> Any:
    """Return the value as it is sent."""
    return value.model_dump(mode="json", by_alias=True, **options)


_NOON = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
_JOB = "job_01kjqv0p7w3c5e9g1h3j5k7m9n"
_CHECKPOINT = "ckpt_01kjqv1a2b3c4d5e6f7g8h9j0k"
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

NETWORK = Network(cell=VanillaCell(hidden_size=10), input_size=1, output_size=1)
TRAIN_JOB = TrainJob(
    kind="train",
    name="integrator",
    model=NETWORK,
    data=TaskData(name="integrate_noise", parameters={"length": 20}),
    training=Training(steps=2000, batch_size=64, optimizer=Adam(type="adam", lr=0.01)),
    seed=0,
    replicas=2,
    labels={"course": "week-7"},
)
JOB = Job(
    id=_JOB,
    kind="train",
    name="integrator",
    status="running",
    requested=None,
    attempt=1,
    crashes=0,
    progress=Progress(step=500, total=2000, steps_per_second=1650.0, eta_seconds=0.9),
    queue=None,
    error=None,
    config=TRAIN_JOB,
    summary=TrainSummary(
        parameters=141,
        baseline_loss=10.5,
        loss=[0.031, 0.027],
        best=Best(checkpoint=_CHECKPOINT, replica=1, loss=0.026),
        last_checkpoint=_CHECKPOINT,
    ),
    environment=Environment(
        worker="worker-1", device="cpu", engine="bptt", torch="2.13.0", threads=1, instruction_set="AVX2"
    ),
    labels={"course": "week-7"},
    priority=0,
    created_at=_NOON,
    started_at=_NOON,
    ended_at=None,
)
DRY_RUN = DryRun(config=TRAIN_JOB, parameters=141, total=2000, memory_bytes=2_000_000, seconds=1.4, baseline_loss=10.5)
JOBS = Page[Job](data=[JOB], next=None)
EVENT = Event(
    seq=3,
    type="checkpoint",
    time=_NOON,
    data={"checkpoint": _CHECKPOINT, "step": 500, "reason": "best", "best": True},
)
EVENTS = Page[Event](data=[EVENT], next="3")
EVENT_STREAM = f"id: 3\nevent: checkpoint\ndata: {EVENT.model_dump_json()}\n\n"
METRICS = Metrics(
    job=_JOB,
    last_step=500,
    downsampled=True,
    series=[Series(name="loss", replica=0, steps=[1, 250, 500], values=[10.4, 0.32, 0.031])],
)
METRICS_CSV = "name,replica,step,value\nloss,0,1,10.4\nloss,0,250,0.32\n"
CHECKPOINT = Checkpoint(
    id=_CHECKPOINT,
    job=_JOB,
    step=500,
    sha256=_SHA256,
    size=1744,
    reason="best",
    losses=[0.03, 0.026],
    best_replica=1,
    replicas=2,
    resumable=True,
    network=NETWORK,
    dtype="float32",
    data=TaskData(name="integrate_noise", parameters={"length": 20}),
    loss=MSE(type="mse"),
    created_at=_NOON,
)
ARTIFACT = Artifact(name="result.json", media_type="application/json", size=412, sha256=_SHA256, created_at=_NOON)
ARTIFACTS = Page[Artifact](data=[ARTIFACT], next=None)
CHECKPOINTS = Page[Checkpoint](data=[CHECKPOINT], next=None)
NEW_MODEL = NewModel(name="integrator", config=NETWORK)
MODEL = Model(
    name="integrator",
    config=NETWORK,
    parameters=141,
    serving=Served(checkpoint=_CHECKPOINT, replica=1, pinned=False),
    created_at=_NOON,
)
MODELS = Page[Model](data=[MODEL], next=None)
PIN = Pin(checkpoint=_CHECKPOINT, replica="best")
SERVING = Serving(checkpoint=_CHECKPOINT, replica="best")
PREDICT = PredictRequest.model_validate({"inputs": [[[0.5], [-1.0], [0.25]], [[1.0]]], "return": ["outputs", "state"]})
PREDICTED = PredictResponse(
    outputs=[[[0.49], [-0.51], [-0.26]], [[0.98]]],
    state=[State(layers=[LayerState(h=[0.1] * 10)]), State(layers=[LayerState(h=[0.2] * 10)])],
    model="integrator",
    checkpoint=_CHECKPOINT,
    replica=1,
)
NEW_SESSION = NewSession(model="integrator")
SESSION = Session(
    id="session_01kjqv4d6f8g0h2j4k6m8n0p2q",
    model="integrator",
    checkpoint=_CHECKPOINT,
    replica=1,
    sequences=1,
    step=12,
    durable_step=10,
    ttl=3600.0,
    created_at=_NOON,
    expires_at=_NOON,
)
SESSIONS = Page[Session](data=[SESSION], next=None)
STEP = StepRequest(inputs=[[[0.5]]])
STEPPED = StepResponse(outputs=[[[0.49]]], step=13, durable_step=10)
SESSION_STATE = SessionState(state=[State(layers=[LayerState(h=[0.1] * 10)])])
TASK = Task(
    name="integrate_noise",
    group="integration",
    description="Integrate white noise.",
    input_size=1,
    output_size=1,
    input_names=["x"],
    target_names=["y"],
    architectures=["many_to_many", "many_to_one"],
    losses=["mse"],
    parameters={"type": "object", "properties": {"length": {"type": "integer", "default": 20}}},
    baseline=Baseline(predictor="zero", loss=10.5, formula="(length + 1) / 2"),
)
TASKS = Page[Task](data=[TASK], next=None)
SAMPLE = SampleRequest(parameters={"length": 3}, sequences=1, seed=0)
SAMPLED = SampleResponse(
    task=TASK,
    parameters={"length": 3, "min_length": None},
    seed=0,
    inputs=[[[0.5], [-1.0], [0.25]]],
    targets=[[[0.5], [-0.5], [-0.25]]],
)
KEY = Key(
    id="key_01kjqv2s4t6v8w0x2y4z6a8b0c",
    name="notebook",
    tenant="default",
    scopes=["predict", "read", "write"],
    prefix="unroll_5f3a9c",
    expires_at=None,
    max_active_jobs=None,
    created_at=_NOON,
    last_used_at=_NOON,
)
KEYS = Page[Key](data=[KEY], next=None)
NEW_KEY = NewKey(name="notebook", scopes=["read", "write", "predict"])
CREATED_KEY = CreatedKey(**KEY.model_dump(), secret="unroll_5f3a9c_…")  # noqa: S106 - no secret
CHANGE_KEY = ChangeKey(max_active_jobs=10, limits=Limits(queued_jobs=20, running_jobs=2))
ME = Me(
    key=KEY,
    active_jobs=1,
    key_limits=Allowances(
        queued_jobs=Allowance(limit=1000, used=1),
        running_jobs=Allowance(limit=2, used=0),
        job_seconds=Allowance(limit=None, used=None),
        stored_bytes=Allowance(limit=10_000_000_000, used=1_572_864),
        streams=Allowance(limit=None, used=1),
        requests_per_minute=Allowance(limit=None, used=None),
        held_bodies=Allowance(limit=None, used=0),
        sessions=Allowance(limit=1000, used=1),
    ),
    tenant_limits=Allowances(
        queued_jobs=Allowance(limit=None, used=12),
        running_jobs=Allowance(limit=8, used=3),
        job_seconds=Allowance(limit=86_400, used=None),
        stored_bytes=Allowance(limit=None, used=48_234_496),
        streams=Allowance(limit=None, used=4),
        requests_per_minute=Allowance(limit=6000, used=41),
        held_bodies=Allowance(limit=None, used=0),
        sessions=Allowance(limit=1000, used=1),
    ),
    weight=1,
)
WORKER = Worker(
    id="worker-1",
    host="gpu-box",
    pid=4242,
    device="cpu",
    job=_JOB,
    busy=True,
    alive=True,
    started_at=_NOON,
    seen_at=_NOON,
    version="0.1.0",
)
WORKERS = Page[Worker](data=[WORKER], next=None)
QUEUES = Page[Queue](data=[Queue(device="auto", queued=2, running=1, workers=1)], next=None)
READY = Readiness(status="ready", database="ok", broker="ok")
CHECK_REQUEST = CheckRequest(model=Network(cell=VanillaCell(hidden_size=5), input_size=2, output_size=1), time_steps=8)
CHECK = Check(
    passed=True,
    parameters=51,
    loss=[1.056],
    engines=[
        EngineCheck(
            engine="workspace",
            loss=[1.056],
            tensors=[
                Distances(
                    name="layers.0.W_hh",
                    shape=[5, 5],
                    norm=0.048,
                    autograd=9.0e-16,
                    float32=4.3e-07,
                    complex_step=8.9e-16,
                    finite_differences=1.0e-11,
                    entries=24,
                    near_kinks=0,
                    passed=True,
                )
            ],
            passed=True,
        )
    ],
    tolerances=Tolerances(),
    lag_profile=[[0.087, 0.076, 0.073, 0.083, 0.054, 0.065, 0.050, 0.045]],
    biases=[BiasCheck(layer="layers.0", distance=0.0, distance_by_gate={}, identifiable=False)],
    formulas=[Formula(name="dL/dW_hh", formula="Σ_k dL/da[k] h[k-1]ᵀ")],
    notes=["Noise is off."],
    config=CHECK_REQUEST,
)
SCHEMA_KINDS = SchemaKinds(kinds={"network": "The configuration of one recurrent network."})
