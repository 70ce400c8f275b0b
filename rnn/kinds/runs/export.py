"""Runs an export job."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import asdict
from typing import Literal

from rnn.errors import CheckpointError
from rnn.events import Artifact, End, Event, Progress, Result, Started
from rnn.export.formats import file_name, media_type
from rnn.export.parity import Parity, proven
from rnn.export.runtimes import UnreadableError
from rnn.kinds.checkpoints import chosen_replicas
from rnn.kinds.kind import Context, Inputs
from rnn.networks.weights import load_weights
from rnn.training import environment
from unroll.contract import ExportJob
from unroll.contract import Parity as Told


def run(job: ExportJob, inputs: Inputs, resume: tuple[bytes, bytes] | None, context: Context) -> Iterator[Event]:
    """Write the file and measure its parity. If the parity does not pass, the job fails and the file is not kept."""
    del resume
    checkpoint, weights = inputs.checkpoints[job.checkpoint], load_weights(inputs.weights[job.checkpoint])
    if weights.network != checkpoint.network:
        raise CheckpointError("the checkpoint's weights are of another network than its record says")
    yield Started(environment.describe("cpu") | {"engine": f"export+python-{platform.python_version()}"})
    replica: int | Literal["all"] = "all" if job.replica == "all" else chosen_replicas(job.replica, checkpoint)[0]
    try:
        content, found = proven(weights, replica, job.format, job.seed)
    except UnreadableError as error:
        yield End(0, "failed", error=("parity_failed", str(error)))
        return
    told = _told(found)
    if not found.passed:
        message = (
            f"The file's outputs differ from our predictions by {found.relative:.3g} of the largest output, "
            f"more than {found.tolerance:g}: {asdict(found)}"
        )
        yield End(0, "failed", error=("parity_failed", message))
        return
    yield Progress(1)
    context.preempt(1)  # tells that the child lives; the answer is ignored, because the file is already made
    yield Artifact(file_name(job.format), media_type(job.format), content)
    summary = {"artifact": file_name(job.format), "size": len(content), "parity": told.model_dump(mode="json")}
    yield Result(summary, summary)
    yield End(1, "succeeded")


def _told(parity: Parity) -> Told:
    return Told(
        relative=parity.relative,
        tolerance=parity.tolerance,
        passed=parity.passed,
        sequences=parity.sequences,
        steps=parity.steps,
        reference=parity.reference,
        rounding=parity.rounding,
        arithmetic=parity.arithmetic,
        by={f"{runtime.name} {runtime.version}": runtime.relative for runtime in parity.runtimes},
    )
