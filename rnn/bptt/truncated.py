"""Truncated backpropagation through time: a sequence is cut into windows, and gradients stay within each window.

The state is carried from window to window. With windows of K steps, dL/dh[t] has only the terms of the losses up to the
end of t's window (Williams & Peng 1990). The gradients of all windows are added up and make one update, so a window of
T steps is full BPTT. The memory for states and their gradients is that of one window. `rnn.bptt.omega` also has only
the pairs of steps within each window.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor

from rnn.bptt import losses
from rnn.bptt.penalties import shares
from rnn.bptt.whole import BPTT
from rnn.cells.facts import LayerEngine
from rnn.data.memory import Memory
from rnn.networks.noise import noise_of
from unroll.contract import MSE, Loss, Network, Noise


class TruncatedBPTT:
    """Backpropagation through time in windows, used like `rnn.bptt.whole.BPTT`.

    `forward` does all the work, because each window's gradients must be computed before its memory is used again.
    """

    def __init__(
        self,
        network: Network,
        parameters_RP: Tensor,
        gradients_RP: Tensor,
        time_steps: int,
        batch_size: int,
        loss: Loss | None = None,
        *,
        window: int,
        weighted: bool = False,
        noisy: bool = False,
        activity: float = 0.0,
        omega: float = 0.0,
        engine: LayerEngine = "auto",
    ) -> None:
        self._loss = loss = loss or MSE()
        R, T, B, O = len(parameters_RP), time_steps, batch_size, network.output_size  # noqa: E741
        zeros = partial(torch.zeros, dtype=parameters_RP.dtype, device=parameters_RP.device)
        self.loss_R, self.penalty_R = zeros(R), zeros(R)
        self._penalised = activity > 0
        self._total_RP, self._gradients_RP = torch.zeros_like(gradients_RP), gradients_RP
        self._last_only = network.architecture == "many_to_one" and not weighted
        self._elements = losses.elements(loss, 1 if self._last_only else T, B, O)
        kinds = noise_of(network) if noisy else Noise()
        input_steps = 1 if network.architecture == "one_to_many" else T
        self.memory = Memory(
            zeros(R, input_steps, B, 1 if network.vocabulary_size else network.input_size),
            zeros(R, T, B, O),
            zeros(R, T, B).fill_(1.0) if weighted else None,
            noise_RTBH=tuple(
                zeros(R, T, B, network.cell.hidden_size) for _ in range(network.num_layers if kinds.recurrent else 0)
            ),
            noise_RTBO=zeros(R, T, B, O) if kinds.output else None,
        )
        self.x_RTBI, self.target_RTBO = self.memory.x_RTBI, self.memory.target_RTBO
        engines: dict[tuple[int, int], BPTT] = {}
        self._windows: list[tuple[BPTT, slice]] = []
        for start in range(0, T, window):
            steps = min(window, T - start)
            inputs = max(0, min(steps, input_steps - start))
            if (steps, inputs) not in engines:
                engines[steps, inputs] = engine_of_window = BPTT(
                    network,
                    parameters_RP,
                    gradients_RP,
                    steps,
                    B,
                    loss,
                    input_steps=inputs,
                    weighted=weighted,
                    noisy=noisy,
                    carried=True,
                    # A window's share of the mean over all steps; with weights each step has its own.
                    activity=activity if weighted else activity * steps / T,
                    omega=omega,
                    engine=engine,
                )
                engine_of_window.weighs = False
                engine_of_window.readout.mean.scale_R.fill_(1.0 / self._elements)
            self._windows.append((engines[steps, inputs], slice(start, start + steps)))
        # A window's last state, kept while its memory is used again.
        self._state = [
            {name: torch.zeros_like(state) for name, state in layer.initial.items()}
            for layer in self._windows[0][0].layers
        ]

    def forward(self) -> None:
        """Run all windows; set `loss_R` and `penalty_R`."""
        self.loss_R.zero_()
        self.penalty_R.zero_()
        self._total_RP.zero_()
        weight_RTB = self.memory.weight_RTB
        scale_R = None if weight_RTB is None else 1.0 / losses.counted(self._loss, weight_RTB, self._elements)
        share_RTB = None if weight_RTB is None else shares(weight_RTB)
        for n, (engine, part) in enumerate(self._windows):
            for whole, memory in zip(self.memory.all(), engine.memory.all(), strict=True):
                memory.copy_(whole[:, part])
            if scale_R is not None:
                engine.readout.mean.scale_R.copy_(scale_R)
            if share_RTB is not None and engine.penalty.share_RTB is not None:
                engine.penalty.share_RTB.copy_(share_RTB[:, part])
            engine.stack.continuing = n > 0
            if n > 0:
                self._set_states(engine)
            unread = self._last_only and n < len(self._windows) - 1
            if unread:
                engine.run_unread()
            else:
                engine.forward()
            self._keep_states(engine)
            if unread and not self._penalised:
                continue
            self.loss_R.add_(engine.loss_R)
            engine.backward()
            self.penalty_R.add_(engine.penalty_R)
            self._total_RP.add_(self._gradients_RP)

    def backward(self) -> None:
        """Set the gradients."""
        self._gradients_RP.copy_(self._total_RP)

    def threads(self) -> AbstractContextManager[None]:
        """See `rnn.bptt.whole.BPTT.threads`."""
        return self._windows[0][0].threads()

    def _keep_states(self, engine: BPTT) -> None:
        for kept, layer in zip(self._state, engine.layers, strict=True):
            for name, state in layer.final.items():
                kept[name].copy_(state)

    def _set_states(self, engine: BPTT) -> None:
        for kept, layer in zip(self._state, engine.layers, strict=True):
            for name, state in kept.items():
                layer.initial[name].copy_(state)
