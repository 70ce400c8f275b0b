"""What can be wrong with what this package is given."""

from __future__ import annotations


class RNNError(Exception):
    """Base of the errors of this package."""


class _PointedError(RNNError):
    def __init__(self, pointer: str, code: str, detail: str) -> None:
        super().__init__(f"{pointer}: {detail}")
        self.pointer = pointer
        self.code = code
        self.detail = detail


class ConfigurationError(_PointedError):
    """A job that cannot be run. `pointer` is a JSON Pointer (RFC 6901) into the job, `code` a stable word."""


class InputError(_PointedError):
    """Sequences or states that a network cannot take. `pointer` is a JSON Pointer into the predict request."""


class CheckpointError(RNNError):
    """A checkpoint that is torn, foreign, or of another run."""
