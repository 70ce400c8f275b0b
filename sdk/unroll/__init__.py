"""Unroll's SDK: train recurrent networks by backpropagation through time over HTTP, and predict with them.

from unroll import Client

job = Client().train(model=..., data=..., training=...)
job.wait(progress=True)
job.best().evaluate(lengths=[20, 40, 100])
"""

from unroll._version import __version__
from unroll.client import Client
from unroll.contract import (
    Artifact,
    EvaluateJob,
    EvaluationResult,
    Event,
    ExportJob,
    Job,
    Network,
    State,
    TaskData,
    Training,
    TrainJob,
    VanillaCell,
)
from unroll.curves import Curves
from unroll.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    InvalidRequestError,
    JobCancelled,
    JobEndedError,
    JobFailed,
    NotFoundError,
    PermissionDeniedError,
    QuotaError,
    RateLimitError,
    ServerError,
    UnexpectedAnswerError,
    UnrollError,
    WaitTimeout,
)
from unroll.job import BestNetwork, Evaluation, JobHandle
from unroll.live import LiveStream
from unroll.predictions import Interval, Prediction
from unroll.samples import Sample
from unroll.weights import TorchNetwork, Weights

__all__ = [
    "APIConnectionError",
    "APIError",
    "APITimeoutError",
    "Artifact",
    "AuthenticationError",
    "BadRequestError",
    "BestNetwork",
    "Client",
    "ConflictError",
    "Curves",
    "EvaluateJob",
    "Evaluation",
    "EvaluationResult",
    "Event",
    "ExportJob",
    "Interval",
    "InvalidRequestError",
    "Job",
    "JobCancelled",
    "JobEndedError",
    "JobFailed",
    "JobHandle",
    "LiveStream",
    "Network",
    "NotFoundError",
    "PermissionDeniedError",
    "Prediction",
    "QuotaError",
    "RateLimitError",
    "Sample",
    "ServerError",
    "State",
    "TaskData",
    "TorchNetwork",
    "TrainJob",
    "Training",
    "UnexpectedAnswerError",
    "UnrollError",
    "VanillaCell",
    "WaitTimeout",
    "Weights",
    "__version__",
]
