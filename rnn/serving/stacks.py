"""What runs the layers and the readout of one replica over sequences: in NumPy (numpy_stack.py) or natively.

Every stack promises that a sequence's bits depend on the network, its inputs and its state alone, and runs
several sequences at once, longest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]
States = list[dict[str, Array]]
"""For each layer, its states by name, [N, …]."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one replica gives for N sequences. What was not asked for is empty."""

    outputs: Array
    """[T, N, O], or [1, N, O], the output of each sequence's last step."""
    hidden: Array
    """[T, N, H], of the last layer."""
    last: States
    """The states after each sequence's last step."""


class Stack(Protocol):
    """The layers of one replica, and its readout."""

    def run(
        self,
        x_TNI: Array,
        lengths: Sequence[int],
        start: States | None,
        *,
        outputs: Literal["all", "last", "none"] = "all",
        hidden: bool = False,
    ) -> Run:
        """Run N sequences, whose lengths fall, from their states (None: the network's h0). Numbers may overflow."""
