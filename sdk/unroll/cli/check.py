"""The command check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unroll.cli import network as networks
from unroll.cli.exits import CHECK_FAILED
from unroll.cli.output import Format, Output, say, show_json, show_table
from unroll.cli.values import parameters, put, read_json
from unroll.client import Client
from unroll.contract import Check, CheckRequest


def check(  # one argument a flag
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="What to check, as JSON: a network, or an object with a model; - for stdin. Flags override it.",
            metavar="[FILE]",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="A registered model, instead of --hidden-size and --cell.")] = None,
    hidden_size: Annotated[int | None, typer.Option("--hidden-size", "--hidden", help="Hidden units.")] = None,
    cell: Annotated[str | None, typer.Option(help="The cell (vanilla).")] = None,
    activation: Annotated[str | None, typer.Option(help="The cell's nonlinearity.")] = None,
    layers: Annotated[int | None, typer.Option(help="Stacked layers.")] = None,
    architecture: Annotated[str | None, typer.Option(help="many_to_many, many_to_one, ...")] = None,
    input_size: Annotated[int | None, typer.Option(help="Width of the inputs (1).")] = None,
    output_size: Annotated[
        int | None, typer.Option(help="Width of the outputs (1; for cross_entropy 2 classes).")
    ] = None,
    time_steps: Annotated[int | None, typer.Option(help="Time steps of the batch.")] = None,
    output_steps: Annotated[
        int | None, typer.Option(help="Time steps that a decoder writes (default: as the encoder).")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Sequences in the batch.")] = None,
    replicas: Annotated[int | None, typer.Option(help="Networks to check at once.")] = None,
    loss: Annotated[str | None, typer.Option(help="mse, cross_entropy, bce or poisson.")] = None,
    window: Annotated[int | None, typer.Option(help="Truncation window in time steps.")] = None,
    teacher_forcing: Annotated[float | None, typer.Option(help="Probability that a decoder reads targets.")] = None,
    entries: Annotated[int | None, typer.Option(help="Entries of each tensor that differences test.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and batch.")] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other field, for example model.cell.tau=10; repeatable.", metavar="PATH=VALUE"),
    ] = None,
    *,
    variable_lengths: Annotated[
        bool, typer.Option("--variable-lengths", help="Vary the lengths of sequences.")
    ] = False,
    formulas: Annotated[bool, typer.Option("--formulas", help="Show the gradients' formulas too.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """Compare hand-written gradients with autograd and finite differences.

    The exit code is 6 if a distance is too large.
    """
    client: Client = context.obj
    config = read_json(file, "FILE") if file else {}
    if not isinstance(config, dict):
        raise typer.BadParameter("the file must hold one JSON object", param_hint="FILE")
    if "cell" in config:
        config = {"model": config}
    of_network: networks.Flags = {
        "--hidden-size": ("cell.hidden_size", hidden_size),
        "--cell": ("cell.type", cell),
        "--activation": ("cell.activation", activation),
        "--layers": ("num_layers", layers),
        "--architecture": ("architecture", architecture),
        "--input-size": ("input_size", input_size),
        "--output-size": ("output_size", output_size),
    }
    networks.settle(config, model, of_network, lambda: _network(hidden_size, loss))
    options = {
        "time_steps": time_steps,
        "output_steps": output_steps,
        "batch_size": batch_size,
        "replicas": replicas,
        "entries": entries,
        "seed": seed,
        "teacher_forcing": teacher_forcing,
        "variable_lengths": variable_lengths or None,
        "loss": None if loss is None else {"type": loss},
        "bptt.window": window,
    }
    put(config, options)
    put(config, parameters(sets, "--set") if sets else {})
    if "model" not in config:
        raise typer.BadParameter("there is no network: give --hidden-size, --model or a file", param_hint="FILE")
    networks.fit_feedback(config, networks.type_of(config.get("loss", {})))
    if unknown := set(config) - set(CheckRequest.model_fields):
        raise typer.BadParameter(f"a check has no {', '.join(sorted(unknown))}", param_hint="FILE")
    found = client.check(**config)
    _show(found, output, formulas=formulas)
    if not found.passed:
        raise typer.Exit(CHECK_FAILED)


def _network(hidden_size: int | None, loss: str | None) -> dict[str, Any]:
    if hidden_size is None:
        raise typer.BadParameter("there is no network: give --hidden-size, --model or a file", param_hint="FILE")
    return {
        "cell": {"type": "vanilla", "hidden_size": hidden_size},
        "input_size": 1,
        # of one class there is nothing to learn
        "output_size": 2 if loss == "cross_entropy" else 1,
    }


def _show(found: Check, output: Format, *, formulas: bool) -> None:
    if output is Format.JSON:
        show_json(found)
        return
    header = ("engine", "tensor", "norm", "autograd", "float32", "complex step", "differences", "entries", "passed")
    rows = [
        (
            engine.engine,
            one.name,
            one.norm,
            *(_short(each) for each in (one.autograd, one.float32, one.complex_step, one.finite_differences)),
            one.entries,
            "yes" if one.passed else "NO",
        )
        for engine in found.engines
        for one in engine.tensors
    ]
    limits = found.tolerances
    allowed = (limits.autograd, limits.float32, limits.complex_step, limits.finite_differences)
    rows.append(("allowed", "", "", *(_short(each) for each in allowed), "", ""))
    show_table(header, rows)
    if formulas:
        show_table(("gradient", "formula"), [(one.name, one.formula) for one in found.formulas])
        show_table(("gradient", "note"), [(one.name, one.note) for one in found.formulas if one.note])
    for bias in found.biases:
        apart = "differ" if bias.identifiable else "are equal: only b_x + b_h is identifiable"
        say(f"{bias.layer}: dL/db_x and dL/db_h {apart} (distance {bias.distance:.1e})")
    for note in found.notes:
        say(note)
    say("passed" if found.passed else "FAILED: a distance is larger than allowed")


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.1e}"
