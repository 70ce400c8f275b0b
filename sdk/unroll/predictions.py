"""Sequences and predictions as NumPy arrays.

A batch is a list of arrays [T_i, I], which may have different lengths, or one array [B, T, I]. A hidden state is a list
with one entry for each sequence. Each entry is a list with one dict of arrays for each layer: {"h": [H]}. The inner
list may also stand in {"layers": ...}, as in the JSON of the API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel

from unroll import tensors
from unroll._numbers import Floats, finite
from unroll._transport import Transport
from unroll._wire import decode, given
from unroll.contract import PredictResponse, Reduction, Replica, Returnable, State

LayerArrays = Mapping[str, ArrayLike]
StateLike = Sequence[State | Sequence[LayerArrays] | Mapping[str, Sequence[LayerArrays]]]
"""A state from which a prediction starts: `Prediction.state`, the contract's own State objects, or their JSON."""


@dataclass(frozen=True, repr=False)
class Interval:
    """How far replicas differ around the outputs, in their form. NaN where there is one replica only."""

    lower: Floats | list[Floats]
    upper: Floats | list[Floats]
    level: float | None
    """The share of replicas in it; None: one sample standard deviation to each side of the mean."""

    def __repr__(self) -> str:
        told = "mean ∓ standard deviation" if self.level is None else f"{self.level:.0%} of the replicas"
        return f"<interval of {told}: {_shape(self.lower)}>"


@dataclass(frozen=True, repr=False)
class Prediction:
    """The answer of a trained network.

    For inputs [B, T, I] every field is one array with a leading axis B, otherwise a list with one array for each
    sequence. With replica "all", an axis R follows that of the sequences.
    """

    outputs: Floats | list[Floats] | None
    """Outputs, [T, O] for each sequence. With `reduce` the mean or the median of all replicas, without an axis R."""
    hidden: Floats | list[Floats] | None
    """Hidden states of the last layer over time, [T, H] for each sequence; None unless requested."""
    state: list[list[dict[str, Floats]]] | None
    """State after the last step, [sequence][layer]["h"] (an LSTM also has "c"). Send it back to continue. None
    unless requested."""
    model: str | None
    checkpoint: str
    replica: int | Literal["all"]
    interval: Interval | None = None
    """Around the outputs, with `reduce`."""

    def __repr__(self) -> str:
        network = "all replicas" if self.replica == "all" else f"replica {self.replica}"
        arrays = [
            f"{name} {_shape(values)}"
            for name, values in (("outputs", self.outputs), ("hidden", self.hidden))
            if values is not None
        ]
        if self.interval is not None:
            arrays.append(repr(self.interval)[1:-1])
        if self.state is not None:
            arrays.append(f"state of {len(self.state)} sequences")
        return f"<prediction of {network} of {self.model or self.checkpoint}: {', '.join(arrays)}>"


def _shape(values: Floats | list[Floats]) -> str:
    if not isinstance(values, list):
        return str(list(values.shape))
    first, rest = (f" {list(values[0].shape)}", "" if len(values) == 1 else ", ...") if values else ("", "")
    return f"of {len(values)} sequence{'' if len(values) == 1 else 's'}{first}{rest}"


def ask(
    transport: Transport,
    where: str,
    inputs: ArrayLike | Sequence[ArrayLike],
    *,
    state: StateLike | None,
    returns: Sequence[Returnable],
    replica: Replica,
    steps: int | None,
    reduce: Reduction | None,
    binary: bool | None,
) -> Prediction:
    """Send a prediction request, as JSON or as tensors, and return the answer as arrays.

    Raises ValueError for inputs and states that are not lists of arrays of finite numbers.
    """
    sequences = [_sequence(one, place) for place, one in enumerate(_batch(inputs))]
    states = None if state is None else _states(state)
    content = None
    if binary or (binary is None and sequences and tensors.worth_it(sequences)):
        said = {"replica": replica, "return": list(returns)}
        defaults = {"replica": "best", "return": ["outputs"]}
        options = {name: value for name, value in said.items() if value != defaults[name]}
        content = tensors.request(sequences, states, options | given(steps=steps, reduce=reduce))
    if content is not None:
        kind = {"Content-Type": tensors.MEDIA_TYPE, "Accept": tensors.MEDIA_TYPE}
        response = transport.request("POST", where, content=content, headers=kind, repeatable=True)
        return _of_tensors(tensors.Answer(response.content), stacked=is_stacked(inputs))
    body: dict[str, object] = {"inputs": [one.tolist() for one in sequences]}
    body |= {"return": list(returns), "replica": replica} | given(state=states, steps=steps, reduce=reduce)
    response = transport.request("POST", where, body=body, repeatable=True)
    return _of_json(decode(PredictResponse, response.content), stacked=is_stacked(inputs))


