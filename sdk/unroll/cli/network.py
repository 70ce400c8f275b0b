"""The network of a command: registered, from a file, or made of flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import typer

from unroll.cli.values import put
from unroll.contract.network import FEEDBACK

Flags = Mapping[str, tuple[str, Any]]
"""By option: where in a network its value belongs, dots between names; None: the option was not given."""


def settle(config: dict[str, Any], model: str | None, flags: Flags, make: Callable[[], dict[str, Any]]) -> None:
    """Put the network into `config`, where a file may have put one. Raises typer.BadParameter.

    `make` is for a network of which there is nothing yet. Flags change what `make` or the file says; a registered model
    is as it was registered.
    """
    given = {option: (path, value) for option, (path, value) in flags.items() if value is not None}
    if model is not None:
        config["model"] = model
    if isinstance(named := config.get("model"), str):
        if given:
            detail = f"{named!r} is a registered model, which is as it was registered"
            raise typer.BadParameter(detail, param_hint=" ".join(given))
        return
    if "model" not in config and given:
        config["model"] = make()
    put(config, {f"model.{path}": value for path, value in given.values()})


def fit_feedback(config: dict[str, Any], loss: Any) -> None:
    """Give a decoder that reads its own outputs the feedback that goes with the loss, unless it has one."""
    network = config.get("model")
    if isinstance(network, dict) and network.get("architecture") == "encoder_decoder" and loss in FEEDBACK:
        network.setdefault("feedback", FEEDBACK[loss])


def type_of(loss: Any) -> Any:
    """The type of a loss as a configuration has it; None where there is no loss."""
    return loss.get("type", "mse") if isinstance(loss, dict) else None
