"""Checkpoints: their weights, and predictions with them."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from unroll._transport import Transport
from unroll._wire import decode
from unroll.contract import Checkpoint, Reduction, Replica, Returnable
from unroll.predictions import Prediction, StateLike, ask
from unroll.resources.paging import path
from unroll.weights import Weights


class Checkpoints:
    """The weights of all replicas at one step of a job."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, checkpoint_id: str) -> Checkpoint:
        """Return one checkpoint, without its content."""
        return decode(Checkpoint, self._transport.request("GET", path("checkpoints", checkpoint_id)).content)

    def content(self, checkpoint_id: str) -> bytes:
        """Return the weights as the content of a safetensors file, to be stored unchanged."""
        return self._transport.request("GET", path("checkpoints", checkpoint_id, "content")).content

    def weights(self, checkpoint_id: str) -> Weights:
        """Return the weights as NumPy arrays; `.to_torch()` makes PyTorch modules of them."""
        return Weights(self.content(checkpoint_id), self.get(checkpoint_id))

    def predict(
        self,
        checkpoint_id: str,
        inputs: ArrayLike | Sequence[ArrayLike],
        *,
        state: StateLike | None = None,
        returns: Sequence[Returnable] = ("outputs",),
        replica: Replica = "best",
        steps: int | None = None,
        reduce: Reduction | None = None,
        binary: bool | None = None,
    ) -> Prediction:
        """Run sequences through the networks of this checkpoint. The arguments are those of a model's predict."""
        where = path("checkpoints", checkpoint_id, "predict")
        return ask(
            self._transport,
            where,
            inputs,
            state=state,
            returns=returns,
            replica=replica,
            steps=steps,
            reduce=reduce,
            binary=binary,
        )
