"""The native kernel's C interface, which mirrors `src/kernel.h` and `src/abi.cpp`.

It consists of pointers only and needs neither torch nor NumPy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from ctypes import c_bool, c_char_p, c_double, c_int64, c_uint64, c_void_p
from functools import cache
from pathlib import Path

VERSION = "native-4"
"""Version of the kernel, equal to the one in `src/kernel.h`. Raise both when the kernel's arithmetic or its
interface changes: when the same job gives other bits, or when a library built from older sources must be refused."""
LIBRARY = Path(__file__).parent / "libunroll.so"
CELLS = {"vanilla": 0, "leaky rates": 1, "leaky potentials": 2, "lstm": 3, "gru": 4}
ACTIVATIONS = {"tanh": 0, "relu": 1, "identity": 2, "sigmoid": 3, "leaky_relu": 4, "saturated_relu": 5, "softplus": 6}
TENSORS = ("W_xh", "b_x", "W_hh", "b_h", "W_hy", "b_y", "alpha")
ROW_BYTES = 64
"""Rows of hidden units are padded to a multiple of this number of bytes."""


class CTensor(ctypes.Structure):
    """R replicas of one tensor: the address of the first, and the distance to the next in numbers."""

    _fields_ = [("data", c_void_p), ("stride", c_int64)]


class CTensors(ctypes.Structure):
    """The tensors of a layer and its readout."""

    _fields_ = [(name, CTensor) for name in TENSORS]


_SIZES = (
    "cell",
    "activation",
    "is_double",
    "R",
    "T",
    "B",
    "I",
    "H",
    "O",
    "S",
    "x_row",
    "dx_row",
    "dh_row",
    "first_output",
)
_POINTERS = (
    "x",
    "h",
    "c",
    "gates",
    "y",
    "dy",
    "dh",
    "dc",
    "dx",
    "noise",
    "h_first",
    "c_first",
    "dh_first",
    "dc_first",
)


class CProblem(ctypes.Structure):
    """The sizes of a problem and the addresses of its memory."""

    _fields_ = [
        *((name, c_int64) for name in _SIZES),
        *((name, c_void_p) for name in _POINTERS),
        ("weights", CTensors),
        ("gradients", CTensors),
    ]


class CUpdate(ctypes.Structure):
    """One update of R rows of parameters; see `src/kernel.h`."""

    _fields_ = [
        *((name, c_int64) for name in ("rule", "moments", "R", "P", "step")),
        *((name, c_double) for name in ("lr", "beta1", "beta2", "eps", "weight_decay")),
        *((name, c_void_p) for name in ("memory", "gradients", "skipped", "broken")),
    ]


class CNormals(ctypes.Structure):
    """The memory for standard normals, and the factors that multiply them; see `src/kernel.h`."""

    _fields_ = [
        ("keys", c_void_p),
        *((name, c_uint64) for name in ("array", "step")),
        *((name, c_int64) for name in ("R", "rows", "width", "replica", "row")),
        *((name, c_void_p) for name in ("out", "scale")),
    ]


class CNetwork(ctypes.Structure):
    """A network to serve; see `src/kernel.h`."""

    _fields_ = [
        *((name, c_int64) for name in ("cell", "activation", "is_double", "L", "I", "H", "O")),
        ("layers", ctypes.POINTER(CTensors)),
    ]


class CRows(ctypes.Structure):
    """Sequences to run through a served network; see `src/kernel.h`."""

    _fields_ = [
        ("T", c_int64),
        ("N", c_int64),
        *((name, c_void_p) for name in ("running", "x", "start", "end", "y", "hidden")),
        ("only_last", c_int64),
    ]


class CPosted(ctypes.Structure):
    """The body of a plain prediction request; see `src/kernel.h`."""

    _fields_ = [
        ("body", c_char_p),
        *((name, c_int64) for name in ("bytes", "I", "is_double", "most")),
        *((name, c_void_p) for name in ("x", "lengths")),
        *((name, c_int64) for name in ("N", "replica", "inputs_alone")),
    ]


def missing() -> str:
    """Return why there is no native kernel, or an empty string if there is one."""
    if not LIBRARY.exists():
        return "the native kernel was not built: there was no C++ compiler, or it failed"
    try:
        found = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        return f"the native kernel cannot be loaded: {error}"
    structs = {
        "problem": CProblem,
        "update": CUpdate,
        "normals": CNormals,
        "network": CNetwork,
        "rows": CRows,
        "posted": CPosted,
    }
    of_source = (VERSION, *map(ctypes.sizeof, structs.values()))
    built = "an older version"
    if hasattr(found, "unroll_version"):
        found.unroll_version.restype = c_char_p
        version = found.unroll_version().decode()
        if (version, *_bytes(found, structs)) == of_source:
            return ""
        built = str(version)
    return f"the native kernel that was built is {built}, the source {VERSION}: it must be built again"


def _bytes(found: ctypes.CDLL, structs: Iterable[str]) -> Iterator[int]:
    for name in structs:
        size = getattr(found, f"unroll_{name}_bytes", None)
        if size is not None:
            size.restype = c_int64
            yield size()


@cache
def library() -> ctypes.CDLL | None:
    """Return the kernel, or None if there is none that can be used; `missing` says why."""
    if missing():
        return None
    found = ctypes.CDLL(str(LIBRARY))
    found.unroll_instruction_set.restype = c_char_p
    found.unroll_plan.argtypes, found.unroll_plan.restype = [ctypes.POINTER(CProblem), c_int64, c_char_p], c_void_p
    for name in ("unroll_forward", "unroll_backward", "unroll_free"):
        function = getattr(found, name)
        function.argtypes, function.restype = [c_void_p], None
    found.unroll_serve.argtypes, found.unroll_serve.restype = [ctypes.POINTER(CNetwork), c_char_p], c_void_p
    found.unroll_run.argtypes, found.unroll_run.restype = [c_void_p, ctypes.POINTER(CRows)], c_bool
    found.unroll_posted.argtypes, found.unroll_posted.restype = [ctypes.POINTER(CPosted)], c_bool
    found.unroll_unserve.argtypes, found.unroll_unserve.restype = [c_void_p], None
    found.unroll_normals.argtypes = [ctypes.POINTER(CNormals), c_int64, c_char_p]
    found.unroll_squared_error.argtypes = [c_bool, *[c_void_p] * 5, *[c_int64] * 3, c_char_p]
    found.unroll_norms.argtypes = [c_bool, c_void_p, c_int64, c_int64, c_void_p, c_char_p]
    found.unroll_update.argtypes = [ctypes.POINTER(CUpdate), c_char_p]
    for name in ("unroll_normals", "unroll_squared_error", "unroll_norms", "unroll_update"):
        getattr(found, name).restype = c_bool
    found.unroll_running_sum.argtypes, found.unroll_running_sum.restype = [c_void_p] * 2 + [c_int64] * 3, None
    return found


class Plan:
    """One problem, assigned to threads. `forward` and `backward` work on the memory that the problem names.

    The caller must keep that memory alive. Raises OSError if this processor lacks `instruction_set` ("": the best one
    that it has).
    """

    def __init__(self, problem: CProblem, threads: int, instruction_set: str = "") -> None:
        kernel = library()
        if kernel is None:
            raise OSError(missing())
        self._kernel, self._problem = kernel, problem
        self._handle = kernel.unroll_plan(problem, threads, instruction_set.encode())
        if not self._handle:
            raise OSError(f"no memory, or this processor has no {instruction_set}")

    def forward(self) -> None:
        """Compute states and outputs of all time steps. Releases the GIL."""
        self._kernel.unroll_forward(self._handle)

    def backward(self) -> None:
        """Compute the gradients, after `forward` and with dL/dy (and dL/dh) in place. Releases the GIL."""
        self._kernel.unroll_backward(self._handle)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._kernel.unroll_free(self._handle)
