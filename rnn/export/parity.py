"""Measures whether an exported file computes what we predict, on random sequences, with the runtimes that it is for.

Outputs are compared with our own predictor, in the precision of the weights. The predictor's rounding is its distance
to itself in float64. If this alone takes more than half of the tolerance, the comparison could not tell a right file
from a wrong one. Then the predictor runs in float64 on the same weights; `Parity.reference` says which precision was
used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from rnn.export import runtimes
from rnn.export.formats import Format
from rnn.export.questions import Answer, Question, drawn
from rnn.export.write import Replica, export
from rnn.networks.weights import StoredNetworks, dump_weights
from rnn.pulse import beat
from rnn.serving.predictor import Predictor
from unroll.contract import DType, Network
from unroll.contract.limits import MAX_PREDICT_ACTIVATIONS, MAX_PREDICT_VALUES

Array = npt.NDArray[Any]
TOLERANCE: dict[DType, float] = {"float32": 1e-6, "float64": 1e-12}
"""The largest difference that passes, relative to the largest output."""
_STEPS = (24, 12, 6, 3)
"""Time steps of the sequences. The first entry for which the network stays below _LARGE is used, because unstable
networks grow."""
_LARGE = 500.0


@dataclass(frozen=True, slots=True)
class Runtime:
    """The runtime that computed the file's outputs, and how far they are from our predictions."""

    name: str
    version: str
    relative: float
    """The largest difference of outputs (or states) divided by the largest output (or state) of one replica."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far a file is from our predictions. If it has several replicas, the worst one counts."""

    max_abs: float
    """The largest difference of an output."""
    largest: float
    """The largest output that we predict, in absolute value."""
    relative: float
    """The largest relative difference of all runtimes; NaN if a value is not a number."""
    tolerance: float
    passed: bool
    """Whether `relative` is at most `tolerance`."""
    sequences: int
    """How many sequences were computed for each replica."""
    steps: int
    """The time steps of the longest sequence."""
    reference: DType
    """The precision of our predictions: that of the weights, or float64 if the weights' own precision rounds too
    much."""
    rounding: float
    """The relative distance of our predictions in the weights' precision from those in float64; 0 for float64
    weights."""
    arithmetic: DType
    """The precision in which the file computes. It may be float64 for an ONNX model whose weights are float32."""
    runtimes: tuple[Runtime, ...]


@dataclass(frozen=True, slots=True)
class _Difference:
    absolute: float
    largest: float
    relative: float


def proven(weights: StoredNetworks, replica: Replica, format: Format, seed: int) -> tuple[bytes, Parity]:  # noqa: A002
    """Export a network and return the file with its parity, which has passed or has not.

    An ONNX model in float32 first uses float32 operators. If these round too much, as onnxruntime's nonlinearities may,
    the model computes in float64, while its inputs and outputs stay in float32.
    """
    content = export(weights, replica, format)
    found = parity(content, format, weights, replica, seed)
    if not found.passed and format == "onnx" and weights.dtype == "float32":
        content = export(weights, replica, format, arithmetic="float64")
        found = parity(content, format, weights, replica, seed, arithmetic="float64")
    return content, found


def parity(
    content: bytes,
    format: Format,  # noqa: A002 - the field's name on the wire
    weights: StoredNetworks,
    replica: Replica,
    seed: int,
    arithmetic: DType | None = None,
) -> Parity:
    """Compare the file with our predictions for the weights that it was written from.

    `arithmetic` only says what the file was exported with. Raises UnreadableError if a runtime cannot run the file.
    """
    network, which = weights.network, range(weights.replicas) if replica == "all" else range(replica, replica + 1)
    stateful = format == "onnx" and facts(network.cell).recurrent and network.architecture != "encoder_decoder"
    for steps in _STEPS:
        questions = drawn(network, weights.dtype, seed, steps, stateful=stateful)
        exact = [_predicted(weights, r, "float64", questions) for r in which]
        if all(size <= _LARGE for _, size in exact):
            break
    expected = [answers for answers, _ in exact]
    reference, rounding, tolerance = weights.dtype, 0.0, TOLERANCE[weights.dtype]
    if weights.dtype != "float64":
        served = [_predicted(weights, r, weights.dtype, questions)[0] for r in which]
        rounding = _worst([_compared(a, b) for a, b in zip(served, expected, strict=True)]).relative
        if rounding <= tolerance / 2:
            expected = served
        else:
            reference = "float64"

    beat()
    found: dict[str, list[list[Answer]]] = {"numpy": runtimes.by_numpy(content, format, questions)}
    beat()
    if format == "onnx":
        found["onnxruntime"] = [runtimes.by_onnxruntime(content, questions)]
    if format == "torch":
        found["torch"] = [runtimes.by_torch(content, questions)]
    versions = runtimes.versions(format)
    differences = {
        name: _worst([_compared(a, b) for a, b in zip(found[name], expected, strict=True)]) for name in versions
    }
    worst = _worst(list(differences.values()))
    return Parity(
        max_abs=worst.absolute,
        largest=worst.largest,
        relative=worst.relative,
        tolerance=tolerance,
        passed=worst.relative <= tolerance,
        sequences=sum(len(question.inputs) for question in questions),
        steps=steps,
        reference=reference,
        rounding=rounding,
        arithmetic=(arithmetic or weights.dtype) if format == "onnx" else "float64",
        runtimes=tuple(Runtime(name, versions[name], differences[name].relative) for name in versions),
    )


