"""Runs a decoder that reads its own outputs, step by step. Equations: `rnn.bptt.encoder_decoder`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rnn.bptt.losses import MeanLoss
from rnn.bptt.penalties import StatePenalty
from rnn.bptt.stack import Handover, Stack, StackSpec
from rnn.networks.noise import noise_of
from unroll.contract import Feedback, Loss, Network, Noise


class ClosedLoop:
    """A decoder with one stack for each step, because every step needs its own memory for the backward pass.

    Without gradients a single stack serves all steps.
    """

    def __init__(
        self,
        network: Network,
        weights: dict[str, Tensor],
        gradients: dict[str, Tensor] | None,
        spec: StackSpec,
        loss: Loss,
        *,
        steps: int,
        weighted: bool,
        mixed: bool,
        activity: float,
    ) -> None:
        """`spec` describes one step. With `mixed`, `forced_RTB` says where the decoder reads the last target."""
        W_hy = weights["readout.W_hy"]
        R, O, H = W_hy.shape  # noqa: E741
        self._T, B = steps, spec.batch_size
        if gradients is None:
            self._stacks = [Stack(network, weights, None, spec)] * steps
        else:
            self._stacks = [Stack(network, weights, gradients, spec) for _ in range(steps)]
        self.first = self._stacks[0]
        for stack in self._stacks:
            stack.continuing = True
        self._handovers = [Handover(a, b) for a, b in zip(self._stacks, self._stacks[1:], strict=False)]
        self._feedback: Feedback = network.feedback
        self._W_hy, self._b_y = W_hy, weights["readout.b_y"].unsqueeze(1)
        self._y_RTBO = W_hy.new_zeros(R, steps, B, O)
        self._dy_RTBO = torch.zeros_like(self._y_RTBO)
        self.mean = MeanLoss(loss, self._y_RTBO, weighted=weighted)
        # A step's share of the mean over all steps; with weights each step has its own.
        share = activity if weighted else activity / steps
        self.penalty = StatePenalty(self.first.layers, share, weight_RTB=self.mean.weight_RTB)
        self.forced_RTB = W_hy.new_zeros(R, steps, B) if mixed else None
        kinds = noise_of(network) if spec.noisy else Noise()
        layers = network.num_layers if kinds.recurrent else 0
        self.noise_RTBH = tuple(W_hy.new_zeros(R, steps, B, H) for _ in range(layers))
        self.noise_RTBO = W_hy.new_zeros(R, steps, B, O) if kinds.output else None
        self._gradients = gradients
        if gradients is not None:
            self._h_RTBH = W_hy.new_zeros(R, steps, B, H)
            self._own = [gradients[name] for name in gradients if name.startswith(spec.prefix)]
            self._total = [torch.zeros_like(gradient) for gradient in self._own]

    def forward(self) -> None:
        """Run the decoder from the initial states that were handed on, and set `mean.loss_R`."""
        for t, stack in enumerate(self._stacks):
            if t > 0:
                self._handovers[t - 1].hand_on()
            x_RBO = stack.x_RTBI[:, 0]
            if t == 0:
                x_RBO.zero_()
            else:
                x_RBO.copy_(prediction(self._feedback, self._y_RTBO[:, t - 1]))
                if self.forced_RTB is not None:
                    forced_RB1 = self.forced_RTB[:, t].unsqueeze(-1) > 0
                    x_RBO.copy_(torch.where(forced_RB1, self.mean.target_RTBO[:, t - 1], x_RBO))
            for source_RTBH, layer in zip(self.noise_RTBH, stack.layers, strict=False):
                assert layer.noise_RTBA is not None  # noqa: S101 - where there is noise each layer has memory for it
                layer.noise_RTBA.copy_(source_RTBH[:, t : t + 1])
            stack.forward()
            h_RBH = stack.layers[-1].h_RTBH[:, 0]
            if self._gradients is not None:
                self._h_RTBH[:, t].copy_(h_RBH)
            y_RBO = torch.baddbmm(self._b_y, h_RBH, self._W_hy.mT)
            if self.noise_RTBO is not None:
                y_RBO.add_(self.noise_RTBO[:, t])
            self._y_RTBO[:, t].copy_(y_RBO)
        self._dy_RTBO.copy_(self._y_RTBO)
        self.mean.derive_in_place(self._dy_RTBO)

    def backward(self) -> None:
        """Set the gradients, d_initial of the first stack's layers, and `penalty.penalty_R`."""
        self.penalty.start()
        dy_RTBO = self._dy_RTBO.mul_(self.mean.scale_R.view(-1, 1, 1, 1))
        for total in self._total:
            total.zero_()
        for t in range(self._T - 1, -1, -1):
            stack = self._stacks[t]
            if t < self._T - 1:
                self._to_output(t, dy_RTBO[:, t])
            last = stack.layers[-1]
            last.dh_RTBH[:, 0].copy_(torch.bmm(dy_RTBO[:, t], self._W_hy))
            stack.backward(
                reach=partial(self.penalty.reach, steps=slice(t, t + 1)),
                handover=self._handovers[t] if t < self._T - 1 else None,
            )
            for total, gradient in zip(self._total, self._own, strict=True):
                total.add_(gradient)
        for total, gradient in zip(self._total, self._own, strict=True):
            gradient.copy_(total)
        assert self._gradients is not None  # noqa: S101 - made with gradients
        R, T, B, O = dy_RTBO.shape  # noqa: E741
        dy_RNO = dy_RTBO.view(R, T * B, O)
        self._gradients["readout.W_hy"].copy_(torch.bmm(dy_RNO.mT, self._h_RTBH.view(R, T * B, -1)))
        self._gradients["readout.b_y"].copy_(dy_RNO.sum(1))

    def state_gradients(self) -> Tensor:
        """Return dL/dh[t] of the last layer, [R, T, B, H], after `backward` of stacks made with `profiled`."""
        handed_on = [handover.state_gradients() for handover in self._handovers]
        return torch.cat([*handed_on, self._stacks[-1].state_gradients()], 1)

    def _to_output(self, t: int, dy_RBO: Tensor) -> None:
        """Add to dL/dy[t] the gradient that comes through the next step's input, where that input is the output."""
        du_RTBO = self._stacks[t + 1].dx_RTBI
        assert du_RTBO is not None  # noqa: S101 - asked for
        du_RBO = du_RTBO[:, 0]
        if self.forced_RTB is not None:
            du_RBO = du_RBO.masked_fill(self.forced_RTB[:, t + 1].unsqueeze(-1) > 0, 0.0)
        dy_RBO.add_(pulled_back(self._feedback, self._y_RTBO[:, t], du_RBO))


def prediction(g: Feedback, y: Tensor) -> Tensor:
    """Return g(y), which has the units of the targets."""
    calls: dict[Feedback, Callable[[Tensor], Tensor]] = {
        "softmax": lambda y: y.softmax(-1),
        "sigmoid": torch.sigmoid,
        "exp": torch.exp,
    }
    return calls[g](y) if g in calls else y


def pulled_back(g: Feedback, y: Tensor, d: Tensor) -> Tensor:
    """Return g'(y)ᵀ d."""
    if g == "identity":
        return d
    p = prediction(g, y)
    if g == "softmax":
        return p * (d - (p * d).sum(-1, keepdim=True))
    return d * (p - p * p if g == "sigmoid" else p)
