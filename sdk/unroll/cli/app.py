"""The application: all commands, the server's address, and the place where errors become messages and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from unroll import __version__
from unroll.cli import artifacts, catalogue, check, evaluate, export, jobs, keys, predict, train
from unroll.cli.exits import REFUSED, TABLE, exit_code
from unroll.cli.output import say
from unroll.cli.streams import legible
from unroll.client import Client
from unroll.errors import JobFailed, UnrollError

app = typer.Typer(
    name="unroll",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=TABLE,
    help="Train recurrent networks on an Unroll server and predict with them. The server is the one on this machine, "
    "or what UNROLL_URL and UNROLL_API_KEY say.",
)

COMMANDS: dict[Callable[..., None], str] = {
    train.train: "unroll train --task integrate_noise --hidden 10 --steps 2000 --lr 0.01 --replicas 8",
    evaluate.evaluate: "unroll evaluate JOB --lengths 20,40,100",
    export.export: "unroll export JOB onnx --to network.onnx",
    predict.predict: "unroll predict CHECKPOINT -i sequences.json",
    jobs.jobs: "unroll jobs --kind train --status running",
    jobs.watch: "unroll watch JOB",
    jobs.cancel: "unroll cancel JOB",
    jobs.pause: "unroll pause JOB",
    jobs.resume: "unroll resume JOB",
    jobs.retry: "unroll retry JOB",
    artifacts.artifacts: "unroll artifacts JOB result.json --to -",
    catalogue.models: "unroll models -o json",
    catalogue.tasks: "unroll tasks flip_flop -p bits=2 --plot",
    check.check: "unroll check --cell gru --hidden-size 8 --time-steps 10 --formulas",
    catalogue.schema: "unroll schema network",
    keys.me: "unroll me",
}
"""All commands, each with an example of its use. A function's name is the command's."""

for command, example in COMMANDS.items():
    app.command(command.__name__, epilog=f"Example: {example}")(command)
app.add_typer(keys.keys, name="keys")


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
    legible()
    try:
        try:
            app(prog_name="unroll")
        finally:
            sys.stdout.flush()
    except (UnrollError, ValueError) as error:
        say(f"unroll: {error}")
        if isinstance(error, JobFailed) and error.job.error and error.job.error.log:
            say(f"the end of the trainer's log:\n{error.job.error.log.rstrip()}")
        raise SystemExit(exit_code(error)) from None
    except BrokenPipeError:
        # Who read our output has seen enough. Python would flush once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(REFUSED) from None
    except OSError as error:
        say(f"unroll: {error}")
        raise SystemExit(REFUSED) from None
    raise SystemExit(0)
