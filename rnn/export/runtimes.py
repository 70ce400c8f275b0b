"""Runs exported files in the programs that they are for: onnxruntime, torch.nn, and plain NumPy in another process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rnn.cells.facts import facts
from rnn.errors import RNNError
from rnn.export.formats import Format
from rnn.export.questions import Answer, Question, read_all, write_all
from rnn.networks.weights import read_container
from unroll.contract import Network


class UnreadableError(RNNError):
    """A runtime cannot load or run the file."""


def by_numpy(content: bytes, format: Format, questions: list[Question]) -> list[list[Answer]]:  # noqa: A002
    """Return the results of plain NumPy for each replica, from a process that has neither torch nor onnxruntime."""
    with tempfile.TemporaryDirectory(prefix="unroll-export-") as name:
        folder = Path(name)
        (folder / "content").write_bytes(content)
        write_all(folder / "questions.npz", [question.fed for question in questions])
        path = os.pathsep.join(entry for entry in sys.path if entry)
        with (folder / "errors").open("wb") as errors:
            child = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "rnn.export", name, format],
                stdin=subprocess.PIPE, stdout=errors, stderr=errors, env=os.environ | {"PYTHONPATH": path},
            )  # fmt: skip
            # Its stdin stays open. The child ends when it closes, even if this process is killed.
            with child:
                status = child.wait()
        if status != 0:
            said = (folder / "errors").read_text(errors="replace").strip().splitlines()[-1:]
            raise UnreadableError(f"plain NumPy could not evaluate the file: {' '.join(said) or status}")
        answers = read_all(folder / "answers.npz")
    return [answers[begin : begin + len(questions)] for begin in range(0, len(answers), len(questions))]


def by_onnxruntime(content: bytes, questions: list[Question]) -> list[Answer]:
    """Return the results of onnxruntime, on its CPU provider."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # for small products threads cost more than they give
    options.log_severity_level = 3  # it warns of every input that may be left out
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return [dict(zip(names, session.run(names, question.fed), strict=True)) for question in questions]
    except Exception as error:  # its errors have no base class but this
        raise UnreadableError(f"onnxruntime could not run the file: {error}") from error


def by_torch(content: bytes, questions: list[Question]) -> list[Answer]:
    """Load the file into modules of torch.nn and return their results.

    They compute in float64, so that the result tests the weights and not the rounding.
    """
    import torch
    from safetensors.torch import load
    from torch import nn

    about, _ = read_container(content)
    tensors: dict[str, Any] = load(content)
    network = Network.model_validate(about["network"])
    initial = [tensors.pop(name).double() for name in ("h0", "c0") if name in tensors]
    modules = nn.ModuleDict({name: _module(nn, said) for name, said in about["modules"].items()}).double()
    try:
        modules.load_state_dict(tensors)
    except RuntimeError as error:
        raise UnreadableError(f"torch could not load the file: {error}") from error
    with torch.no_grad():
        return [{"outputs": _forward(network, modules, initial, question).numpy()} for question in questions]


def _module(nn: Any, said: dict[str, Any]) -> Any:
    """Make a module of torch.nn from its description in the file."""
    if said["class"] == "Sequential":
        return nn.Sequential(*(_module(nn, inside) for inside in said["modules"]))
    return getattr(nn, said["class"])(**said.get("arguments", {}))


def _forward(network: Network, modules: Any, initial: list[Any], question: Question) -> Any:
    """Return outputs [B, T, O] or [B, O]."""
    import torch

    x = torch.from_numpy(question.inputs)
    x = modules["embedding"](x) if "embedding" in modules else x.double()
    if network.architecture == "one_to_many":
        x = torch.cat([x, x.new_zeros(len(x), (question.steps or 1) - 1, x.shape[2])], dim=1)
    if not facts(network.cell).recurrent:
        h, state = modules["rnn"](x), None
    else:
        start = [s.expand(-1, len(x), -1).contiguous() for s in initial]
        h, state = modules["rnn"](x, None if not start else tuple(start) if len(start) == 2 else start[0])
    if network.architecture != "encoder_decoder":
        y = modules["readout"](h)
        return y[:, -1] if network.architecture in {"many_to_one", "one_to_one"} else y
    g: dict[str, Any] = {
        "identity": lambda y: y,
        "softmax": lambda y: y.softmax(-1),
        "sigmoid": torch.sigmoid,
        "exp": torch.exp,
    }
    read, written = x.new_zeros(len(x), 1, network.output_size), []
    for _ in range(question.steps or 0):
        h, state = modules["decoder"](read, state)
        written.append(modules["readout"](h))
        read = g[network.feedback](written[-1])
    return torch.cat(written, dim=1)


def versions(format: Format) -> dict[str, str]:  # noqa: A002
    """Return the runtimes of a format, by name, with their versions."""
    found = {"numpy": np.__version__}
    if format == "onnx":
        import onnxruntime

        found = {"onnxruntime": str(onnxruntime.__version__)} | found
    if format == "torch":
        import torch

        found = {"torch": str(torch.__version__)} | found
    return found
