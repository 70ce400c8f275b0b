"""Runs the layers and the readout of one replica on the native kernel (rnn/kernels/src/serve.h), for serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rnn.cells.facts import facts
from rnn.kernels.abi import ACTIVATIONS, CELLS, CNetwork, CRows, CTensor, CTensors, library, missing
from rnn.serving.stacks import Run, States

Array = npt.NDArray[Any]


class NativeStack:
    """A stack whose weights are packed once. Safe to use from several threads; the kernel releases the GIL."""

    def __init__(self, cell: Any, layers: list[dict[str, Array]], readout: tuple[Array, Array]) -> None:
        """Raises OSError if there is no kernel or no memory."""
        about = facts(cell)
        if about.native is None:
            raise ValueError(f"the kernel has no {cell.type} cell")
        kernel = library()
        if kernel is None:
            raise OSError(missing())
        W_hy, b_y = (np.ascontiguousarray(tensor) for tensor in readout)
        self._dtype = b_y.dtype
        self._O, self._H = W_hy.shape
        self._L = len(layers)
        self._names = list(about.states)
        self._start = self._own_start(layers)
        held: list[Array] = []

        def tensor(array: Any) -> CTensor:
            held.append(np.ascontiguousarray(array, self._dtype))
            return CTensor(held[-1].ctypes.data, 0)

        of_layers = (CTensors * len(layers))()
        for packed, weights in zip(of_layers, layers, strict=True):
            for name in ("W_xh", "b_x", "W_hh", "b_h"):
                if name in weights:
                    setattr(packed, name, tensor(weights[name]))
            if about.leak is not None:
                tau = weights.get("tau", np.asarray(about.leak.tau))
                packed.alpha = tensor(np.broadcast_to((about.leak.dt / tau).astype(self._dtype), self._H))
        of_layers[-1].W_hy, of_layers[-1].b_y = tensor(W_hy), tensor(b_y)
        network = CNetwork(
            cell=CELLS[about.native],
            activation=ACTIVATIONS[about.activation],
            is_double=self._dtype == np.float64,
            L=self._L,
            I=layers[0]["W_xh"].shape[1],
            H=self._H,
            O=self._O,
            layers=of_layers,
        )
        self._kernel = kernel
        self._handle = kernel.unroll_serve(network, b"")
        if not self._handle:
            raise OSError("no memory for the network's weights")

    def _own_start(self, layers: list[dict[str, Array]]) -> Array | None:
        """Return the network's own h0, [L, states, 1, H]; None if it is zero."""
        if not any(f"{name}0" in layer for layer in layers for name in self._names):
            return None
        zeros = np.zeros(self._H, self._dtype)
        return np.array([[layer.get(f"{name}0", zeros) for name in self._names] for layer in layers])[:, :, None]

    def run(
        self,
        x_TNI: Array,
        lengths: Sequence[int],
        start: States | None,
        *,
        outputs: Literal["all", "last", "none"] = "all",
        hidden: bool = False,
    ) -> Run:
        """See `Stack`. Raises MemoryError."""
        T, N, _ = x_TNI.shape
        x = np.ascontiguousarray(x_TNI, self._dtype)
        begin: Array | None = None
        if start is not None:
            begin = np.array([[layer[name] for name in self._names] for layer in start], self._dtype)
        elif self._start is not None:
            begin = np.repeat(self._start, N, 2)
        running = N - np.searchsorted(np.asarray(lengths)[::-1], np.arange(T), "right")
        steps = {"all": T, "last": 1, "none": 0}[outputs]
        y = np.empty((steps, N, self._O), self._dtype)
        kept = np.empty((T if hidden else 0, N, self._H), self._dtype)
        end = np.empty((self._L, len(self._names), N, self._H), self._dtype)
        done = self._kernel.unroll_run(
            self._handle,
            CRows(
                T=T,
                N=N,
                running=running.ctypes.data,
                x=x.ctypes.data,
                start=None if begin is None else begin.ctypes.data,
                end=end.ctypes.data,
                y=y.ctypes.data if steps else None,
                hidden=kept.ctypes.data if hidden else None,
                only_last=outputs == "last",
            ),
        )
        if not done:
            raise MemoryError
        return Run(y, kept, [dict(zip(self._names, layer, strict=True)) for layer in end])

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._kernel.unroll_unserve(self._handle)
