"""What an engine wants filled before each `forward`, as tensors of its own or as the arrays that shadow them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Array = TypeVar("Array", bound=Any)
Other = TypeVar("Other", bound=Any)
"""np.ndarray or torch.Tensor."""


@dataclass(frozen=True, slots=True)
class Memory(Generic[Array]):
    """Of R replicas; None and () where there is nothing of the kind."""

    x_RTBI: Array
    """Inputs, or tokens with I = 1."""
    target_RTBO: Array
    weight_RTB: Array | None = None
    """How often each output step counts in the loss."""
    length_RB: Array | None = None
    """Valid input steps, integers, where the encoder of an encoder_decoder needs them."""
    forced_RTB: Array | None = None
    """1 where a decoder reads the target of the step before, 0 where its own output."""
    noise_RTBH: tuple[Array, ...] = ()
    """Added to the pre-activations, layer by layer; an encoder's layers, then its decoder's."""
    noise_RTBO: Array | None = None
    """Added to the outputs."""

    def map(self, function: Callable[[Array], Other]) -> Memory[Other]:
        """The same with `function` of each tensor."""

        def of(tensor: Array | None) -> Other | None:
            return None if tensor is None else function(tensor)

        return Memory(
            function(self.x_RTBI),
            function(self.target_RTBO),
            of(self.weight_RTB),
            of(self.length_RB),
            of(self.forced_RTB),
            tuple(map(function, self.noise_RTBH)),
            of(self.noise_RTBO),
        )

    def all(self) -> list[Array]:
        """What there is, in the order of the fields."""
        first = (self.x_RTBI, self.target_RTBO, self.weight_RTB, self.length_RB, self.forced_RTB)
        return [tensor for tensor in (*first, *self.noise_RTBH, self.noise_RTBO) if tensor is not None]
