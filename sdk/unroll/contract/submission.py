"""What every kind of job takes, whatever it does."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from unroll.contract.base import Request, Title
from unroll.contract.limits import MAX_LABELS

Device = Literal["auto", "cpu", "cuda"]
DType = Literal["float32", "float64"]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""Any text without control characters, which PostgreSQL could not search."""
_KEYS = {"propertyNames": {"minLength": 1, "maxLength": 100}, "additionalProperties": False}
"""What JSON Schema has to be told about the keys of labels: that they are labels too."""


class JobRequest(Request):
    """The fields that jobs of all kinds have. A kind of job is a subclass with a `kind` of its own."""

    kind: str
    name: Title | None = None
    """A name for people: any text of up to 100 characters. It need not be unique."""
    device: Device = "auto"
    """Where the job runs. With auto it runs on whichever worker is free first."""
    labels: Annotated[
        dict[Label, Label],
        Field(max_length=MAX_LABELS, examples=[{"course": "week-7"}], json_schema_extra=_KEYS),
    ] = {}
    """Your own words to filter jobs by."""
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """Among your tenant's jobs, those with a higher priority start earlier, and those of equal priority start by age.
    Tenants take turns."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Stop after this much running time, over all attempts. A train job then ends with a last evaluation and
    checkpoint, and has succeeded (`stopped` is `max_seconds`). A job of another kind fails with `time_limit`. A job
    that is estimated to take more than a day needs this field or a confirmation (`?confirm_long=true`)."""

    def model_named(self) -> str | None:
        """Return the name of the registered model whose configuration the job needs, if it names one."""
        return None

    def with_model(self, network: Request) -> JobRequest:
        """Return the same job with the named model's configuration in place of its name."""
        raise NotImplementedError

    def checkpoints_read(self) -> dict[str, str]:
        """Return the ids of the checkpoints that the job reads, by JSON Pointers to the fields that name them."""
        return {}
