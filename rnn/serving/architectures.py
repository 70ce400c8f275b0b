"""What serving an architecture needs besides its layers: tokens, single inputs, decoders. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.errors import InputError
from rnn.serving.cells import activate_in_place
from rnn.serving.stacks import Run, Stack, States
from unroll.contract import Feedback, Network

Array = npt.NDArray[Any]


def check_request(network: Network, inputs: Sequence[Any], steps: int | None, *, stateful: bool) -> None:
    """Raise InputError if the architecture cannot do what is asked for."""
    architecture = network.architecture
    writes = architecture in {"one_to_many", "encoder_decoder"}
    if writes and steps is None:
        detail = f"{architecture} networks need the number of outputs to write"
        raise InputError("/steps", "missing", detail)
    if steps is not None and not writes:
        raise InputError(
            "/steps",
            "contradiction",
            f"the inputs of {architecture} networks set the number of outputs: leave steps out",
        )
    if stateful and architecture == "encoder_decoder":
        raise InputError(
            "/state",
            "contradiction",
            "an encoder_decoder takes no state, because its encoder makes the decoder's first state",
        )
    if architecture in {"one_to_one", "one_to_many"}:
        for i, sequence in enumerate(inputs):
            if len(sequence) != 1:
                detail = f"{architecture} networks read one step, but this sequence has {len(sequence)}"
                raise InputError(f"/inputs/{i}", "wrong_length", detail)


class Posted:
    """Turns posted inputs into what layers read: vectors, or rows of a table for tokens."""

    def __init__(self, network: Network, tensors: dict[str, Array], dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._vocabulary = network.vocabulary_size
        self._width = network.input_size if self._vocabulary is None else 1
        table_RVI = tensors.get("embedding.E")
        # One more row of zeros serves the steps of a one_to_many network that have no input.
        self._table_RVI = None if table_RVI is None else np.pad(table_RVI, ((0, 0), (0, 1), (0, 0)))

    def sequence(self, i: int, sequence: Any) -> Array:
        """Return a posted sequence as an array [T, width]. Raises InputError."""
        if len(sequence) == 0:
            raise InputError(f"/inputs/{i}", "empty_sequence", "a sequence needs at least one time step")
        width = self._width
        try:
            with np.errstate(over="ignore"):
                array = np.asarray(sequence, self._dtype)
        except (TypeError, ValueError):
            array = np.empty(0)
        if array.shape != (len(sequence), width):
            for t, row in enumerate(sequence):
                if hasattr(row, "__len__") and len(row) != width:
                    detail = f"this step has {len(row)} inputs, but the network takes {width}"
                    raise InputError(f"/inputs/{i}/{t}", "wrong_width", detail)
            raise InputError(f"/inputs/{i}", "not_numbers", "a sequence is a list of lists of numbers")
        finite = np.isfinite(array)
        if not finite.all():
            t, j = np.argwhere(~finite)[0]
            raise InputError(f"/inputs/{i}/{t}/{j}", "not_finite", f"not a finite number in {self._dtype}")
        self._check_tokens(i, array)
        return array

    def extended(self, sequence_TI: Array, steps: int) -> Array:
        """Return the first step followed by `steps` - 1 steps without an input."""
        blank = 0 if self._vocabulary is None else self._vocabulary
        rest = np.full((steps - 1, self._width), blank, sequence_TI.dtype)
        return np.concatenate([sequence_TI, rest])

    def looked_up(self, r: int, x_TNI: Array) -> Array:
        """Return what replica r reads, [T, N, I]."""
        if self._table_RVI is None:
            return x_TNI
        looked_up: Array = self._table_RVI[r][x_TNI[..., 0].astype(np.int64)]
        return looked_up

    def _check_tokens(self, i: int, sequence_TI: Array) -> None:
        if self._vocabulary is None:
            return
        wrong = (sequence_TI % 1 != 0) | (sequence_TI < 0) | (sequence_TI >= self._vocabulary)
        if wrong.any():
            t = int(np.argmax(wrong))
            detail = f"a token is a whole number from 0 to {self._vocabulary - 1}, not {sequence_TI[t, 0]:g}"
            raise InputError(f"/inputs/{i}/{t}/0", "not_a_token", detail)


def decode(decoder: Stack, feedback: Feedback, begin: States, x_1NO: Array, steps: int) -> Run:
    """Return what the decoder writes in `steps` steps from these states, reading `x_1NO` and then its predictions."""
    outputs, hidden = [], []
    for _ in range(steps):
        run = decoder.run(x_1NO, [1] * x_1NO.shape[1], begin, hidden=True)
        outputs.append(run.outputs)
        hidden.append(run.hidden)
        begin, x_1NO = run.last, prediction(feedback, run.outputs)
    return Run(np.concatenate(outputs), np.concatenate(hidden), begin)


def prediction(g: Feedback, y: Array) -> Array:
    """Return g(y), which has the units of the targets."""
    p = y.copy()
    if g == "softmax":
        p -= p.max(-1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(-1, keepdims=True)
    elif g == "exp":
        np.exp(p, out=p)
    elif g == "sigmoid":
        activate_in_place("sigmoid", p)
    return p
