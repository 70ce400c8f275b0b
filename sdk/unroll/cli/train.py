"""The command train."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from unroll.cli import network as networks
from unroll.cli.jobs import submitted
from unroll.cli.output import Format, Output, say, show_fields, show_json
from unroll.cli.values import pairs, parameters, put, read_json
from unroll.client import Client
from unroll.contract import TrainJob
from unroll.contract.places import place, written_out
from unroll.errors import InvalidRequestError
from unroll.progress import clock

Text = Annotated[str | None, typer.Option()]


def train(  # one argument a flag
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A job as JSON, - for stdin; flags go before it.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="The built-in task to train on (unroll tasks).")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", help="A parameter of the task; repeatable.", metavar="KEY=VALUE"),
    ] = None,
    model: Annotated[str | None, typer.Option(help="A registered model, instead of --hidden and --cell.")] = None,
    hidden: Annotated[int | None, typer.Option("--hidden", "--hidden-size", help="Hidden units.")] = None,
    embedding: Annotated[
        int | None, typer.Option(help="Width of a learned embedding of the task's tokens; without it they are one-hot.")
    ] = None,
    cell: Annotated[str | None, typer.Option(help="The cell (vanilla).")] = None,
    activation: Annotated[str | None, typer.Option(help="The cell's nonlinearity: tanh, relu, softplus, ...")] = None,
    layers: Annotated[int | None, typer.Option(help="Stacked layers.")] = None,
    architecture: Annotated[
        str | None, typer.Option(help="many_to_many, many_to_one, ... (the task's usual one).")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="mse, cross_entropy, bce or poisson (the task's usual one).")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Sequences a step and replica.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw, sgd or rmsprop.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    window: Annotated[int | None, typer.Option(help="Truncation window in time steps.")] = None,
    clip: Annotated[float | None, typer.Option(help="Clip gradients to this global norm.")] = None,
    evaluate_every: Annotated[int | None, typer.Option(help="Steps between evaluations.")] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Steps between checkpoints.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop a replica after so many evaluations without improvement.")
    ] = None,
    stop_at_skill: Annotated[
        float | None, typer.Option(help="Stop a replica at this skill, 1 - held-out loss / baseline loss.")
    ] = None,
    keep_checkpoints: Annotated[
        int | None, typer.Option(help="Keep so many of the newest checkpoints, the best, and what to go on from.")
    ] = None,
    replicas: Annotated[int | None, typer.Option(help="Networks to train, each with its own seed.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of initial parameters and data.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 or float64.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Stop after this much training time.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="A label to filter by; repeatable.", metavar="KEY=VALUE")
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Higher starts earlier.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other field, for example model.cell.tau=10; repeatable.", metavar="PATH=VALUE"),
    ] = None,
    *,
    confirm_long: Annotated[
        bool, typer.Option("--confirm-long", help="Accept more than a day of estimated time without --max-seconds.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would be and cost.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Submit and do not follow.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Train networks, and follow the job until it has ended. Ctrl-C stops the following, never the job."""
    client: Client = context.obj
    config = read_json(file, "--file") if file else {}
    if not isinstance(config, dict):
        raise typer.BadParameter("the file must hold one JSON object", param_hint="--file")
    config = written_out(place(TrainJob), {"kind": "train", **config})
    if task is not None:
        config["data"] = {"type": "task", "name": task, "parameters": {}}
    put(config, {"data.parameters": parameters(parameter, "--parameter") if parameter else None}, merge=True)
    if lr is not None or optimizer is not None:
        put(config, {"training.optimizer.type": optimizer or _kept(config) or "adam"})
    flags = {
        "training.steps": steps,
        "training.batch_size": batch_size,
        "training.optimizer.lr": lr,
        "training.loss": None if loss is None else {"type": loss},
        "training.bptt.window": window,
        "training.clip": None if clip is None else {"type": "global_norm", "max_norm": clip},
        "training.evaluate_every": evaluate_every,
        "training.checkpoint_every": checkpoint_every,
        "training.stop_at_skill": stop_at_skill,
        "training.keep_checkpoints": keep_checkpoints,
        "replicas": replicas,
        "seed": seed,
        "device": device,
        "dtype": dtype,
        "max_seconds": max_seconds,
        "name": name,
        "priority": priority,
    }
    put(config, flags)
    put(config, {"training.early_stopping": None if patience is None else {"patience": patience}}, merge=True)
    put(config, {"labels": pairs(label, "--label") if label else None}, merge=True)
    if embedding is not None and (model is not None or hidden is None or "model" in config):
        raise typer.BadParameter("only an inline network can be given one: --hidden", param_hint="--embedding")
    of_network: networks.Flags = {
        "--hidden": ("cell.hidden_size", hidden),
        "--cell": ("cell.type", cell),
        "--activation": ("cell.activation", activation),
        "--layers": ("num_layers", layers),
        "--architecture": ("architecture", architecture),
    }
    networks.settle(config, model, of_network, lambda: _network(client, config, hidden, embedding))
    put(config, parameters(sets, "--set") if sets else {})
    training = config.get("training")
    networks.fit_feedback(config, networks.type_of(training.get("loss")) if isinstance(training, dict) else None)
    for field, flag in {"data": "--task", "model": "--hidden or --model", "training": "--steps"}.items():
        if field not in config:
            raise typer.BadParameter(f"the job has no {field!r}: give {flag}, or a file", param_hint=flag)
    if dry_run:
        _show_dry_run(client, config, output)
        return
    submitted(client.submit(config, confirm_long=confirm_long), output, detach=detach)


