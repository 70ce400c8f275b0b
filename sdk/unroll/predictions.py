"""Sequences and predictions as NumPy arrays.

A batch is a list of arrays [T_i, I], which may differ in length, or one array [B, T, I]. A hidden state is a list with
one entry a sequence, each a list with one entry a layer, each a dict of arrays: {"h": [H]}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unroll.contract import PredictResponse, Replica, Returnable, State

Floats = NDArray[np.float64]
LayerArrays = Mapping[str, ArrayLike]
StateLike = Sequence[State | Sequence[LayerArrays]]
"""What a prediction can start from: `Prediction.state`, or the contract's own State objects."""


@dataclass(frozen=True)
class Prediction:
    """What a trained network answered.

    For inputs [B, T, I] every field is one array with a leading axis B, otherwise a list with one array a sequence.
    With replica "all", an axis R follows the sequence's.
    """

    outputs: Floats | list[Floats] | None
    """[T, O] a sequence."""
    hidden: Floats | list[Floats] | None
    """[T, H] a sequence: the trajectory of the last layer; None unless it was asked for."""
    state: list[list[dict[str, Floats]]] | None
    """The state after the last step, [sequence][layer]["h"] (an LSTM has "c" too): post it back to go on; None unless
    it was asked for."""
    model: str | None
    checkpoint: str
    replica: int | Literal["all"]


def predict_body(
    inputs: ArrayLike | Sequence[ArrayLike],
    state: StateLike | None,
    returns: Sequence[Returnable],
    replica: Replica,
    steps: int | None = None,
) -> dict[str, object]:
    """The request's body. Raises ValueError for inputs that are no sequences of finite numbers."""
    body: dict[str, object] = {"inputs": [_sequence(one, place) for place, one in enumerate(_batch(inputs))]}
    body |= {"return": list(returns), "replica": replica}
    if state is not None:
        body["state"] = [_state(one) for one in state]
    if steps is not None:
        body["steps"] = steps
    return body


def prediction(answer: PredictResponse, *, stacked: bool) -> Prediction:
    """The answer as arrays; `stacked`: the inputs were one array, so the answer's arrays are too."""
    state = None
    if answer.state is not None:
        state = [
            [
                {name: np.asarray(values, np.float64) for name, values in layer.model_dump(exclude_none=True).items()}
                for layer in s.layers
            ]
            for s in answer.state
        ]
    return Prediction(
        outputs=_arrays(answer.outputs, stacked=stacked),
        hidden=_arrays(answer.hidden, stacked=stacked),
        state=state,
        model=answer.model,
        checkpoint=answer.checkpoint,
        replica=answer.replica,
    )


def is_stacked(inputs: object) -> bool:
    """Whether a batch is one array [B, T, I]."""
    return isinstance(inputs, np.ndarray) and inputs.dtype != object


def _batch(inputs: ArrayLike | Sequence[ArrayLike]) -> Sequence[ArrayLike]:
    if isinstance(inputs, np.ndarray) and inputs.dtype != object and inputs.ndim != 3:
        raise ValueError(
            f"one array of inputs must be [B, T, I], this one has {inputs.ndim} axes; "
            "for a single sequence [T, I] pass a list of one array"
        )
    return inputs  # type: ignore[return-value] # an array [B, T, I] is iterated as sequences [T, I]


def _sequence(values: ArrayLike, place: int) -> object:
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise ValueError(f"inputs[{place}] must be numbers [T, I], not {array.dtype} with shape {array.shape}")
    array = array.astype(np.float64)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise ValueError(f"inputs[{place}][{bad[0][0]}][{bad[0][1]}] is {array[tuple(bad[0])]}, not a finite number")
    return array.tolist()


def _state(one: State | Sequence[LayerArrays]) -> object:
    if isinstance(one, State):
        return one
    return {"layers": [{name: np.asarray(values, np.float64) for name, values in layer.items()} for layer in one]}


def _arrays(values: list[object] | None, *, stacked: bool) -> Floats | list[Floats] | None:
    if values is None:
        return None
    if stacked:
        return np.asarray(values, np.float64)
    return [np.asarray(one, np.float64) for one in values]
