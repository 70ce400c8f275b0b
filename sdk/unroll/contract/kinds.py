"""The kinds of jobs: what each takes, and what each has to say for itself. A new kind is one line in both unions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from unroll.contract.evaluate import EvaluateJob, EvaluateSummary
from unroll.contract.export import ExportJob, ExportSummary
from unroll.contract.submission import JobRequest
from unroll.contract.train import TrainJob, TrainSummary

Kind = Literal["train", "evaluate", "export"]


def _train_by_default(value: Any) -> Any:
    return {"kind": "train", **value} if isinstance(value, dict) and "kind" not in value else value


JobConfig = Annotated[
    TrainJob | EvaluateJob | ExportJob, Field(discriminator="kind"), BeforeValidator(_train_by_default)
]
"""What is posted to /v1/jobs. A job without a kind is a train job."""

JOB_TYPES: tuple[type[JobRequest], ...] = (TrainJob, EvaluateJob, ExportJob)
"""The types in that union, train first."""

JobSummary = Annotated[TrainSummary | EvaluateSummary | ExportSummary, Field(discriminator="kind")]