def _network(client: Client, config: dict[str, Any], hidden: int | None, embedding: int | None) -> dict[str, Any]:
    """Return an inline network that fits the task. If `config` has no loss, set it to the task's usual one."""
    data = config.get("data")
    if hidden is None or not isinstance(data, dict) or "name" not in data:
        raise typer.BadParameter("an inline network needs --hidden and --task", param_hint="--hidden")
    given = data.get("parameters")
    try:
        task = client.tasks.get(str(data["name"]), given if isinstance(given, dict) else None)
    except InvalidRequestError as error:
        # In a job these fields have other places than in the request for its task.
        told = [f"{one.pointer.replace('?parameters', '/data/parameters')}: {one.detail}" for one in error.errors]
        raise typer.BadParameter("; ".join(told) or str(error), param_hint="--parameter") from None
    network: dict[str, Any] = {
        "cell": {"type": "vanilla", "hidden_size": hidden},
        "input_size": task.input_size,
        "output_size": task.output_size,
    }
    if embedding is not None:
        if task.vocabulary_size is None:
            raise typer.BadParameter(f"inputs of {task.name} are numbers, not tokens", param_hint="--embedding")
        network |= {"input_size": embedding, "vocabulary_size": task.vocabulary_size}
    if task.architectures and task.architectures[0] != "many_to_many":
        network["architecture"] = task.architectures[0]
    training = config.get("training")
    if isinstance(training, dict) and task.losses and task.losses[0] != "mse":
        training.setdefault("loss", {"type": task.losses[0]})
    return network


def _kept(config: dict[str, Any]) -> str | None:
    training = config.get("training")
    optimizer = training.get("optimizer") if isinstance(training, dict) else None
    return optimizer.get("type") if isinstance(optimizer, dict) else None


def _show_dry_run(client: Client, config: dict[str, Any], output: Format) -> None:
    estimate = client.jobs.dry_run(config)
    if output is Format.JSON:
        show_json(estimate)
        return
    show_fields(
        {
            "parameters of a replica": estimate.parameters,
            "replicas": getattr(estimate.config, "replicas", None),
            "steps": estimate.total,
            "memory": f"{estimate.memory_bytes / 2**20:.1f} MiB",
            "time": f"about {clock(estimate.seconds)}",
            "baseline loss": estimate.baseline_loss,
        }
    )
    for note in estimate.notes:
        say(f"note: {note}")
    if sys.stdout.isatty():
        say("nothing was stored; -o json shows the configuration in full")