def _of_tensors(answer: tensors.Answer, *, stacked: bool) -> Prediction:
    lower, upper = (answer.of(f"interval.{side}", stacked=stacked) for side in ("lower", "upper"))
    return Prediction(
        outputs=answer.of("outputs", stacked=stacked),
        hidden=answer.of("hidden", stacked=stacked),
        state=answer.state(),
        model=answer.model,
        checkpoint=answer.checkpoint,
        replica=answer.replica,
        interval=None if lower is None or upper is None else Interval(lower, upper, answer.level),
    )


def _of_json(answer: PredictResponse, *, stacked: bool) -> Prediction:
    """Return the answer as arrays. `stacked`: the inputs were one array, so the answer's arrays are too."""
    state = None
    if answer.state is not None:
        state = [
            [
                {name: np.asarray(values, np.float64) for name, values in layer.model_dump(exclude_none=True).items()}
                for layer in s.layers
            ]
            for s in answer.state
        ]
    interval = None
    if answer.interval is not None:
        lower, upper = (_listed(side, stacked=stacked) for side in (answer.interval.lower, answer.interval.upper))
        interval = Interval(lower, upper, answer.interval.level)
    return Prediction(
        outputs=None if answer.outputs is None else _listed(answer.outputs, stacked=stacked),
        hidden=None if answer.hidden is None else _listed(answer.hidden, stacked=stacked),
        state=state,
        model=answer.model,
        checkpoint=answer.checkpoint,
        replica=answer.replica,
        interval=interval,
    )


def is_stacked(inputs: object) -> bool:
    """Return whether a batch is one array [B, T, I]."""
    return isinstance(inputs, np.ndarray) and inputs.dtype != object


def _batch(inputs: ArrayLike | Sequence[ArrayLike]) -> Sequence[ArrayLike]:
    """Return an array [B, T, I] as a list of sequences [T, I]; a list stays as it is. Raises ValueError."""
    axes = getattr(inputs, "ndim", 3)  # a data frame's too, whose items are its columns
    if axes != 3 and getattr(inputs, "dtype", None) != np.dtype(object):
        raise ValueError(
            f"one array of inputs must be [B, T, I], this one has {axes} axes; "
            "for a single sequence [T, I] pass a list of one array"
        )
    batch = _items(inputs)
    if batch is None:
        raise ValueError(
            f"inputs must be a list of sequences [T, I] or one array [B, T, I], not {type(inputs).__name__}"
        )
    return batch


def _sequence(values: ArrayLike, place: int) -> Floats:
    return finite(values, f"inputs[{place}]", "[T, I]", (2,))


def _states(state: object) -> list[object]:
    each = 'a list of layers {"h": [H]}, or {"layers": that list}'
    states = _items(state)
    if states is None:
        raise ValueError(f"state must be a list with one entry a sequence, each {each}, not {type(state).__name__}")
    return [_state(one, f"state[{place}]", each) for place, one in enumerate(states)]


def _state(one: object, where: str, expected: str) -> object:
    if isinstance(one, State):
        return one
    if isinstance(one, Mapping):
        if set(one) != {"layers"}:
            raise ValueError(f"{where} must be {expected}, not an object of {', '.join(map(str, one)) or 'nothing'}")
        one, where = one["layers"], f"{where}.layers"
        expected = 'a list of layers {"h": [H]}'
    layers = _items(one)
    if layers is None:
        raise ValueError(f"{where} must be {expected}, not {type(one).__name__}")
    return {"layers": [_layer(layer, f"{where}[{depth}]") for depth, layer in enumerate(layers)]}


def _layer(layer: object, where: str) -> dict[str, Floats]:
    if not isinstance(layer, Mapping):
        raise ValueError(f'{where} must be an object of arrays, {{"h": [H]}}, not {type(layer).__name__}')  # noqa: TRY004 - as for all inputs
    given = {name: values for name, values in layer.items() if values is not None}  # null: a cell that has no c
    return {name: finite(values, f"{where}.{name}", "[H] or [R, H]", (1, 2)) for name, values in given.items()}


def _items(value: object) -> list[Any] | None:
    """Return the items of a list or an array; None for anything else."""
    if isinstance(value, str | bytes | Mapping | BaseModel):
        return None
    try:
        return list(value)  # type: ignore[call-overload,no-any-return] # what cannot be iterated is a TypeError
    except TypeError:
        return None


def _listed(values: list[object], *, stacked: bool) -> Floats | list[Floats]:
    if stacked:
        return np.asarray(values, np.float64)
    return [np.asarray(one, np.float64) for one in values]
