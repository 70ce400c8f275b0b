"""The kind of job that writes trained networks as files for other programs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from unroll.contract.base import Response
from unroll.contract.inference import Replica
from unroll.contract.submission import DType, JobRequest
from unroll.contract.summary import Summary

ExportFormat = Literal["safetensors", "npz", "torch", "onnx"]


class ExportJob(JobRequest):
    """Write a checkpoint's network as a file, and measure how far the file's outputs are from our own predictions."""

    kind: Literal["export"] = "export"
    checkpoint: Annotated[str, Field(examples=["ckpt_01kjqv1a2b3c4d5e6f7g8h9j0k"])]
    """Id of the checkpoint."""
    replica: Replica = "best"
    """Which replica to write: an index or the best by held-out loss. safetensors and npz can hold all of them."""
    format: ExportFormat
    """safetensors and npz hold the tensors with the names of a checkpoint; torch is a state dict, as safetensors, for
    torch.nn.RNN, LSTM or GRU with torch.nn.Linear; onnx is a graph that any ONNX runtime runs."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """The random sequences on which parity is measured depend on this seed. Nobody trained on them."""

    def checkpoints_read(self) -> dict[str, str]:
        """Return the checkpoint's id by its JSON Pointer."""
        return {"/checkpoint": self.checkpoint}


class Parity(Response):
    """How far a file's outputs are from the outputs of our own predictions."""

    relative: float
    """Largest difference between two outputs, as a fraction of the largest output."""
    tolerance: float
    """The largest fraction that passes: 1e-6 in float32, 1e-12 in float64."""
    passed: bool
    sequences: int
    """Number of random sequences that were compared."""
    steps: int
    """Time steps of the longest of them."""
    reference: DType
    """Precision of the predictions that were compared with: that of the weights, or float64 where predictions in the
    weights' own precision round by more than half of the tolerance."""
    rounding: float
    """Distance of predictions in the weights' precision from those in float64, as a fraction of the largest output."""
    arithmetic: DType
    """Precision that the file computes in. A file of weights alone is computed in float64."""
    by: dict[str, float]
    """The fraction for each program that computed the file's outputs, with its version."""


class ExportSummary(Summary):
    """What an export job has to say for itself."""

    kind: Literal["export"] = "export"
    parameters: int
    """Number of parameters of one replica."""
    artifact: str | None = None
    """Name of the artifact that holds the file."""
    size: int | None = None
    """Bytes of the file."""
    parity: Parity | None = None

    def headline(self) -> str | None:
        """Return the file's name, and how far its outputs are from our own."""
        parity = "" if self.parity is None else f", outputs equal to {self.parity.relative:.1e}"
        return self.artifact and f"{self.artifact}{parity}"

    def details(self) -> dict[str, object]:
        """Return everything there is to say, each under the name that people are shown."""
        told: dict[str, object] = {
            "parameters": self.parameters,
            "artifact": self.artifact,
            "size": None if self.size is None else f"{self.size:,} bytes",
        }
        if self.parity is not None:
            verdict = "passed" if self.parity.passed else "FAILED"
            limits = f"{self.parity.relative:.2e} of the largest output, at most {self.parity.tolerance:.0e} allowed"
            told["parity"] = f"{verdict}: {limits}, over {self.parity.sequences} sequences"
            told |= {f"parity in {program}": f"{relative:.2e}" for program, relative in self.parity.by.items()}
        return told
