"""Runs trained networks on posted sequences, without torch: the process that serves never loads it.

The result of a sequence depends only on the network, its inputs and its state, bit for bit, on one machine. It does
not depend on the other sequences in the batch, on padding, or on where a longer sequence was cut in two (tests check
it). The arithmetic uses the checkpoint's dtype (`rnn.serving.stacks`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rnn import kernels
from rnn.cells.facts import facts
from rnn.errors import InputError
from rnn.networks.weights import load_weights
from rnn.serving.architectures import Posted, check_request, decode
from rnn.serving.native_stack import NativeStack
from rnn.serving.numpy_stack import NumPyStack
from rnn.serving.stacks import Run, Stack, States
from unroll.contract import Network, Returnable
from unroll.contract.limits import MAX_PREDICT_ACTIVATIONS, MAX_PREDICT_VALUES

Array = npt.NDArray[Any]
LayerStates = list[dict[str, Array]]
"""The state of one sequence, layer by layer: {"h": [H]} (and c of an LSTM), or [R, H] with replica `all`."""
Engine = Literal["auto", "numpy"]
"""auto: the native kernel, where it was built and has the cell."""

_ROWS = 8
"""Sequences are computed in groups of a multiple of this number."""
_WORKING_VALUES = 1 << 21
"""Largest number of values of one kind that a group computes, unless it is the smallest one."""


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


class Predictor:
    """The networks of one checkpoint, read once. Safe to use from several threads."""

    def __init__(self, weights: bytes, engine: Engine = "auto") -> None:
        """Raises CheckpointError if the content is damaged or not in this format."""
        loaded = load_weights(weights)
        self.network = loaded.network
        self.replicas = loaded.replicas
        self.dtype = np.dtype(loaded.dtype)
        self._states = facts(self.network.cell).states
        self._stacks: list[Stack] = []
        self._decoders: list[Stack | None] = []
        for r in range(self.replicas):
            tensors = {name: tensor[r] for name, tensor in loaded.tensors.items()}
            readout = tensors["readout.W_hy"], tensors["readout.b_y"]
            stack = _stack(self.network, tensors, "layers.", readout, engine)
            assert stack is not None  # noqa: S101 - every network has layers
            self._stacks.append(stack)
            self._decoders.append(_stack(self.network, tensors, "decoder.", readout, engine))
        zeros = {name: np.zeros((self.replicas, *shape), self.dtype) for name, shape in self._states.items()}
        self._start_LR = [
            {name: loaded.tensors.get(f"layers.{n}.{name}0", zero) for name, zero in zeros.items()}
            for n in range(self.network.num_layers)
        ]
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
                runs = [self._run(r, x_TNI, lengths, start(k, rows), want, steps) for k, r in enumerate(which)]
                for row, read in enumerate(lengths):
                    length = read if self.network.architecture != "encoder_decoder" else steps
                    if "outputs" in want:
                        of_row = [run.outputs[0 if self._answers_once else slice(length), row] for run in runs]
                        outputs.append(np.stack(of_row))
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

    @property
    def plain(self) -> bool:
        """Whether `outputs` can run this network: every step is read as it is posted and gives one output."""
        return self.network.architecture == "many_to_many" and self.network.vocabulary_size is None

    @property
    def products_per_step(self) -> int:
        """The number of multiplications in one step of one replica; its time is roughly proportional to it."""
        H, O = self.network.cell.hidden_size, self.network.output_size  # noqa: E741
        gates, layers = len(facts(self.network.cell).gates), self.network.num_layers
        return gates * H * (self.network.input_size + (2 * layers - 1) * H) + H * O

    def advance(
        self, sequences: Sequence[Array], replica: int, states: Sequence[LayerStates] | None = None
    ) -> tuple[list[Array], list[LayerStates]]:
        """Return what `predict` returns as outputs and state, for finite sequences [T_i, I] of a `plain` network.

        Nothing is checked. The arrays are parts of larger ones: copy what is to be kept.
        """
        order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        x_TNI, lengths = _pad([sequences[i] for i in order], self.dtype)
        start: States | None = None
        if states is not None:
            start = [
                {name: np.stack([states[i][n][name] for i in order]) for name in self._states}
                for n in range(self.network.num_layers)
            ]
        with np.errstate(over="ignore", invalid="ignore"):
            run = self._stacks[replica].run(x_TNI, lengths, start)
        outputs: list[Array] = [x_TNI] * len(order)
        last: list[LayerStates] = [[] for _ in order]
        for row, (i, length) in enumerate(zip(order, lengths, strict=True)):
            outputs[i] = run.outputs[:length, row]
            last[i] = [{name: state[row] for name, state in layer.items()} for layer in run.last]
        return outputs, last

    @property
    def _answers_once(self) -> bool:
        return self.network.architecture in {"many_to_one", "one_to_one"}

    def initial_states(self, sequences: int, replica: int | Literal["all"]) -> list[LayerStates]:
        """Return the network's own start for so many sequences, as `predict` returns states."""
        which = self._which(replica)
        rows = slice(None) if replica == "all" else which[0]
        return [
            [{name: start[rows].copy() for name, start in layer.items()} for layer in self._start_LR]
            for _ in range(sequences)
        ]

    def checked_states(
        self, states: Sequence[LayerStates], sequences: int, replica: int | Literal["all"]
    ) -> list[LayerStates]:
        """Return posted states of so many sequences as arrays of the checkpoint's dtype. Raises InputError."""
        which = self._which(replica)
        start = self._start(states, sequences, which, stacked=replica == "all")
        of_replicas = [start(k, list(range(sequences))) or [] for k in range(len(which))]
        return [
            [
                {
                    name: np.stack([layers[n][name][i] for layers in of_replicas])
                    if replica == "all"
                    else of_replicas[0][n][name][i]
                    for name in self._states
                }
                for n in range(self.network.num_layers)
            ]
            for i in range(sequences)
        ]

    def _memory_bytes(self, inputs: Sequence[Any], replicas: int, want: Collection[Returnable], written: int) -> int:
        """Return about how much memory `predict` takes for its arrays, the answer included."""
        R, I = replicas, self.network.input_size  # noqa: E741
        H, O = self.network.cell.hidden_size, self.network.output_size  # noqa: E741
        wide, about = O * ("outputs" in want) + H * ("hidden" in want), facts(self.network.cell)
        lengths = sorted((len(sequence) + written for sequence in inputs), reverse=True)
        states = self.network.num_layers * sum(map(prod, self._states.values()))
        largest = 0
        for rows in self._groups(list(range(len(lengths))), lengths):
            T, padded, span = lengths[rows[0]], len(rows), 0  # the kernel neither fills up rows nor keeps trajectories
            if isinstance(self._stacks[0], NumPyStack):
                padded = -(-len(rows) // _ROWS) * _ROWS
                span = min(T * padded * max(H, O), max(_WORKING_VALUES, padded * max(H, O)))
            kept = T * padded * (I + R * wide) + R * padded * states
            largest = max(largest, kept + span * (len(about.gates) + 3))
        of_inputs = 2 * sum(lengths) * I
        answer = R * (sum(lengths) * wide + len(lengths) * states * ("state" in want))
        return self.dtype.itemsize * (of_inputs + largest + 2 * answer)

    def _groups(self, order: list[int], lengths: Sequence[int]) -> list[list[int]]:
        """Return groups of sequences that run together, longest first, as large as the memory allows."""
        wide = max(self.network.input_size, self.network.cell.hidden_size, self.network.output_size)
        groups = []
        while order:
            most = _ROWS * max(1, _WORKING_VALUES // (_ROWS * wide * max(lengths[order[0]], 1)))
            groups.append(order[:most])
            order = order[most:]
        return groups

    def _run(
        self,
        r: int,
        x_TNI: Array,
        lengths: list[int],
        start: States | None,
        want: Collection[Returnable],
        steps: int | None,
    ) -> Run:
        """Return the results of replica r. A decoder continues from its encoder's last state."""
        x = self._posted.looked_up(r, x_TNI)
        decoder = self._decoders[r]
        if decoder is not None:
            read = self._stacks[r].run(x, lengths, None, outputs="none")
            first = np.zeros((1, len(lengths), self.network.output_size), self.dtype)
            return decode(decoder, self.network.feedback, read.last, first, steps or 0)
        outputs: Literal["all", "last", "none"] = "none"
        if "outputs" in want:
            outputs = "last" if self._answers_once else "all"
        return self._stacks[r].run(x, lengths, start, outputs=outputs, hidden="hidden" in want)

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
    ) -> Callable[[int, list[int]], States | None]:
        """Return a function of (index in `which`, sequences) that gives each layer's states [N, …], or None for h0."""
        if states is None:
            return lambda _k, _rows: None
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

        return lambda k, rows: [{name: state[k, rows] for name, state in layer.items()} for layer in posted]

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
    """Return the sequences, longest first and padded with zeros, as x [T, N, I], and their lengths."""
    lengths = [len(sequence) for sequence in sequences]
    if len(sequences) == 1 and sequences[0].dtype == dtype:
        return sequences[0][:, None], lengths
    x_TNI = np.zeros((lengths[0], len(sequences), sequences[0].shape[1]), dtype)
    for row, sequence in enumerate(sequences):
        x_TNI[: lengths[row], row] = sequence
    return x_TNI, lengths


def _stack(
    network: Network, tensors: dict[str, Array], prefix: str, readout: tuple[Array, Array], engine: Engine = "auto"
) -> Stack | None:
    """Return the stack of the layers whose tensors' names start with `prefix`; None if there are none.

    `tensors` are those of one replica, `readout` is (W_hy [O, H], b_y [O]).
    """
    layers = [
        {name.removeprefix(place): tensor for name, tensor in tensors.items() if name.startswith(place)}
        for place in (f"{prefix}{n}." for n in range(network.num_layers))
    ]
    if not all(layers):
        return None
    if engine == "auto" and kernels.available() and facts(network.cell).native is not None:
        return NativeStack(network.cell, layers, readout)
    return NumPyStack(network.cell, layers, readout)
