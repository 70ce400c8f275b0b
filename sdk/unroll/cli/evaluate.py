"""The command evaluate."""

from __future__ import annotations

from functools import partial
from statistics import fmean
from typing import Annotated, Any, cast

import typer

from unroll.cli.jobs import submitted
from unroll.cli.output import Format, Output, say, show_json, show_table
from unroll.cli.targets import Detach, Device, Labels, Name, Target, checkpoint_of
from unroll.cli.values import pairs, parameters, replica_of
from unroll.client import Client
from unroll.contract import EvaluationResult
from unroll.job import JobHandle


def evaluate(  # one argument a flag
    context: typer.Context,
    target: Target,
    task: Annotated[
        str | None, typer.Option(help="A built-in task. Without it: the task that the networks were trained on.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            "-p",
            help="A parameter of the task; repeatable. Without --task, the others stay as they were in training.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    lengths: Annotated[
        str | None,
        typer.Option(help="Lengths to measure at, with commas between them: 20,40,100.", metavar="T,T,..."),
    ] = None,
    sequences: Annotated[int | None, typer.Option(help="Number of sequences at each length.")] = None,
    replica: Annotated[
        str | None, typer.Option(help="Which networks: all, best, or an index.", show_default="all")
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="mse, cross_entropy, bce or poisson. Without it: the loss of the training.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the sequences.")] = None,
    name: Name = None,
    device: Device = None,
    label: Labels = None,
    *,
    detach: Detach = False,
    output: Output = Format.TABLE,
) -> None:
    """Measure the loss of trained networks on sequences that nobody trained on.

    Rows: the data as asked for, and then each of the lengths.
    Loss and skill are means over the networks that are evaluated.
    Skill is 1 - loss / baseline: 1 is perfect, 0 is the task's trivial predictor.
    """
    client: Client = context.obj
    asked: dict[str, Any] = {
        "lengths": _lengths(lengths),
        "replica": replica_of(replica),
        "parameters": parameters(parameter, "--parameter") if parameter else None,
        "loss": None if loss is None else {"type": loss},
        "labels": pairs(label, "--label") if label else None,
    }
    handle = client.evaluate(
        checkpoint_of(client, target),
        task,
        sequences=sequences,
        seed=seed,
        name=name,
        device=cast("Any", device),  # the server knows which there are
        **asked,
    )
    submitted(handle, output, detach=detach, show=partial(_show_result, output=output))


def _lengths(given: str | None) -> list[int] | None:
    if given is None:
        return None
    try:
        return [int(one) for one in given.split(",")]
    except ValueError:
        detail = f"{given!r} is not a list of whole numbers with commas between them"
        raise typer.BadParameter(detail, param_hint="--lengths") from None


def _show_result(handle: JobHandle, output: Format) -> None:
    found: EvaluationResult = handle.result()
    if output is Format.JSON:
        show_json({"job": handle.id, **found.model_dump(mode="json")})
        return
    header = ("length", "mean loss", "baseline", "skill", "lowest skill", "highest skill")
    rows = [("as asked for", found.losses, found.baseline, found.skill)]
    rows += [(str(one.length), one.losses, one.baseline, one.skill) for one in found.by_length]
    show_table(
        header,
        [
            (length, _over(fmean, losses), baseline, _over(fmean, skill), _over(min, skill), _over(max, skill))
            for length, losses, baseline, skill in rows
        ],
    )
    say(found.headline())


def _over(what: Any, values: list[float | None]) -> float | None:
    """A number over replicas; None where one of them is not finite."""
    finite = [value for value in values if value is not None]
    return float(what(finite)) if finite and len(finite) == len(values) else None
