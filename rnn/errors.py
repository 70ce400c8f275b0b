"""The errors of this package, which say what is wrong with its input."""

from __future__ import annotations


class RNNError(Exception):
    """Base class of this package's errors."""


class _PointedError(RNNError):
    def __init__(self, pointer: str, code: str, detail: str) -> None:
        super().__init__(f"{pointer}: {detail}")
        self.pointer = pointer
        self.code = code
        self.detail = detail


class ConfigurationError(_PointedError):
    """The job cannot run. `pointer` is a JSON Pointer (RFC 6901) into the job; `code` is a stable identifier."""


class InputError(_PointedError):
    """The network cannot take these sequences or states. `pointer` is a JSON Pointer into the predict request."""


class CheckpointError(RNNError):
    """The checkpoint is damaged, in an unknown format, or belongs to another run."""
