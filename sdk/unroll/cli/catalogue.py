"""Commands that look something up: models, tasks, schema."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from unroll.cli.output import Format, Output, show_fields, show_json, show_table
from unroll.client import Client


def models(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Show this one.", metavar="[MODEL]")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List registered models, or show one."""
    client: Client = context.obj
    found = list(client.models.list()) if name is None else [client.models.get(name)]
    if output is Format.JSON:
        show_json(found if name is None else found[0])
        return
    header = ("model", "parameters", "serves", "replica", "pinned", "created")
    rows = [
        (
            model.name,
            model.parameters,
            model.serving and model.serving.checkpoint,
            model.serving and model.serving.replica,
            model.serving and model.serving.pinned,
            model.created_at.isoformat(timespec="seconds"),
        )
        for model in found
    ]
    if name is None:
        show_table(header, rows)
    else:
        show_fields(dict(zip(header, rows[0], strict=True)))


def tasks(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Show this one.", metavar="[TASK]")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List built-in tasks, or show one with its parameters."""
    client: Client = context.obj
    if name is None:
        found = list(client.tasks.list())
        if output is Format.JSON:
            show_json(found)
            return
        header = ("task", "inputs", "outputs", "baseline loss", "description")
        rows = [(one.name, one.input_size, one.output_size, one.baseline.loss, one.description) for one in found]
        show_table(header, rows)
        return
    task = client.tasks.get(name)
    if output is Format.JSON:
        show_json(task)
        return
    parameters: dict[str, Any] = task.parameters.get("properties", {})
    show_fields(
        {
            "task": task.name,
            "description": task.description,
            "inputs": task.input_size,
            "outputs": task.output_size,
            "tokens": task.vocabulary_size,
            "architectures": ", ".join(task.architectures),
            "losses": ", ".join(task.losses),
            "baseline": f"{task.baseline.predictor}: {task.baseline.loss:g}; at full length {task.baseline.formula}",
            **{
                f"-p {key}=": f"{schema.get('description', '')} (default {schema.get('default')})".strip()
                for key, schema in parameters.items()
            },
        }
    )


def schema(
    context: typer.Context,
    kind: Annotated[str | None, typer.Argument(help="Show the JSON Schema of this kind.", metavar="[KIND]")] = None,
    output: Output = Format.TABLE,
) -> None:
    """List the kinds that can be sent, or show the JSON Schema of one kind, with defaults and descriptions."""
    client: Client = context.obj
    if kind is not None:
        show_json(client.schemas.get(kind))
        return
    kinds = client.schemas.list()
    if output is Format.JSON:
        show_json(kinds)
    else:
        show_table(("kind", "description"), list(kinds.items()))
