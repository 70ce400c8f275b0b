"""The peers of bench/serving.py, each as its own documentation would have one write it.

    python bench/serving_peers.py fastapi|onnx|litserve CELL PORT [INPUTS]

One network of 100 hidden units, drawn at random, that answers one sequence [T][I] a request, with I = 1 unless it is
given. `leaky` is a loop of products in torch, as there is no module for it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import nn

try:
    from litserve import LitAPI
except ImportError:
    LitAPI = object

H = 100


class Leaky(nn.Module):
    """A leaky rate network, written as a tutorial does."""

    def __init__(self, width: int, alpha: float = 0.2) -> None:
        super().__init__()
        self.x, self.h, self.alpha = nn.Linear(width, H), nn.Linear(H, H), alpha

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return all states, and the last one."""
        h, states = torch.zeros(x.shape[0], H), []
        driven = self.x(x)
        for t in range(x.shape[1]):
            h = h + self.alpha * (torch.tanh(driven[:, t] + self.h(h)) - h)
            states.append(h)
        return torch.stack(states, 1), h


class Network(nn.Module):
    """The layer and a linear readout."""

    def __init__(self, cell: str, width: int = 1) -> None:
        super().__init__()
        made: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU, "vanilla": nn.RNN}
        self.layer = Leaky(width) if cell == "leaky" else made[cell](width, H, batch_first=True)
        self.readout = nn.Linear(H, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs [B, T, 1]."""
        return self.readout(self.layer(x)[0])


class Body(BaseModel):
    """What is posted."""

    inputs: list[list[list[float]]]


def fastapi(cell: str, port: int, width: int, *, onnx: bool = False) -> None:
    """Serve a handler of FastAPI around the module, or around its ONNX file."""
    import uvicorn
    from fastapi import FastAPI

    app, network = FastAPI(), Network(cell, width).eval()
    torch.set_num_threads(1)
    if onnx:
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "network.onnx")
            axes = {"x": {0: "batch", 1: "time"}, "y": {0: "batch", 1: "time"}}
            torch.onnx.export(
                network,
                (torch.zeros(1, 100, width),),
                str(path),
                input_names=["x"],
                output_names=["y"],
                dynamic_axes=axes,
                dynamo=False,
            )
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(str(path), options)

        def run(x: Any) -> Any:
            return session.run(None, {"x": x})[0]

    else:

        def run(x: Any) -> Any:
            with torch.inference_mode():
                return network(torch.from_numpy(x)).numpy()

    @app.post("/predict")
    def predict(body: Body) -> dict[str, Any]:
        return {"outputs": run(np.asarray(body.inputs, np.float32)).tolist()}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


class Served(LitAPI):  # type: ignore[misc]
    """The network behind LitServe. It lies at the module's top because LitServe pickles it."""

    cell = "vanilla"

    def setup(self, device: str) -> None:
        """Load the network in the worker."""
        del device
        torch.set_num_threads(1)
        self.network = Network(self.cell).eval()

    def decode_request(self, request):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201 - LitServe reads it
        """Read one body."""
        return np.asarray(request["inputs"][0], np.float32)

    def batch(self, inputs: list[Any]) -> Any:
        """Put requests together."""
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        """Run a batch, or a single request."""
        with torch.inference_mode():
            return self.network(torch.from_numpy(x)).numpy()

    def unbatch(self, output: Any) -> list[Any]:
        """Take the answers apart."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Write one answer."""
        return {"outputs": [output.tolist()]}


def litserve(cell: str, port: int) -> None:
    """Serve with LitServe, which batches."""
    import litserve

    api = Served(max_batch_size=16, batch_timeout=0.001)
    api.cell = cell
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(port=port, host="127.0.0.1", log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    which, cell_, port_ = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.manual_seed(0)
    if which == "litserve":
        litserve(cell_, port_)
    else:
        fastapi(cell_, port_, int(sys.argv[4]) if len(sys.argv) > 4 else 1, onnx=which == "onnx")
