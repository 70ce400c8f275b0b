"""The command export."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from unroll.cli.artifacts import To, deliver
from unroll.cli.jobs import show_job, submitted
from unroll.cli.output import Format, Output
from unroll.cli.targets import Detach, Device, Labels, Name, Target, checkpoint_of
from unroll.cli.values import pairs, replica_of
from unroll.client import Client
from unroll.contract import ExportFormat
from unroll.files import exported
from unroll.job import JobHandle


def export(  # one argument a flag
    context: typer.Context,
    target: Target,
    format: Annotated[  # noqa: A002 - the field's name
        str, typer.Argument(help="safetensors, npz, torch or onnx.", metavar="FORMAT")
    ],
    to: To = None,
    replica: Annotated[
        str | None,
        typer.Option(help="Which network: best, or an index; all for safetensors and npz.", show_default="best"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sequences that compare the file with ours.")] = None,
    name: Name = None,
    device: Device = None,
    label: Labels = None,
    *,
    detach: Detach = False,
    output: Output = Format.TABLE,
) -> None:
    """Write a trained network as a file for other programs.

    The file's outputs are compared with our own predictions; the job fails where they differ by too much.
    """
    client: Client = context.obj
    handle = client.export(
        checkpoint_of(client, target),
        cast("ExportFormat", format),  # the server knows which there are
        replica=replica_of(replica),
        seed=seed,
        name=name,
        device=cast("Any", device),
        labels=pairs(label, "--label") if label else None,
    )
    submitted(handle, output, detach=detach, show=partial(_take_file, to=to, output=output))


def _take_file(handle: JobHandle, to: Path | None, output: Format) -> None:
    name = exported(handle.job)
    if deliver(handle.artifact(name), name, to) is not None:
        show_job(handle.job, output)
