"""The command artifacts: the files that jobs made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from unroll.cli.output import Format, Output, say, show_fields, show_json, show_table
from unroll.cli.targets import JobTarget, job_of
from unroll.client import Client
from unroll.files import save

To = Annotated[
    Path | None,
    typer.Option(
        "--to",
        help="Write the file here, a file or a folder; - for stdout. Without it: the current folder.",
        metavar="FILE",
    ),
]


def artifacts(
    context: typer.Context,
    job: JobTarget,
    name: Annotated[str | None, typer.Argument(help="Download this file.", metavar="[NAME]")] = None,
    to: To = None,
    output: Output = Format.TABLE,
) -> None:
    """List the files that a job made, or download one."""
    client: Client = context.obj
    if name is None and to is not None:
        raise typer.BadParameter("name the file to download: unroll artifacts JOB NAME", param_hint="--to")
    job_id = job_of(client, job)
    if name is not None:
        content = client.jobs.artifact(job_id, name)
        place = deliver(content, name, to)
        if place is not None:
            about = {"artifact": name, "file": str(place), "bytes": len(content)}
            show_json(about) if output is Format.JSON else show_fields(about)
        return
    found = list(client.jobs.artifacts(job_id))
    if output is Format.JSON:
        show_json(found)
        return
    header = ("artifact", "bytes", "type", "created", "sha256")
    show_table(
        header,
        [
            (one.name, one.size, one.media_type, one.created_at.isoformat(timespec="seconds"), one.sha256)
            for one in found
        ],
    )


def deliver(content: bytes, name: str, to: Path | None) -> Path | None:
    """Write a downloaded file where `to` says, and return where it is; None: it went to stdout. Raises OSError."""
    if str(to) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        return None
    place = save(content, name, to)
    say(f"wrote {place} ({len(content):,} bytes)")
    return place
