"""Computes the results of an exported file with plain NumPy, without torch and onnxruntime.

`rnn.reference.equations` evaluates stored networks in float64, and onnx's reference evaluator runs the nodes of an ONNX
model.
"""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from rnn.export import state_dict
from rnn.export.formats import Format
from rnn.export.questions import Answer
from rnn.networks.weights import read_container
from rnn.reference import equations
from unroll.contract import Network

Array = npt.NDArray[Any]


def answers(content: bytes, format: Format, questions: list[Answer]) -> list[Answer]:  # noqa: A002
    """Return the answers to questions in the form of an ONNX model's inputs; all of one replica before the next."""
    with np.errstate(all="ignore"):
        if format == "onnx":
            return _of_graph(content, questions)
        network, replicas = _read(content, format)
        return [_of_equations(network, tensors, question) for tensors in replicas for question in questions]


def _read(content: bytes, format: Format) -> tuple[Network, list[dict[str, Array]]]:  # noqa: A002
    """Return the network that the file's metadata describes, and each replica's tensors in float64, by our names."""
    if format == "npz":
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            tensors = {name: file[name] for name in file.files}
        about = json.loads(str(tensors.pop("unroll")))
    else:
        about, tensors = read_container(content)
    network = Network.model_validate(about["network"])
    if format == "torch":
        tensors = state_dict.to_ours(network, tensors)
    tensors = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
    if about.get("replica", "all") != "all":
        return network, [tensors]
    return network, [{n: t[r] for n, t in tensors.items()} for r in range(len(tensors["readout.b_y"]))]


def _of_equations(network: Network, tensors: dict[str, Array], question: Answer) -> Answer:
    inputs = question["inputs"]
    x_TBI = np.swapaxes(inputs[..., None] if network.vocabulary_size is not None else inputs.astype(np.float64), 0, 1)
    steps = int(question.get("steps", 0))
    y_TBO = equations.outputs(np, network, tensors, x_TBI, steps=steps, feedback=network.feedback)
    if network.architecture in {"many_to_one", "one_to_one"}:
        return {"outputs": y_TBO[-1]}
    return {"outputs": np.swapaxes(y_TBO, 0, 1)}


def _of_graph(content: bytes, questions: list[Answer]) -> list[Answer]:
    import onnx
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun

    class RNN(OpRun):
        """The operator RNN, from [T, B, I] to [T, 1, B, H] and [1, B, H].

        onnx's own one lacks all activations but two.
        """

        op_domain = ""

        def _run(
            self, X: Array, W: Array, R: Array, B: Array | None = None, lengths: None = None, initial_h: Any = None,
            activations: Any = None, activation_alpha: Any = None, activation_beta: Any = None, **_: Any,
        ) -> tuple[Array, Array]:  # fmt: skip
            del lengths
            alpha, beta = (np.float32(values[0] if values else 0) for values in (activation_alpha, activation_beta))
            f: Any = {
                "Tanh": np.tanh,
                "Relu": lambda a: np.maximum(a, 0),
                "LeakyRelu": lambda a: np.where(a < 0, alpha * a, a),
                "Softplus": lambda a: np.logaddexp(a, np.float32(0)),
                "Sigmoid": lambda a: 1 / (1 + np.exp(-a)),
                "Affine": lambda a: alpha * a + beta,
                "HardSigmoid": lambda a: np.maximum(0, np.minimum(1, alpha * a + beta)),
            }[activations[0]]
            h, given = initial_h[0], []
            bias = 0 if B is None else sum(np.split(B[0], 2))
            for x in X:
                h = f(x @ W[0].T + h @ R[0].T + bias)
                given.append(h)
            return np.stack(given)[:, None], h[None]

    model = onnx.load_from_string(content)
    evaluator = ReferenceEvaluator(model, new_ops=[RNN])
    names = [output.name for output in model.graph.output]
    given: list[Any] = [evaluator.run(None, question) for question in questions]
    return [dict(zip(names, outputs, strict=True)) for outputs in given]
