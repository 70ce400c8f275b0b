"""What commands that submit jobs about trained networks have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from unroll.cli.output import say
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


JobTarget = Annotated[
    str, typer.Argument(help="The job's id, or its name: then the newest job of that name.", metavar="JOB")
]


def job_of(client: Client, target: str) -> str:
    """Return a job's id: the target itself, or that of the newest job of this name, which is then said.

    Raises ValueError where there is none.
    """
    if target.startswith("job_"):
        return target
    newest = next(iter(client.jobs.list(name=target, limit=1)), None)
    if newest is None:
        raise ValueError(f"there is no job of the name {target!r}, and it is no id: ids begin with job_")
    say(f"{target} is {newest.id}, the newest job of that name")
    return newest.id


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
