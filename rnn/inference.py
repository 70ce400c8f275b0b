"""Run trained networks on posted sequences. NumPy only: the process that serves never loads torch.

Promise: what a sequence gives depends on the network, its inputs and its state alone, bit for bit, not on the sequences
beside it in the batch, on padding, or on where a longer sequence was cut in two. BLAS does not promise that (it may
round a row differently in a larger matrix), so rows are always multiplied in tiles of the same shape; the tests hold
it. The arithmetic is the checkpoint's dtype.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rnn.errors import InputError
from rnn.state import load_weights
from unroll.contract import Activation, Returnable
from unroll.contract.limits import MAX_PREDICT_ACTIVATIONS, MAX_PREDICT_VALUES

Array = npt.NDArray[Any]
LayerStates = list[dict[str, Array]]
"""The state of one sequence, layer by layer: {"h": [H]}, or [R, H] with replica `all`."""

_TILE = 8
"""Sequences in one tile. Fewer rows use BLAS badly, more waste work on a single sequence."""
_WORKING_VALUES = 1 << 21
"""Hidden or output values that are worked on at a time: of as many tiles as fit, or of a stretch of a long one."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One entry a sequence; None where it was not asked for. With replica `all` there is an axis R before T."""

    outputs: list[Array] | None
    """[T_i, O] or [R, T_i, O]."""
    state: list[LayerStates] | None
    """After the last step."""
    hidden: list[Array] | None
    """[T_i, H] or [R, T_i, H], of the last layer."""


@dataclass(frozen=True, slots=True)
class _Run:
    """One replica over a group of rows."""

    outputs: Array
    """[T, N, O]; [0, N, O] if they are not wanted."""
    hidden: Array
    """[T, N, H]; [0, N, H] if they are not wanted."""
    last: Array
    """[N, H], after each row's last step."""


