"""The command train."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from unroll.cli.jobs import follow, show_job
from unroll.cli.output import Format, Output, say, show_fields, show_json
from unroll.cli.values import pairs, parameters, read_json
from unroll.client import Client
from unroll.contract.network import FEEDBACK
from unroll.job import JobHandle
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
    hidden: Annotated[int | None, typer.Option(help="Hidden units.")] = None,
    embedding: Annotated[
        int | None, typer.Option(help="Width of a learned embedding of the task's tokens; without it they are one-hot.")
    ] = None,
    cell: Annotated[str | None, typer.Option(help="The cell (vanilla).")] = None,
    activation: Annotated[str | None, typer.Option(help="The cell's nonlinearity: tanh, relu, softplus, ...")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Sequences a step and replica.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw, sgd or rmsprop.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
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
        int | None, typer.Option(help="Keep so many of the newest checkpoints, besides the best.")
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
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would be and cost.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Submit and do not follow.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Train networks, and follow the job until it has ended. Ctrl-C stops the following, never the job."""
    client: Client = context.obj
    config = read_json(file, "--file") if file else {}
    if not isinstance(config, dict):
        raise typer.BadParameter("the file must hold one JSON object", param_hint="--file")
    config.setdefault("kind", "train")
    if task is not None:
        config["data"] = {"type": "task", "name": task, "parameters": {}}
    _set(config, {"data.parameters": parameters(parameter, "--parameter") if parameter else None}, merge=True)
    if lr is not None or optimizer is not None:
        _set(config, {"training.optimizer.type": optimizer or _kept(config) or "adam"})
    flags = {
        "training.steps": steps,
        "training.batch_size": batch_size,
        "training.optimizer.lr": lr,
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
    _set(config, flags)
    _set(config, {"training.early_stopping": None if patience is None else {"patience": patience}}, merge=True)
    _set(config, {"labels": pairs(label, "--label") if label else None}, merge=True)
    if model is not None:
        config["model"] = model
    elif hidden is not None or cell is not None:
        config["model"] = _network(client, config, hidden, cell or "vanilla", embedding)
    if embedding is not None and (model is not None or hidden is None):
        raise typer.BadParameter("only an inline network can be given one: --hidden", param_hint="--embedding")
    if model is None and isinstance(config.get("model"), dict):
        _set(config, {"model.cell.activation": activation})
    for field, flag in {"data": "--task", "model": "--hidden or --model", "training": "--steps"}.items():
        if field not in config:
            raise typer.BadParameter(f"the job has no {field!r}: give {flag}, or a file", param_hint=flag)
    if dry_run:
        _show_dry_run(client, config, output)
        return
    job = client.jobs.submit(config)
    say(f"submitted {job.id}")
    if detach:
        show_job(job, output)
    else:
        follow(JobHandle(client, job), output)


def _network(
    client: Client, config: dict[str, Any], hidden: int | None, cell: str, embedding: int | None
) -> dict[str, Any]:
    """An inline network that fits the task; in `config` the loss becomes the task's usual one, if there is none."""
    data = config.get("data")
    if hidden is None or not isinstance(data, dict) or "name" not in data:
        raise typer.BadParameter("an inline network needs --hidden and --task", param_hint="--hidden")
    given = data.get("parameters")
    task = client.tasks.get(str(data["name"]), given if isinstance(given, dict) else None)
    network: dict[str, Any] = {
        "cell": {"type": cell, "hidden_size": hidden},
        "input_size": task.input_size,
        "output_size": task.output_size,
    }
    if embedding is not None:
        if task.vocabulary_size is None:
            raise typer.BadParameter(f"inputs of {task.name} are numbers, not tokens", param_hint="--embedding")
        network |= {"input_size": embedding, "vocabulary_size": task.vocabulary_size}
    if task.architectures and task.architectures[0] != "many_to_many":
        network["architecture"] = task.architectures[0]
    loss = _loss(config)
    if loss is None and "training" in config and task.losses and task.losses[0] != "mse":
        loss = task.losses[0]
        _set(config, {"training.loss": {"type": loss}}, merge=True)
    if network.get("architecture") == "encoder_decoder" and loss in FEEDBACK:
        network["feedback"] = FEEDBACK[loss]
    return network


def _loss(config: dict[str, Any]) -> str | None:
    training = config.get("training")
    loss = training.get("loss") if isinstance(training, dict) else None
    return loss.get("type", "mse") if isinstance(loss, dict) else None


def _kept(config: dict[str, Any]) -> str | None:
    training = config.get("training")
    optimizer = training.get("optimizer") if isinstance(training, dict) else None
    return optimizer.get("type") if isinstance(optimizer, dict) else None


def _set(config: dict[str, Any], flags: dict[str, Any], *, merge: bool = False) -> None:
    """Put the flags that were given (not None) where their dotted paths say."""
    for dotted, value in flags.items():
        if value is None:
            continue
        *outer, last = dotted.split(".")
        place = config
        for name in outer:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise typer.BadParameter(f"{name!r} in the file is no object", param_hint="--file")
        place[last] = {**(place.get(last) or {}), **value} if merge else value


def _show_dry_run(client: Client, config: dict[str, Any], output: Format) -> None:
    estimate = client.jobs.dry_run(config)
    if output is Format.JSON:
        show_json(estimate)
        return
    show_fields(
        {
            "parameters of a replica": estimate.parameters,
            "replicas": estimate.config.replicas,
            "memory": f"{estimate.memory_bytes / 2**20:.1f} MiB",
            "time": f"about {clock(estimate.seconds)}",
            "baseline loss": estimate.baseline_loss,
        }
    )
    if sys.stdout.isatty():
        say("nothing was stored; -o json shows the configuration in full")
