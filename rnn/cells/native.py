"""A recurrent layer that runs on the native kernel, together with its readout if there is one above it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnn.cells.facts import facts
from rnn.cells.layer import Layer, LayerSpec
from rnn.kernels.abi import ACTIVATIONS, CELLS, ROW_BYTES, CProblem, CTensor, Plan
from unroll.contract import Cell


@contextmanager
def torch_alone() -> Iterator[None]:
    """Make torch compute on the caller's thread inside this context.

    After each operation torch's own threads spin for a while on the cores that the kernel's threads need. With two
    cores and small operations between two passes that cost a sixth of the step, and ten times that on a busy machine.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


_BLOCKS = {"leaky rates": 1, "lstm": 4, "gru": 4}
"""How many rows of H pre-activations the kernel keeps, by its names of cells. It keeps none for the other cells."""


class NativeLayer(Layer):
    """A layer on the CPU in float32 or float64.

    It runs on `threads`, or on as many as torch has when the layer is made. Rows of hidden units are padded to 64
    bytes, so the tensors that it gives out are strided views.
    """

    def __init__(self, spec: LayerSpec, cell: Cell, instruction_set: str = "", threads: int = 0) -> None:
        W_xh, about = spec.weights["W_xh"], facts(cell)
        kind = about.native
        if kind is None or W_xh.device.type != "cpu":
            raise ValueError(f"the native kernel has no {cell.type} cell like this one, or not on this device")
        self.spec = spec
        R, T, B, I, H = len(W_xh), spec.time_steps, spec.batch_size, spec.input_size, cell.hidden_size  # noqa: E741
        unit = ROW_BYTES // W_xh.element_size()
        S = -(-H // unit) * unit
        self._threads = threads or torch.get_num_threads()
        self._H, self._potentials, self._instruction_set = H, kind == "leaky potentials", instruction_set
        zeros = partial(torch.zeros, dtype=W_xh.dtype)
        self._zeros = zeros
        self.x_RTBI = zeros(R, T, B, I)
        self._h_RTBS = zeros(R, T, B, S)
        self.h_RTBH = self._h_RTBS[..., :H]
        self._dh_RTBH: Tensor | None = None
        memory: dict[str, Tensor | None] = {"x": self.x_RTBI, "h": self._h_RTBS, "dx": spec.dx_RTBI}
        if kind in ("lstm", "leaky potentials"):
            memory["c"] = zeros(R, T, B, S)
        if kind in _BLOCKS:
            memory["gates"] = zeros(R, T, _BLOCKS[kind], B, S)
        self.noise_RTBA = None
        if spec.noisy:
            memory["noise"] = zeros(R, T, B, S)
            self.noise_RTBA = memory["noise"][..., :H]  # type: ignore[index]
        self.initial, self.d_initial, self.d_states = {}, {}, {}
        if "c" in memory and spec.handed_on and spec.gradients is not None:
            memory["dc"] = dc_RTBS = zeros(R, T, B, S)
            self.d_states["h" if self._potentials else "c"] = dc_RTBS[..., :H]
        for name in about.states:
            first = zeros(R, B, S)
            self.initial[name] = first[..., :H]
            if spec.carried:
                key = "c" if self._potentials else name
                memory[f"{key}_first"] = first
                if spec.gradients is not None:
                    memory[f"d{key}_first"] = d_first = zeros(R, B, S)
                    self.d_initial[name] = d_first[..., :H]
        self._memory = memory
        self._problem = CProblem(
            cell=CELLS[kind],
            activation=ACTIVATIONS[about.activation],
            is_double=W_xh.dtype == torch.float64,
            R=R,
            T=T,
            B=B,
            I=I,
            H=H,
            S=S,
            x_row=I,
            dx_row=I,
            dh_row=H,
        )
        for name in ("W_xh", "b_x", "W_hh", "b_h"):
            if name in spec.weights:
                self._place(name, spec.weights[name], (spec.gradients or {}).get(name))
        self._dt, self._alpha_RH, self._dalpha_RH = 0.0, zeros(R, H), zeros(R, H)
        if about.leak is not None:
            self._dt = about.leak.dt
            self._alpha_RH[:] = about.leak.dt / torch.as_tensor(about.leak.tau, dtype=W_xh.dtype)
            self._place("alpha", self._alpha_RH, self._dalpha_RH if "tau" in (spec.gradients or {}) else None)
        self._plan: Plan | None = None

    def _place(self, name: str, weight: Tensor, gradient: Tensor | None) -> None:
        for tensors, tensor in ((self._problem.weights, weight), (self._problem.gradients, gradient)):
            if tensor is not None:
                assert tensor[0].is_contiguous()  # noqa: S101 - rows of the flat matrix
                setattr(tensors, name, CTensor(tensor.data_ptr(), tensor.stride(0)))

    @property
    def dh_RTBH(self) -> Tensor:  # type: ignore[override]  # noqa: N802
        """See `Layer`. It is made when first asked for, because a layer with a readout of its own may not need it."""
        if self._dh_RTBH is None:
            self._dh_RTBH = self._memory["dh"] = self._zeros(*self.h_RTBH.shape)
            self._plan = None
        return self._dh_RTBH

    @property
    def states(self) -> dict[str, Tensor]:
        """State h, or v for potentials, and c of an LSTM, after each step."""
        states = {"h": self.h_RTBH}
        if "c" in self._memory:
            c_RTBS: Any = self._memory["c"]
            states["h" if self._potentials else "c"] = c_RTBS[..., : self._H]
        return states

    @property
    def reads_out(self) -> bool:
        """Whether the layer also computes its own readout (see `read_out`)."""
        return "y" in self._memory

    def read_out(self, weights: dict[str, Tensor], gradients: dict[str, Tensor] | None, y_RTBO: Tensor) -> None:
        """Make this layer compute the readout of h too.

        `forward` then writes y; `backward` reads dL/dy from the same memory and writes the readout's gradients. If
        `y_RTBO` has fewer steps than the layer, it holds the last ones.
        """
        self._read_with = weights, gradients  # the kernel keeps only their addresses
        for name, weight in weights.items():
            self._place(name, weight, (gradients or {}).get(name))
        self._memory["y"] = self._memory["dy"] = y_RTBO
        self._problem.O = y_RTBO.shape[-1]
        self._problem.first_output = self.h_RTBH.shape[1] - y_RTBO.shape[1]
        self._plan = None

    def _planned(self) -> Plan:
        if self._plan is None:
            for name, tensor in self._memory.items():
                if tensor is not None:
                    assert tensor.is_contiguous()  # noqa: S101 - the kernel computes addresses
                    setattr(self._problem, name, tensor.data_ptr())
            self._plan = Plan(self._problem, self._threads, self._instruction_set)
        return self._plan

    def forward(self) -> None:
        """See `Layer`."""
        if "tau" in self.spec.weights:
            torch.div(self._dt, self.spec.weights["tau"].expand_as(self._alpha_RH), out=self._alpha_RH)
        self._planned().forward()

    def backward(self) -> None:
        """See `Layer`."""
        self._planned().backward()
        if self.spec.gradients and "tau" in self.spec.gradients:
            self._tau_gradient(self.spec.weights["tau"], self.spec.gradients["tau"])

    def _tau_gradient(self, tau: Tensor, gradient: Tensor) -> None:
        """Write dL/dtau = -alpha/tau dL/dalpha, of each unit or of all together."""
        dtau_RH = self._dalpha_RH / -tau
        if not self._potentials:  # for potentials the kernel already gives alpha dL/dalpha
            dtau_RH.mul_(self._alpha_RH)
        gradient.copy_(dtau_RH.sum(1, keepdim=True) if gradient.shape[1] == 1 else dtau_RH)
