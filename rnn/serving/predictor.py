"""Runs trained networks on posted sequences. NumPy only: the process that serves never loads torch.

The result of a sequence depends only on the network, its inputs and its state, bit for bit. It does not depend on the
other sequences in the batch, on padding, or on where a longer sequence was cut in two. BLAS does not promise that (it
may round a row differently in a larger matrix), so rows are always multiplied in tiles of the same shape; tests check
it. The arithmetic uses the checkpoint's dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from rnn.errors import InputError
from rnn.networks.weights import load_weights
from rnn.serving.architectures import Posted, check_request, decode, numpy_layers
from unroll.contract import Returnable
from unroll.contract.limits import MAX_PREDICT_ACTIVATIONS, MAX_PREDICT_VALUES

Array = npt.NDArray[Any]
LayerStates = list[dict[str, Array]]
"""The state of one sequence, layer by layer: {"h": [H]} (and c of an LSTM), or [R, H] with replica `all`."""

_TILE = 8
"""Number of sequences in one tile. BLAS is slow with fewer rows; more rows waste work on a single sequence."""
_WORKING_VALUES = 1 << 21
"""Largest number of hidden or output values computed at a time: as many tiles as fit, or a part of a long sequence."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The result, with one entry for each sequence; None: not asked for.

    With replica `all` there is an axis R before T.
    """

    outputs: list[Array] | None
    """[T_i, O] or [R, T_i, O]; for a network with one output [O] or [R, O]."""
    state: list[LayerStates] | None
    """The state after the last step."""
    hidden: list[Array] | None
    """[T_i, H] or [R, T_i, H], of the last layer."""


@dataclass(frozen=True, slots=True)
class _Run:
    """The results of one replica for a group of rows."""

    outputs: Array
    """[T, N, O]; [0, N, O] if they are not needed."""
    hidden: Array
    """[T, N, H]; [0, N, H] if they are not needed."""
    last: list[dict[str, Array]]
    """For each layer, states [N, H] after each row's last step."""


