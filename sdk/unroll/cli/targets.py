"""What commands that submit jobs about trained networks have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from unroll.client import Client

Target = Annotated[
    str,
    typer.Argument(help="A checkpoint's id, or a train job's: then its best checkpoint.", metavar="CHECKPOINT|JOB"),
]
Name = Annotated[str | None, typer.Option(help="A name for the new job, for people.")]
Device = Annotated[str | None, typer.Option(help="Where to run: auto, cpu or cuda.")]
Labels = Annotated[
    list[str] | None, typer.Option("--label", help="A label to filter by; repeatable.", metavar="KEY=VALUE")
]
Detach = Annotated[bool, typer.Option("--detach", "-d", help="Submit the job and do not wait for it.")]


def checkpoint_of(client: Client, target: str) -> str:
    """Return a checkpoint's id: the target itself, or the best checkpoint of a job.

    Raises ValueError where the job has none.
    """
    if not target.startswith("job_"):
        return target
    try:
        return client.job(target).best().checkpoint_id
    except LookupError as error:
        raise ValueError(str(error)) from None
