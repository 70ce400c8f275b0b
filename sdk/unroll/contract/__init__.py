"""The wire types of Unroll: one definition for the server, the SDK, the database and the trainer.

Requests (`Request`) are strict; responses (`Response`) are read leniently. Within /v1 fields are only added.
"""

from unroll.contract.access import ChangeKey, CreatedKey, Key, Me, NewKey, Scope
from unroll.contract.base import CONTRACT_VERSION, Name, Page, Request, Response
from unroll.contract.checkpoints import Checkpoint, Model, NewModel, Served, Serving
from unroll.contract.data import Baseline, Task, TaskData
from unroll.contract.fleet import Queue, Worker
from unroll.contract.inference import LayerState, PredictRequest, PredictResponse, Replica, Returnable, State
from unroll.contract.jobs import (
    ENDED,
    Best,
    Device,
    Divergence,
    DryRun,
    DType,
    Environment,
    Event,
    EventType,
    Job,
    JobError,
    JobStatus,
    Metrics,
    Progress,
    QueuePosition,
    Requested,
    Series,
    TrainJob,
)
from unroll.contract.network import Activation, Cell, Connectivity, Network, VanillaCell
from unroll.contract.problems import RETRYABLE, STATUS, FieldError, Problem, ProblemCode
from unroll.contract.training import BPTT, MSE, SGD, Adam, ClipByGlobalNorm, HeldOut, Training

__all__ = [
    "BPTT",
    "CONTRACT_VERSION",
    "ENDED",
    "MSE",
    "RETRYABLE",
    "SGD",
    "STATUS",
    "Activation",
    "Adam",
    "Baseline",
    "Best",
    "Cell",
    "ChangeKey",
    "Checkpoint",
    "ClipByGlobalNorm",
    "Connectivity",
    "CreatedKey",
    "DType",
    "Device",
    "Divergence",
    "DryRun",
    "Environment",
    "Event",
    "EventType",
    "FieldError",
    "HeldOut",
    "Job",
    "JobError",
    "JobStatus",
    "Key",
    "LayerState",
    "Me",
    "Metrics",
    "Model",
    "Name",
    "Network",
    "NewKey",
    "NewModel",
    "Page",
    "PredictRequest",
    "PredictResponse",
    "Problem",
    "ProblemCode",
    "Progress",
    "Queue",
    "QueuePosition",
    "Replica",
    "Request",
    "Requested",
    "Response",
    "Returnable",
    "Scope",
    "Series",
    "Served",
    "Serving",
    "State",
    "Task",
    "TaskData",
    "TrainJob",
    "Training",
    "VanillaCell",
    "Worker",
]
