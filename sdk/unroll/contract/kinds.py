"""The kinds of jobs: what each takes, and what each has to say for itself. A new kind is one line in both unions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Shorthand
from unroll.contract.evaluate import EvaluateJob, EvaluateSummary
from unroll.contract.export import ExportJob, ExportSummary
from unroll.contract.submission import JobRequest
from unroll.contract.train import TrainJob, TrainSummary

Kind = Literal["train", "evaluate", "export"]


JobConfig = Annotated[
    TrainJob | EvaluateJob | ExportJob,
    Field(discriminator="kind"),
    Shorthand("train", word=None, tag="kind"),
]
"""What is posted to /v1/jobs. A job without a kind is a train job."""

JOB_TYPES: tuple[type[JobRequest], ...] = (TrainJob, EvaluateJob, ExportJob)
"""The types in that union, train first."""

JobSummary = Annotated[TrainSummary | EvaluateSummary | ExportSummary, Field(discriminator="kind")]