def _predicted(weights: StoredNetworks, r: int, dtype: DType, questions: list[Question]) -> tuple[list[Answer], float]:
    """Return our predictions for one replica, and the largest number among its outputs and hidden units."""
    network = weights.network
    alone = StoredNetworks(network, weights.dtype, {name: t[r : r + 1] for name, t in weights.tensors.items()})
    predictor = Predictor(dump_weights(network, dtype, alone.flat().astype(dtype)))
    answers, largest = [], 0.0
    for question in questions:
        beat()
        inputs = question.inputs[..., None] if network.vocabulary_size is not None else question.inputs
        states = _posted(network, question) if question.states else None
        outputs, hidden, last = [], [], []
        most = _at_once(network, inputs.shape[1] + (question.steps or 0))
        for begin in range(0, len(inputs), most):
            some = slice(begin, begin + most)
            found = predictor.predict(
                list(inputs[some]), states and states[some], want=("outputs", "hidden", "state"), steps=question.steps
            )
            outputs += found.outputs or []
            hidden += found.hidden or []
            last += found.state or []
        answer = {"outputs": np.stack(outputs)}
        for n in range(network.num_layers if facts(network.cell).recurrent else 0):
            stack = "decoder" if network.architecture == "encoder_decoder" else "layers"
            for name in tuple(facts(network.cell).states):
                answer[f"{stack}.{n}.{name}.next"] = np.stack([layers[n][name] for layers in last])
        answers.append(answer)
        # Unlike max, np.max keeps values that are not a number.
        largest = float(np.max([largest, *(np.abs(a).max() for a in (*outputs, *hidden))]))
    return answers, largest


def _at_once(network: Network, steps: int) -> int:
    """Return how many sequences one prediction may have; see `unroll.contract.limits`."""
    I, H, O = network.input_size, network.cell.hidden_size, network.output_size  # noqa: E741
    values = steps * (I + H + O) + H * network.num_layers * len(tuple(facts(network.cell).states))
    return max(1, min(MAX_PREDICT_VALUES // values, MAX_PREDICT_ACTIVATIONS // (steps * max(I, H, O))))


def _posted(network: Network, question: Question) -> list[list[dict[str, Array]]]:
    return [
        [
            {name: question.states[f"layers.{n}.{name}"][i] for name in tuple(facts(network.cell).states)}
            for n in range(network.num_layers)
        ]
        for i in range(len(question.inputs))
    ]


def _compared(found: list[Answer], expected: list[Answer]) -> _Difference:
    """Compare the results of one replica. States count if a format has them, relative to the largest state."""
    outputs = _apart(found, expected, ["outputs"])
    if set(found[0]) == {"outputs"}:
        return outputs
    states = [name for name in expected[0] if name != "outputs"]
    relative = float(np.maximum(outputs.relative, _apart(found, expected, states).relative))  # NaN if one is
    return _Difference(outputs.absolute, outputs.largest, relative)


def _apart(found: list[Answer], expected: list[Answer], names: list[str]) -> _Difference:
    absolute = largest = 0.0
    for a, b in zip(found, expected, strict=True):
        for name in names:
            if name not in a or a[name].shape != b[name].shape:
                return _Difference(np.nan, np.nan, np.nan)
            with np.errstate(invalid="ignore"):
                absolute = float(np.maximum(absolute, np.abs(a[name].astype(np.float64) - b[name]).max()))
            largest = float(np.maximum(largest, np.abs(b[name]).max()))
    return _Difference(absolute, largest, absolute / largest if largest else np.inf if absolute else 0.0)


def _worst(differences: list[_Difference]) -> _Difference:
    """Return the difference that is relatively largest. NaN counts as larger than all others."""
    return max(differences, key=lambda d: (np.isnan(d.relative), d.relative))
