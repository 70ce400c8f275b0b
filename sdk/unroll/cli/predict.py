"""The command predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer

from unroll.cli import sequences
from unroll.cli.output import Format, Output, say, show_json, show_table
from unroll.cli.values import replica_of
from unroll.client import Client
from unroll.contract import Returnable
from unroll.errors import NotFoundError
from unroll.job import BestNetwork
from unroll.predictions import Prediction


def predict(
    context: typer.Context,
    target: Annotated[
        str,
        typer.Argument(
            help="A checkpoint's id, a train job's (its best network), or a registered model's name.",
            metavar="CHECKPOINT|JOB|MODEL",
        ),
    ],
    file: Annotated[
        Path,
        typer.Option(
            "--input",
            "-i",
            help="Sequences: .csv (a row a time step, a column an input; a column named sequence tells several apart), "
            ".npy ([T, I] or [B, T, I]), .npz (an array [T, I] a sequence), .json (a list of sequences [T, I], or "
            "{inputs, state, steps}), or - for JSON on stdin.",
        ),
    ],
    returns: Annotated[
        list[str] | None, typer.Option("--return", help="outputs, state or hidden; repeatable.", show_default="outputs")
    ] = None,
    replica: Annotated[str, typer.Option(help="An index, best, or all; with --reduce all.")] = "best",
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Number of outputs to write, for one_to_many and encoder_decoder networks."),
    ] = None,
    reduce: Annotated[
        str | None,
        typer.Option(
            help="What all replicas say together: mean (and one standard deviation to each side) or "
            "quantiles (the median, and 5 % to 95 %).",
            show_default=False,
        ),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Also write the arrays to this .npz file.")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Run sequences through a trained network."""
    client: Client = context.obj
    inputs, state, written = sequences.read(file)
    wanted = cast("list[Returnable]", returns or ["outputs"])  # the server knows which there are
    steps = written if steps is None else steps
    which = replica_of("all" if reduce is not None and replica == "best" else replica)
    answer = _ask(client, target, inputs, state=state, returns=wanted, replica=which, steps=steps, reduce=reduce)
    if save is not None:
        np.savez(save, allow_pickle=False, **_arrays(answer))
    if output is Format.JSON:
        show_json(_plain(answer))
        return
    _show(answer)


def _ask(client: Client, target: str, inputs: Any, **options: Any) -> Prediction:
    """Ask for the likelier kind of name first, and for the other if there is none, because ids look like names."""
    if target.startswith("job_"):
        return _best_of(client, target).predict(inputs, **options)
    asked = [client.models.predict, client.checkpoints.predict]
    if target.startswith("ckpt_"):
        asked.reverse()
    try:
        return asked[0](target, inputs, **options)
    except NotFoundError:
        try:
            return asked[1](target, inputs, **options)
        except NotFoundError:
            pass
        raise


def _best_of(client: Client, job_id: str) -> BestNetwork:
    try:
        return client.job(job_id).best()
    except LookupError as error:
        raise ValueError(str(error)) from None


def _arrays(answer: Prediction) -> dict[str, Any]:
    """Return one array if all sequences have the same shape, otherwise one array for each sequence."""
    found: dict[str, Any] = {}
    for name, values in _named(answer).items():
        if isinstance(values, list):
            found |= {f"{name}_{place}": value for place, value in enumerate(values)}
        else:
            found[name] = values
    for place, layers in enumerate(answer.state or []):
        found |= {f"state_{place}_{depth}_{key}": a for depth, layer in enumerate(layers) for key, a in layer.items()}
    return found


def _named(answer: Prediction) -> dict[str, Any]:
    """Return the arrays that were asked for, without the states."""
    named = {"outputs": answer.outputs, "hidden": answer.hidden}
    if answer.interval is not None:
        named |= {"lower": answer.interval.lower, "upper": answer.interval.upper}
    return {name: values for name, values in named.items() if values is not None}


def _plain(answer: Prediction) -> dict[str, Any]:
    plain: dict[str, Any] = {"model": answer.model, "checkpoint": answer.checkpoint, "replica": answer.replica}
    named = {name: [value.tolist() for value in values] for name, values in _named(answer).items()}
    plain |= {name: values for name, values in named.items() if name not in {"lower", "upper"}}
    if answer.interval is not None:
        plain["interval"] = {"lower": named["lower"], "upper": named["upper"], "level": answer.interval.level}
    if answer.state is not None:
        plain["state"] = [
            {"layers": [{key: array.tolist() for key, array in layer.items()} for layer in layers]}
            for layers in answer.state
        ]
    return plain


def _show(answer: Prediction) -> None:
    """Print outputs and trajectories, one line for each time step, and replicas one after the other.

    States are written only in JSON and in files.
    """
    if answer.state is not None:
        say("states are not in the table: -o json shows them, --save writes them to a file")
    rows: list[list[object]] = []
    header: list[str] = []
    letters = {"outputs": "y", "hidden": "h", "lower": "lower", "upper": "upper"}
    several = answer.replica == "all" and answer.interval is None
    for name, values in _named(answer).items():
        for sequence, value in enumerate(values):
            replicas = value if several else value[None]
            header = header or ["sequence", "replica", "t", "what", *(str(n) for n in range(replicas.shape[-1]))]
            for index, trajectory in enumerate(replicas):
                label = index if several else answer.replica
                rows += [[sequence, label, t, letters[name], *map(float, row)] for t, row in enumerate(trajectory)]
    width = max((len(row) for row in rows), default=0)
    header += [str(n) for n in range(len(header) - 4, width - 4)]
    if not rows:
        return
    show_table(header, [row + [""] * (width - len(row)) for row in rows])
