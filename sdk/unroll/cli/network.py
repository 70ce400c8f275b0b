"""The network of a command: a registered one, one from a file, or one made of flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import typer

from unroll.cli.values import put
from unroll.contract.network import FEEDBACK

Flags = Mapping[str, tuple[str, Any]]
"""Where in a network the value of each option belongs, with dots between names. None: the option was not given."""


def settle(config: dict[str, Any], model: str | None, flags: Flags, make: Callable[[], dict[str, Any]]) -> None:
    """Put the network into `config`, which a file may already have filled. Raises typer.BadParameter.

    `make` returns the network if there is none yet. Flags change what `make` or the file gives; a registered model is
    never changed.
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
    """Set the feedback of a decoder that reads its own outputs to the one that fits the loss, unless it has one."""
    network = config.get("model")
    if isinstance(network, dict) and network.get("architecture") == "encoder_decoder" and loss in FEEDBACK:
        network.setdefault("feedback", FEEDBACK[loss])


def type_of(loss: Any) -> Any:
    """Return the type of a loss in a configuration; None if there is no loss."""
    return loss.get("type", "mse") if isinstance(loss, dict) else None
