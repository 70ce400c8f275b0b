"""The application: all commands, the server's address, and the place where errors become messages and exit codes."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from unroll import __version__
from unroll.cli import catalogue, check, jobs, predict, train
from unroll.cli.exits import TABLE, exit_code
from unroll.cli.output import say
from unroll.client import Client
from unroll.errors import AuthenticationError, JobFailed, UnrollError

app = typer.Typer(
    name="unroll",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=TABLE,
    help="Train recurrent networks on an Unroll server and predict with them. The server is the one on this machine, "
    "or what UNROLL_URL and UNROLL_API_KEY say.",
)
app.command("train")(train.train)
app.command("watch")(jobs.watch)
app.command("jobs")(jobs.jobs)
app.command("cancel")(jobs.cancel)
app.command("pause")(jobs.pause)
app.command("resume")(jobs.resume)
app.command("retry")(jobs.retry)
app.command("predict")(predict.predict)
app.command("models")(catalogue.models)
app.command("tasks")(catalogue.tasks)
app.command("check")(check.check)
app.command("schema")(catalogue.schema)


def _version(value: bool) -> None:  # noqa: FBT001 - a callback of typer
    if value:
        sys.stdout.write(f"unroll {__version__}\n")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="The server's address.", metavar="URL")] = None,
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Connect to the server."""
    del version  # handled by its callback
    context.obj = Client(url)
    context.call_on_close(context.obj.close)


def run() -> NoReturn:
    """Run the command line and exit."""
    try:
        app(prog_name="unroll")
    except (UnrollError, ValueError) as error:
        say(f"unroll: {error}")
        if isinstance(error, JobFailed) and error.job.error and error.job.error.log:
            say(f"the end of the trainer's log:\n{error.job.error.log.rstrip()}")
        if isinstance(error, AuthenticationError):
            say("  the key is taken from UNROLL_API_KEY, or from the data folder of a server on this machine")
        raise SystemExit(exit_code(error)) from None
    except OSError as error:
        say(f"unroll: {error}")
        raise SystemExit(1) from None
    raise SystemExit(0)
