"""The values that an engine needs before each `forward`, as its own tensors or as NumPy arrays that share memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Array = TypeVar("Array", bound=Any)
Other = TypeVar("Other", bound=Any)
"""np.ndarray or torch.Tensor."""


@dataclass(frozen=True, slots=True)
class Memory(Generic[Array]):
    """The inputs of `forward` for R replicas. A field is None or () if the network does not use it."""

    x_RTBI: Array
    """Inputs, or tokens with I = 1."""
    target_RTBO: Array
    weight_RTB: Array | None = None
    """How often each output step counts in the loss."""
    length_RB: Array | None = None
    """Number of valid input steps, as integers, if the encoder of an encoder_decoder needs it."""
    forced_RTB: Array | None = None
    """1 where a decoder reads the previous step's target, 0 where it reads its own output."""
    noise_RTBH: tuple[Array, ...] = ()
    """Noise that is added to the pre-activations, one array for each layer; an encoder's layers come before its
    decoder's."""
    noise_RTBO: Array | None = None
    """Noise that is added to the outputs."""

    def map(self, function: Callable[[Array], Other]) -> Memory[Other]:
        """Return a copy with `function` applied to each tensor."""

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
        """Return the tensors that exist, in the order of the fields."""
        first = (self.x_RTBI, self.target_RTBO, self.weight_RTB, self.length_RB, self.forced_RTB)
        return [tensor for tensor in (*first, *self.noise_RTBH, self.noise_RTBO) if tensor is not None]