class Predictor:
    """The networks of one checkpoint, parsed once. Safe to use from several threads."""

    def __init__(self, weights: bytes) -> None:
        """Raises CheckpointError for content that is torn or foreign."""
        loaded = load_weights(weights)
        self.network = loaded.network
        self.replicas = loaded.replicas
        self.dtype = np.dtype(loaded.dtype)
        w = loaded.tensors
        self._activation: Activation = loaded.network.cell.activation
        # Transposed to contiguous memory once, for row vectors: x @ W.T.
        self._W_xh_RIH, self._W_hh_RHH, self._W_hy_RHO = (
            np.ascontiguousarray(w[name].swapaxes(1, 2)) for name in ("layers.0.W_xh", "layers.0.W_hh", "readout.W_hy")
        )
        self._bias_RH = w["layers.0.b_x"] + w["layers.0.b_h"]
        self._b_y_RO = w["readout.b_y"]

    def predict(
        self,
        inputs: Sequence[Any],
        states: Sequence[LayerStates] | None = None,
        replica: int | Literal["all"] = 0,
        want: Collection[Returnable] = frozenset({"outputs"}),
    ) -> Prediction:
        """Run each sequence, an array [T_i, I] or nested lists, from its state (zeros if None).

        Numbers may overflow to infinity in an unstable network; they are returned as they are.

        Raises InputError: `wrong_width` at /inputs/i/t, `empty_sequence` at /inputs/i, `not_finite` at /inputs/i/t/j,
        `not_numbers`, `wrong_shape` below /state/i, `out_of_range` at /replica, `too_many_values` at /inputs.
        """
        which = self._which(replica)
        self._check_size(inputs, len(which), want)
        sequences = [self._sequence(i, sequence) for i, sequence in enumerate(inputs)]
        start_RNH = self._start(states, len(sequences), which, stacked=replica == "all")
        outputs, hidden, last = [], [], []  # in the order of rows, [R, T_i, O], [R, T_i, H], [R, H]
        order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        with np.errstate(over="ignore", invalid="ignore"):
            for rows in self._groups(order, sequences):
                x_TNI, lengths = _pad([sequences[i] for i in rows], self.dtype)
                runs = [
                    self._run(r, x_TNI, lengths, None if start_RNH is None else start_RNH[k, rows], want)
                    for k, r in enumerate(which)
                ]
                for row, length in enumerate(lengths):
                    if "outputs" in want:
                        outputs.append(np.stack([run.outputs[:length, row] for run in runs]))
                    if "hidden" in want:
                        hidden.append(np.stack([run.hidden[:length, row] for run in runs]))
                    if "state" in want:
                        last.append(np.stack([run.last[row] for run in runs]))
        came = np.argsort(order)

        def answer(per_row: list[Array]) -> list[Array]:
            return [per_row[row] if replica == "all" else per_row[row][0] for row in came]

        return Prediction(
            outputs=answer(outputs) if "outputs" in want else None,
            state=[[{"h": h}] for h in answer(last)] if "state" in want else None,
            hidden=answer(hidden) if "hidden" in want else None,
        )

    def _groups(self, order: list[int], sequences: list[Array]) -> list[list[int]]:
        """Whole tiles that are run together, longest sequences first: as many as the working memory holds."""
        wide = max(self.network.input_size, self.network.cell.hidden_size, self.network.output_size)
        groups = []
        while order:
            tiles = max(1, _WORKING_VALUES // (_TILE * wide * len(sequences[order[0]])))
            groups.append(order[: tiles * _TILE])
            order = order[tiles * _TILE :]
        return groups

    def _run(self, r: int, x_TNI: Array, lengths: list[int], h0_NH: Array | None, want: Collection[Returnable]) -> _Run:
        """Run replica r over rows whose lengths fall, a stretch of time after the other."""
        T, padded, _ = x_TNI.shape
        H, O = self._bias_RH.shape[1], self._b_y_RO.shape[1]  # noqa: E741
        tiles = padded // _TILE
        x = x_TNI.reshape(T, tiles, _TILE, -1)
        y = np.empty((T if "outputs" in want else 0, tiles, _TILE, O), self.dtype)
        hidden = np.empty((T if "hidden" in want else 0, tiles, _TILE, H), self.dtype)
        last = np.zeros((tiles, _TILE, H), self.dtype)
        previous = np.zeros((tiles, _TILE, H), self.dtype)
        if h0_NH is not None:
            previous.reshape(padded, H)[: len(h0_NH)] = h0_NH
        product = np.empty_like(previous)
        of_row = np.array(lengths)
        first_rows = lengths[::_TILE]
        running = tiles
        span = max(1, _WORKING_VALUES // (padded * max(H, O)))
        for start in range(0, T, span):
            h = np.matmul(x[start : start + span], self._W_xh_RIH[r])
            h += self._bias_RH[r]
            for t in range(len(h)):
                while first_rows[running - 1] <= start + t:
                    running -= 1
                a = h[t, :running]
                np.matmul(previous[:running], self._W_hh_RHH[r], out=product[:running])
                a += product[:running]
                _activate_in_place(self._activation, a)
                previous = h[t]
            (ending,) = np.nonzero((start < of_row) & (of_row <= start + len(h)))
            last.reshape(padded, H)[ending] = h.reshape(-1, padded, H)[of_row[ending] - 1 - start, ending]
            if "outputs" in want:
                np.matmul(h, self._W_hy_RHO[r], out=y[start : start + span])
            if "hidden" in want:
                hidden[start : start + span] = h
        y += self._b_y_RO[r]
        return _Run(y.reshape(-1, padded, O), hidden.reshape(-1, padded, H), last.reshape(padded, H))

    def _which(self, replica: int | Literal["all"]) -> range:
        if replica == "all":
            return range(self.replicas)
        if not 0 <= replica < self.replicas:
            raise InputError("/replica", "out_of_range", f"there are {self.replicas} replicas, counted from 0")
        return range(replica, replica + 1)

    def _check_size(self, inputs: Sequence[Any], replicas: int, want: Collection[Returnable]) -> None:
        steps = sum(len(sequence) for sequence in inputs)
        I, H, O = self.network.input_size, self.network.cell.hidden_size, self.network.output_size  # noqa: E741
        answer = steps * (O * ("outputs" in want) + H * ("hidden" in want)) + len(inputs) * H * ("state" in want)
        whose = "1 replica" if replicas == 1 else f"{replicas:,} replicas"
        for values, most, what in (
            (steps * I, MAX_PREDICT_VALUES, "in the inputs"),
            (replicas * answer, MAX_PREDICT_VALUES, f"in the answer of {whose}"),
            (replicas * steps * max(I, H, O), MAX_PREDICT_ACTIVATIONS, f"to compute for {whose}"),
        ):
            if values > most:
                detail = f"{steps:,} time steps are {values:,} values {what}, more than {most:,}"
                raise InputError("/inputs", "too_many_values", detail)

    def _sequence(self, i: int, sequence: Any) -> Array:
        if len(sequence) == 0:
            raise InputError(f"/inputs/{i}", "empty_sequence", "a sequence needs at least one time step")
        width = self.network.input_size
        try:
            with np.errstate(over="ignore"):
                array = np.asarray(sequence, self.dtype)
        except (TypeError, ValueError):
            array = np.empty(0)
        if array.shape != (len(sequence), width):
            for t, row in enumerate(sequence):
                if hasattr(row, "__len__") and len(row) != width:
                    detail = f"this step has {len(row)} inputs, the network takes {width}"
                    raise InputError(f"/inputs/{i}/{t}", "wrong_width", detail)
            raise InputError(f"/inputs/{i}", "not_numbers", "a sequence is a list of lists of numbers")
        finite = np.isfinite(array)
        if not finite.all():
            t, j = np.argwhere(~finite)[0]
            raise InputError(f"/inputs/{i}/{t}/{j}", "not_finite", f"not a finite number in {self.dtype}")
        return array

    def _start(
        self, states: Sequence[LayerStates] | None, sequences: int, which: range, *, stacked: bool
    ) -> Array | None:
        """Initial hidden states [R, N, H]."""
        if states is None:
            return None
        if len(states) != sequences:
            raise InputError("/state", "wrong_shape", f"{len(states)} states for {sequences} sequences")
        H = self.network.cell.hidden_size
        shape = (len(which), H) if stacked else (H,)
        start_RNH = np.empty((len(which), sequences, H), self.dtype)
        for i, layers in enumerate(states):
            if len(layers) != self.network.num_layers:
                detail = f"{len(layers)} layers, the network has {self.network.num_layers}"
                raise InputError(f"/state/{i}/layers", "wrong_shape", detail)
            pointer = f"/state/{i}/layers/0/h"
            try:
                with np.errstate(over="ignore"):
                    h = np.asarray(layers[0]["h"], self.dtype)
            except (KeyError, TypeError, ValueError):
                raise InputError(pointer, "wrong_shape", f"a state h of shape {list(shape)} is needed") from None
            if h.shape != shape:
                raise InputError(pointer, "wrong_shape", f"shape {list(h.shape)}, not {list(shape)}")
            if not np.isfinite(h).all():
                raise InputError(pointer, "not_finite", f"not finite in {self.dtype}")
            start_RNH[:, i] = h
        return start_RNH


def _activate_in_place(f: Activation, a: Array) -> None:
    if f == "tanh":
        np.tanh(a, out=a)
    elif f == "relu":
        np.maximum(a, 0, out=a)


def _pad(sequences: list[Array], dtype: np.dtype[Any]) -> tuple[Array, list[int]]:
    """Sequences, longest first, with zeros behind them: x [T, N in whole tiles, I], and their lengths."""
    lengths = [len(sequence) for sequence in sequences]
    padded = -(-len(sequences) // _TILE) * _TILE
    x_TNI = np.zeros((lengths[0], padded, sequences[0].shape[1]), dtype)
    for row, sequence in enumerate(sequences):
        x_TNI[: lengths[row], row] = sequence
    return x_TNI, lengths