class Predictor:
    """The networks of one checkpoint, read once. Safe to use from several threads."""

    def __init__(self, weights: bytes) -> None:
        """Raises CheckpointError if the content is damaged or not in this format."""
        loaded = load_weights(weights)
        self.network = loaded.network
        self.replicas = loaded.replicas
        self.dtype = np.dtype(loaded.dtype)
        self._b_y_RO = loaded.tensors["readout.b_y"]
        self._W_hy_RHO = np.ascontiguousarray(loaded.tensors["readout.W_hy"].swapaxes(1, 2))
        self._states = facts(self.network.cell).states
        self._layers, self._decoders = (
            [numpy_layers(self.network, loaded.tensors, prefix, r) for r in range(self.replicas)]
            for prefix in ("layers.", "decoder.")
        )
        self._posted = Posted(self.network, loaded.tensors, self.dtype)

    def predict(
        self,
        inputs: Sequence[Any],
        states: Sequence[LayerStates] | None = None,
        replica: int | Literal["all"] = 0,
        want: Collection[Returnable] = frozenset({"outputs"}),
        steps: int | None = None,
        reserve: Callable[[int], None] = lambda _bytes: None,
    ) -> Prediction:
        """Run each sequence, an array [T_i, I] or nested lists, from its state (the network's h0 if None).

        `steps` is the number of outputs of a one_to_many or encoder_decoder network. `reserve` is told how much memory
        this will take before it is taken, and may raise.

        Numbers may overflow to infinity in an unstable network; they are returned as they are.

        Raises InputError: `wrong_width` at /inputs/i/t, `empty_sequence` at /inputs/i, `not_finite` at /inputs/i/t/j,
        `not_numbers`, `not_a_token` likewise, `wrong_length` at /inputs/i, `wrong_shape` below /state/i, `out_of_range`
        at /replica, `too_many_values` at /inputs, `missing` and `contradiction` at /steps and /state.
        """
        which = self._which(replica)
        check_request(self.network, inputs, steps, stateful=states is not None)
        self._check_size(inputs, len(which), want, steps or 0)
        reserve(self._memory_bytes(inputs, len(which), want, steps or 0))
        sequences = [self._posted.sequence(i, sequence) for i, sequence in enumerate(inputs)]
        if self.network.architecture == "one_to_many":
            sequences = [self._posted.extended(sequence, steps or 0) for sequence in sequences]
        start = self._start(states, len(sequences), which, stacked=replica == "all")
        outputs, hidden, last = [], [], []  # in the order of rows, [R, T_i, O], [R, T_i, H], layers of states [R, H]
        order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        with np.errstate(over="ignore", invalid="ignore"):
            for rows in self._groups(order, [len(sequence) for sequence in sequences]):
                x_TNI, lengths = _pad([sequences[i] for i in rows], self.dtype)
                runs = [
                    self._answered(r, x_TNI, lengths, start(k, rows, x_TNI.shape[1]) if start else None, want, steps)
                    for k, r in enumerate(which)
                ]
                for row, read in enumerate(lengths):
                    length = read if self.network.architecture != "encoder_decoder" else steps
                    if "outputs" in want:
                        outputs.append(np.stack([run.outputs[:length, row] for run in runs]))
                    if "hidden" in want:
                        hidden.append(np.stack([run.hidden[:length, row] for run in runs]))
                    if "state" in want:
                        last.append(
                            [
                                {name: np.stack([run.last[n][name][row] for run in runs]) for name in self._states}
                                for n in range(self.network.num_layers)
                            ]
                        )
        came = np.argsort(order)

        def answer(per_row: list[Array]) -> list[Array]:
            return [per_row[row] if replica == "all" else per_row[row][0] for row in came]

        if self.network.architecture in {"many_to_one", "one_to_one"}:
            outputs = [y[:, -1] for y in outputs]
        return Prediction(
            outputs=answer(outputs) if "outputs" in want else None,
            state=[
                [{name: s if replica == "all" else s[0] for name, s in layer.items()} for layer in last[row]]
                for row in came
            ]
            if "state" in want
            else None,
            hidden=answer(hidden) if "hidden" in want else None,
        )

    def _memory_bytes(self, inputs: Sequence[Any], replicas: int, want: Collection[Returnable], written: int) -> int:
        """Return about how much memory `predict` takes for its arrays, the answer included."""
        R, I = replicas, self.network.input_size  # noqa: E741
        H, O = self.network.cell.hidden_size, self.network.output_size  # noqa: E741
        wide, about = O * ("outputs" in want) + H * ("hidden" in want), facts(self.network.cell)
        lengths = sorted((len(sequence) + written for sequence in inputs), reverse=True)
        states = self.network.num_layers * sum(map(prod, self._states.values()))
        largest = 0
        for rows in self._groups(list(range(len(lengths))), lengths):
            T, padded = lengths[rows[0]], -(-len(rows) // _TILE) * _TILE
            span = min(T * padded * max(H, O), max(_WORKING_VALUES, padded * max(H, O)))
            kept = T * padded * (I + R * wide) + R * padded * states
            largest = max(largest, kept + span * (len(about.gates) + 3))
        of_inputs = 2 * sum(lengths) * I
        answer = R * (sum(lengths) * wide + len(lengths) * states * ("state" in want))
        return self.dtype.itemsize * (of_inputs + largest + 2 * answer)

    def _groups(self, order: list[int], lengths: Sequence[int]) -> list[list[int]]:
        """Return groups of whole tiles that run together, longest sequences first, as large as the memory allows."""
        wide = max(self.network.input_size, self.network.cell.hidden_size, self.network.output_size)
        groups = []
        while order:
            tiles = max(1, _WORKING_VALUES // (_TILE * wide * max(lengths[order[0]], 1)))
            groups.append(order[: tiles * _TILE])
            order = order[tiles * _TILE :]
        return groups

    def _answered(
        self,
        r: int,
        x_TNI: Array,
        lengths: list[int],
        start: list[dict[str, Array]] | None,
        want: Collection[Returnable],
        steps: int | None,
    ) -> _Run:
        """Return the results of replica r.

        In an encoder_decoder the decoder continues from the encoder's last state.
        """
        x = self._posted.looked_up(r, x_TNI)
        if self.network.architecture != "encoder_decoder":
            return self._run(r, x, lengths, start, want)
        read = self._run(r, x, lengths, None, frozenset({"state"}))
        begin = [{name: s.reshape(-1, _TILE, *s.shape[1:]) for name, s in layer.items()} for layer in read.last]
        found = decode(self._decoders[r], self._W_hy_RHO[r], self._b_y_RO[r], self.network.feedback, begin, steps or 0)
        return _Run(*found)

    def _run(
        self,
        r: int,
        x_TNI: Array,
        lengths: list[int],
        start: list[dict[str, Array]] | None,
        want: Collection[Returnable],
    ) -> _Run:
        """Run replica r over rows whose lengths fall, one stretch of time after another."""
        T, padded, _ = x_TNI.shape
        tiles = padded // _TILE
        H, O = self.network.cell.hidden_size, self.network.output_size  # noqa: E741
        x = x_TNI.reshape(T, tiles, _TILE, -1)
        y = np.empty((T if "outputs" in want else 0, tiles, _TILE, O), self.dtype)
        hidden = np.empty((T if "hidden" in want else 0, tiles, _TILE, H), self.dtype)
        layers = self._layers[r]
        carried: list[dict[str, Array] | None] = [*start] if start else [None] * len(layers)
        last = [{name: np.zeros((padded, *s), self.dtype) for name, s in self._states.items()} for _ in layers]
        of_row = np.array(lengths)
        first_rows = lengths[::_TILE]
        running_T = [sum(length > t for length in first_rows) for t in range(T)]
        span = max(1, _WORKING_VALUES // (padded * max(H, O)))
        for begin in range(0, T, span):
            h = x[begin : begin + span]
            (ending,) = np.nonzero((begin < of_row) & (of_row <= begin + len(h)))
            for n, layer in enumerate(layers):
                h, states = layer.run(h, running_T[begin : begin + span], carried[n])
                carried[n] = {name: trajectory[-1].copy() for name, trajectory in states.items()}
                for name, trajectory in states.items():
                    ends = of_row[ending] - 1 - begin
                    last[n][name][ending] = trajectory.reshape(-1, padded, *self._states[name])[ends, ending]
            if "outputs" in want:
                np.matmul(h, self._W_hy_RHO[r], out=y[begin : begin + span])
            if "hidden" in want:
                hidden[begin : begin + span] = h
        y += self._b_y_RO[r]
        return _Run(y.reshape(-1, padded, O), hidden.reshape(-1, padded, H), last)

    def _which(self, replica: int | Literal["all"]) -> range:
        if replica == "all":
            return range(self.replicas)
        if not 0 <= replica < self.replicas:
            raise InputError(
                "/replica", "out_of_range", f"there is no replica {replica}: they are 0 to {self.replicas - 1}"
            )
        return range(replica, replica + 1)

    def _check_size(self, inputs: Sequence[Any], replicas: int, want: Collection[Returnable], written: int) -> None:
        steps = sum(len(sequence) for sequence in inputs) + written * len(inputs)
        I, H, O = self.network.input_size, self.network.cell.hidden_size, self.network.output_size  # noqa: E741
        states = self.network.num_layers * sum(map(prod, self._states.values()))
        answer = steps * (O * ("outputs" in want) + H * ("hidden" in want)) + len(inputs) * states * ("state" in want)
        whose = "1 replica" if replicas == 1 else f"{replicas:,} replicas"
        for values, most, what in (
            (steps * I, MAX_PREDICT_VALUES, "in the inputs"),
            (replicas * answer, MAX_PREDICT_VALUES, f"in the answer of {whose}"),
            (replicas * steps * max(I, H, O), MAX_PREDICT_ACTIVATIONS, f"to compute for {whose}"),
        ):
            if values > most:
                detail = f"{steps:,} time steps are {values:,} values {what}, more than {most:,}"
                raise InputError("/inputs", "too_many_values", detail)

    def _start(
        self, states: Sequence[LayerStates] | None, sequences: int, which: range, *, stacked: bool
    ) -> Callable[[int, list[int], int], list[dict[str, Array]]] | None:
        """Return a function of (index in `which`, sequences, padded) that gives a layer's states, [tiles, _TILE, …]."""
        if states is None:
            return None
        if len(states) != sequences:
            raise InputError("/state", "wrong_shape", f"{len(states)} states for {sequences} sequences")
        L = self.network.num_layers
        posted = [
            {name: np.empty((len(which), sequences, *shape), self.dtype) for name, shape in self._states.items()}
            for _ in range(L)
        ]
        for i, layers in enumerate(states):
            if len(layers) != L:
                detail = f"this state has {len(layers)} layers, but the network has {L}"
                raise InputError(f"/state/{i}/layers", "wrong_shape", detail)
            for n, layer in enumerate(layers):
                for name in layer:
                    if name not in self._states:
                        detail = f"a {self.network.cell.type} cell has no {name}"
                        raise InputError(f"/state/{i}/layers/{n}/{name}", "wrong_shape", detail)
                for name, shape in self._states.items():
                    wanted = (len(which), *shape) if stacked else shape
                    posted[n][name][:, i] = self._state(f"/state/{i}/layers/{n}/{name}", layer.get(name), wanted)

        def start(k: int, rows: list[int], padded: int) -> list[dict[str, Array]]:
            def tiles(all_RN: Array) -> Array:
                filled = np.zeros((padded, *all_RN.shape[2:]), self.dtype)
                filled[: len(rows)] = all_RN[k, rows]
                return filled.reshape(-1, _TILE, *all_RN.shape[2:])

            return [{name: tiles(state) for name, state in layer.items()} for layer in posted]

        return start

    def _state(self, pointer: str, posted: Any, shape: tuple[int, ...]) -> Array:
        try:
            with np.errstate(over="ignore"):
                state = np.asarray(posted, self.dtype)
        except (TypeError, ValueError):
            state = np.empty(0, self.dtype)
        if posted is None or state.shape != shape:
            raise InputError(pointer, "wrong_shape", f"the state must have shape {list(shape)}")
        if not np.isfinite(state).all():
            raise InputError(pointer, "not_finite", f"this state is not finite in {self.dtype}")
        return state


def _pad(sequences: list[Array], dtype: np.dtype[Any]) -> tuple[Array, list[int]]:
    """Return the sequences, longest first and padded with zeros, as x [T, N in whole tiles, I], and their lengths."""
    lengths = [len(sequence) for sequence in sequences]
    padded = -(-len(sequences) // _TILE) * _TILE
    x_TNI = np.zeros((lengths[0], padded, sequences[0].shape[1]), dtype)
    for row, sequence in enumerate(sequences):
        x_TNI[: lengths[row], row] = sequence
    return x_TNI, lengths
