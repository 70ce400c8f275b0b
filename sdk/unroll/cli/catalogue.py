"""Commands that look something up: models, tasks, schema."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from unroll.cli.output import Format, Output, say, show_fields, show_json, show_table
from unroll.cli.values import parameters
from unroll.client import Client
from unroll.contract import Task


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
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="A parameter of the task; repeatable.", metavar="KEY=VALUE"),
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw one trial here.")] = False,  # noqa: FBT002 - a flag
    plot_to: Annotated[
        Path | None, typer.Option("--plot-to", help="Draw one trial to this file: .png, .svg or .pdf.", metavar="FILE")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which trial is drawn.")] = 0,
    output: Output = Format.TABLE,
) -> None:
    """List built-in tasks by groups, or show one with its parameters, and one of its trials as a picture."""
    client: Client = context.obj
    given = parameters(parameter, "--parameter") if parameter else None
    if name is None:
        if given or plot or plot_to:
            raise typer.BadParameter("name the task that it is for: unroll tasks TASK", param_hint="TASK")
        _list_tasks(client, output)
        return
    trial = client.tasks.sample(name, given, seed=seed) if plot or plot_to else None
    task = client.tasks.get(name, given) if trial is None else trial.task
    if trial is None or not plot:
        _show_task(task, output)
    if trial is not None:
        try:
            if plot:
                width = shutil.get_terminal_size((80, 24)).columns
                sys.stdout.write(trial.text(width=min(width, 120), colour=sys.stdout.isatty()) + "\n")
            if plot_to:
                trial.plot(plot_to)
                say(f"drawn: {plot_to}")
        except ImportError as error:
            raise typer.BadParameter(str(error), param_hint="--plot" if plot else "--plot-to") from None


def _list_tasks(client: Client, output: Format) -> None:
    found = list(client.tasks.list())
    if output is Format.JSON:
        show_json(found)
        return
    groups = list(dict.fromkeys(one.group for one in found))
    found.sort(key=lambda one: groups.index(one.group))  # a server of another version may order them in another way
    header = ("group", "task", "inputs", "outputs", "baseline loss", "description")
    rows = [(one.group, one.name, one.input_size, one.output_size, one.baseline.loss, one.description) for one in found]
    show_table(header, rows)


def _show_task(task: Task, output: Format) -> None:
    if output is Format.JSON:
        show_json(task)
        return
    schemas: dict[str, Any] = task.parameters.get("properties", {})
    baseline = f"{task.baseline.predictor}: {task.baseline.loss:g}; at full length {task.baseline.formula}"
    floor = task.floor
    show_fields(
        {
            "task": task.name,
            "group": task.group or None,
            "description": task.description,
            "origin": task.origin or None,
            "inputs": _widths(task.input_size, task.input_names),
            "outputs": _widths(task.output_size, task.target_names),
            "tokens": task.vocabulary_size,
            "architectures": ", ".join(task.architectures),
            "losses": ", ".join(task.losses),
            "baseline": baseline,
            "chance": None if task.chance is None else f"{task.chance:.3g} of choices are right by chance",
            "ideal observer": floor
            and f"{floor.observer}: {floor.loss:.4g}" + (f" +/- {floor.error:.2g}" if floor.error else ""),
            **{
                f"-p {key}=": f"{schema.get('description', '')} (default {schema.get('default')})".strip()
                for key, schema in schemas.items()
            },
        }
    )


def _widths(size: int, names: list[str]) -> str:
    """Return a width, and what each number means if these are few."""
    return f"{size}: {', '.join(names)}" if 0 < len(names) <= 12 else str(size)


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
