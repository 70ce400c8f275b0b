"""The configurations of jobs that are about a checkpoint, made of what a user says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unroll._wire import given
from unroll.contract import TaskData
from unroll.resources import Checkpoints


def evaluate(
    checkpoints: Checkpoints,
    checkpoint: str,
    task: str | None,
    parameters: Mapping[str, Any] | None,
    data: str | TaskData | Mapping[str, Any] | None,
    **optional: Any,
) -> dict[str, Any]:
    """Return the configuration of an evaluate job.

    With parameters alone, the data are those that the checkpoint was trained on, with these parameters changed.
    Raises ValueError for `data` beside another way to name them, and where there is no task to change.
    """
    if data is not None and (task is not None or parameters is not None):
        raise ValueError("data name the task and its parameters already: give data, or task and parameters")
    if task is not None:
        data = {"type": "task", "name": task, "parameters": dict(parameters or {})}
    elif parameters is not None:
        trained = checkpoints.get(checkpoint).data
        if trained is None:
            raise ValueError(f"checkpoint {checkpoint} was not trained on a task; name the task of these parameters")
        data = trained.model_copy(update={"parameters": {**trained.parameters, **parameters}})
    return {"kind": "evaluate", "checkpoint": checkpoint, **given(data=data, **optional)}


def export(checkpoint: str, format: str, **optional: Any) -> dict[str, Any]:  # noqa: A002 - the field's name
    """Return the configuration of an export job."""
    return {"kind": "export", "checkpoint": checkpoint, "format": format, **given(**optional)}
