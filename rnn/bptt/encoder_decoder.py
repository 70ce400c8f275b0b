"""Sequence to sequence: an encoder reads, and a decoder writes from its last state (Sutskever, Vinyals & Le 2014).

    s[0] = the encoder's state (h, and c of an LSTM) after each sequence's last input, layer by layer
    s[t] = cell(s[t-1], u[t]),   y[t] = W_hy h[t] + b_y,   u[1] = 0
    u[t] = target[t-1] where the decoder is forced, g(y[t-1]) where it runs free        (Williams & Zipser 1989)

g is the network's `feedback`, which gives y the units of the targets. Gradients flow through it:

    dL/dy[t] in full = the loss's own + g'(y[t])ᵀ dL/du[t+1] where step t + 1 is free

If the decoder is forced at every step, its inputs are known and it runs as one stack over all steps (`Forced`).
Otherwise it runs step by step (`ClosedLoop`): each step is a stack with its own memory, so that every cell's forward
and backward are used unchanged.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor

from rnn.bptt.closed_loop import ClosedLoop
from rnn.bptt.penalties import StatePenalty
from rnn.bptt.readout import Readout
from rnn.bptt.stack import Handover, Stack, StackSpec, below_prefix
from rnn.bptt.whole import embedding_of
from rnn.cells.facts import LayerEngine
from rnn.cells.native import NativeLayer, torch_alone
from rnn.data.memory import Memory
from rnn.networks import parameters
from rnn.networks.noise import noise_of
from unroll.contract import MSE, Loss, Network, Noise

DECODER = "decoder."


class EncoderDecoder:
    """Backpropagation through an encoder and its decoder, used like `rnn.bptt.whole.BPTT`.

    With `mixed` the decoder reads targets where `memory.forced_RTB` is 1. Otherwise it reads them always (`forced`) or
    never.
    """

    def __init__(
        self,
        network: Network,
        parameters_RP: Tensor,
        gradients_RP: Tensor | None,
        input_steps: int,
        output_steps: int,
        batch_size: int,
        loss: Loss | None = None,
        *,
        forced: bool = True,
        mixed: bool = False,
        ragged: bool = False,
        weighted: bool = False,
        noisy: bool = False,
        activity: float = 0.0,
        omega: float = 0.0,
        profiled: bool = False,
        engine: LayerEngine = "auto",
    ) -> None:
        """With `ragged`, `memory` contains the number of valid input steps of each sequence.

        `activity`, `omega` and `profiled` mean the same as in `BPTT`. `omega` requires a decoder that is always forced;
        raises ValueError otherwise.
        """
        if omega and (mixed or not forced):
            raise ValueError("there is no Ω of a decoder that reads its own outputs: see rnn.bptt.omega")
        weights = parameters.views(parameters_RP, network)
        gradients = None if gradients_RP is None else parameters.views(gradients_RP, network)
        training = gradients is not None
        R, B, O = len(parameters_RP), batch_size, network.output_size  # noqa: E741
        engine = "workspace" if omega or profiled else engine
        spec = partial(StackSpec, batch_size=B, noisy=noisy, handed_on=True, profiled=profiled, engine=engine)
        encoder = spec(network.input_size, input_steps, wants_dx=network.vocabulary_size is not None)
        self._encoder = Stack(network, weights, gradients, encoder)
        self._embedding = embedding_of(network, weights, gradients, self._encoder, input_steps)
        length_RB = parameters_RP.new_full((R, B), input_steps, dtype=torch.int64) if ragged else None
        self._read_RTB = parameters_RP.new_zeros(R, input_steps, B) if ragged and activity else None
        self._step_T1 = torch.arange(input_steps, device=parameters_RP.device).unsqueeze(1)
        self._penalty = StatePenalty(self._encoder.layers, activity, omega, self._read_RTB)
        self._decoder: Forced | ClosedLoop
        kinds = noise_of(network) if noisy else Noise()
        if forced and not mixed:
            self._decoder = Forced(
                network,
                weights,
                gradients,
                spec(O, output_steps, prefix=DECODER, carried=True),
                loss or MSE(),
                weighted=weighted,
                activity=activity,
                omega=omega,
            )
        else:
            self._decoder = ClosedLoop(
                network,
                weights,
                gradients,
                spec(O, 1, prefix=DECODER, carried=True, wants_dx=training),
                loss or MSE(),
                steps=output_steps,
                weighted=weighted,
                mixed=mixed,
                activity=activity,
            )
        self._handover = Handover(self._encoder, self._decoder.first, length_RB)
        decoder = self._decoder
        self.memory = Memory(
            self._embedding.tokens_RTB1 if self._embedding else self._encoder.x_RTBI,
            decoder.mean.target_RTBO,
            decoder.mean.weight_RTB,
            length_RB,
            decoder.forced_RTB,
            self._encoder.noise_RTBH + (decoder.noise_RTBH if kinds.recurrent else ()),
            decoder.noise_RTBO if kinds.output else None,
        )
        """Memory that the caller fills for every batch."""
        self.x_RTBI, self.target_RTBO = self.memory.x_RTBI, self.memory.target_RTBO
        self.loss_R, self.scale_R = decoder.mean.loss_R, decoder.mean.scale_R
        self.penalty_R = torch.zeros_like(self.loss_R)
        """The penalties on states, set by `backward`."""

    def forward(self) -> None:
        """Run the networks over the batch and set `loss_R`."""
        with self.threads():
            if self._embedding is not None:
                self._embedding.forward()
            self._encoder.forward()
            self._handover.hand_on()
            if self._decoder.mean.weight_RTB is not None:
                self._decoder.mean.weigh()
                self._decoder.penalty.share()
            if self._read_RTB is not None and self.memory.length_RB is not None:
                self._read_RTB.copy_(self._step_T1 < self.memory.length_RB.unsqueeze(1))
                self._penalty.share()
            self._decoder.forward()

    def backward(self) -> None:
        """Set `penalty_R`, and the gradients of the penalties and of the losses that `forward` computed last.

        Call it once after each `forward`.
        """
        with self.threads():
            self._decoder.backward()
            self._penalty.start()
            self._encoder.layers[-1].dh_RTBH.zero_()
            self._encoder.backward(reach=self._penalty.reach, handover=self._handover)
            self._penalty.finish()
            if self._penalty.penalises:
                torch.add(self._penalty.penalty_R, self._decoder.penalty.penalty_R, out=self.penalty_R)
            if self._embedding is not None:
                self._embedding.backward()

    def lag_profile(self) -> Tensor:
        """Return ‖dL/dh[t]‖ over batch and units, [R, T_in + T_out], after `backward`.

        The steps are those of the encoder's last layer, then those of the decoder's last layer. The engine must be made
        with `profiled`. See `rnn.bptt.whole.BPTT.lag_profile`.
        """
        both = self._handover.state_gradients(), self._decoder.state_gradients()
        norms_RT: Tensor = torch.linalg.vector_norm(torch.cat(both, 1), dim=(2, 3))
        return norms_RT

    def threads(self) -> AbstractContextManager[None]:
        """See `rnn.bptt.whole.BPTT.threads`."""
        return torch_alone() if isinstance(self._encoder.layers[-1], NativeLayer) else nullcontext()


class Forced:
    """A decoder that reads the last target at every step, so that all its inputs are known beforehand."""

    forced_RTB = None

    def __init__(
        self,
        network: Network,
        weights: dict[str, Tensor],
        gradients: dict[str, Tensor] | None,
        spec: StackSpec,
        loss: Loss,
        *,
        weighted: bool,
        activity: float,
        omega: float,
    ) -> None:
        self.first = self._stack = Stack(network, weights, gradients, spec)
        self._stack.continuing = True
        last = self._stack.layers[-1]
        self._readout = Readout(
            loss,
            below_prefix("readout.", weights),
            None if gradients is None else below_prefix("readout.", gradients),
            last,
            weighted=weighted,
            noisy=spec.noisy and noise_of(network).output > 0,
        )
        self.mean = self._readout.mean
        self.penalty = StatePenalty(self._stack.layers, activity, omega, self.mean.weight_RTB)
        self.noise_RTBH, self.noise_RTBO = self._stack.noise_RTBH, self._readout.noise_RTBO

    def forward(self) -> None:
        """Run the decoder from the initial states that were handed on, and set `mean.loss_R`."""
        self._stack.x_RTBI[:, 1:].copy_(self.mean.target_RTBO[:, :-1])
        self._stack.forward()
        self._readout.forward()

    def backward(self) -> None:
        """Set the gradients, d_initial of the stack's layers, and `penalty.penalty_R`."""
        self.penalty.start()
        self._readout.backward()
        self._stack.backward(reach=self.penalty.reach)
        self.penalty.finish()

    def state_gradients(self) -> Tensor:
        """Return dL/dh[t] of the last layer, [R, T, B, H], after `backward` of a stack made with `profiled`."""
        return self._stack.state_gradients()
