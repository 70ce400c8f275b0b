"""What the tests of gradient checks ask for."""

from __future__ import annotations

from typing import Any

from rnn.gradient_check.bounds import require_feasible
from rnn.gradient_check.compare import check
from unroll.contract import (
    Check,
    CheckRequest,
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LinearCell,
    LSTMCell,
    Network,
    VanillaCell,
)

H, T = 4, 5
CELLS: dict[str, Any] = {
    "tanh": VanillaCell(hidden_size=H),
    "relu": VanillaCell(hidden_size=H, activation="relu"),
    "saturated": VanillaCell(hidden_size=H, activation="saturated_relu"),
    "linear": LinearCell(hidden_size=H),
    "feedforward": FeedForwardCell(hidden_size=H),
    "rates": LeakyCell(hidden_size=H, learn_tau="per_unit"),
    "potentials": LeakyCell(hidden_size=H, leak="potentials", activation="softplus", tau=3.0),
    "lstm": LSTMCell(hidden_size=H),
    "gru": GRUCell(hidden_size=H),
}


def request(cell: Any, network: dict[str, Any] | None = None, **fields: Any) -> CheckRequest:
    given = {"input_size": 2, "output_size": 3, **(network or {})}
    # Autograd is compared over every entry; those that are moved one by one cost two or three losses each.
    return CheckRequest(**({"model": Network(cell=cell, **given), "time_steps": 5, "entries": 4} | fields))


def run(one: CheckRequest) -> Check:
    require_feasible(one)
    return check(one)
