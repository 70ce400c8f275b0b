"""Optimisers for all replicas at once, with the rules of torch.optim. They leave diverged replicas unchanged.

Parameters and moments are one tensor [K, R, P] (K = 1 + number of moments), so that copying or restoring a replica is
one operation. If the native kernel trains, it also updates (`rnn.kernels.updates`), in one sweep. Otherwise torch's own
fused updates do it, in their functional form rather than as classes. So we keep the moments ourselves to save and
restore them, a step costs half, and the classes' lazy imports (a second) do not delay the first step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from rnn.kernels.updates import Update
from rnn.training.resume import moment_names
from unroll.contract import Adam, AdamW, Clip, ClipByValue, RMSprop
from unroll.contract import Optimizer as Config


class Optimizer:
    """Updates the parameters [R, P] in place. A replica that rests, or whose update is not finite, does not change.

    `parameters` and `moments` are the memory itself. All arithmetic is row by row, so replicas never mix.
    """

    def __init__(
        self,
        config: Config,
        parameters_RP: npt.NDArray[Any],
        device: torch.device,
        moments: dict[str, npt.NDArray[Any]] | None = None,
        steps_taken: int = 0,
        kept: Sequence[slice | Tensor] = (),
        *,
        native: bool = False,
    ) -> None:
        """`kept` are columns that never change: frozen weights.

        Without it weight decay would shrink them and momentum would move them.
        With `native` the kernel updates, which must have been built; it is float32 on the CPU only.
        """
        names = moment_names(config)
        rows = [parameters_RP] + [np.zeros_like(parameters_RP) if moments is None else moments[name] for name in names]
        self._config = config
        self._kept = [part if isinstance(part, slice) else part.to(device) for part in kept]
        self._memory_KRP = torch.from_numpy(np.stack(rows)).to(device)
        self._native = Update(config, self._memory_KRP, steps_taken) if native else None
        self._before_KRP = torch.empty_like(self._memory_KRP[:0] if native else self._memory_KRP)
        self._count = torch.tensor(float(steps_taken), device=device)
        self.parameters = self._memory_KRP[0]
        self.moments = {name: self._memory_KRP[1 + k] for k, name in enumerate(names)}

    def step(
        self, gradients_RP: Tensor, resting_R: npt.NDArray[np.bool_], lr: float | None = None
    ) -> npt.NDArray[np.bool_]:
        """Update every replica that does not rest, with the configured learning rate or `lr`.

        Return which replicas the update would have left with a number that is not finite. These keep their values from
        before.
        """
        lr = self._config.lr if lr is None else lr
        kept = [(part, self.parameters[:, part].clone()) for part in self._kept]
        if self._native is not None:
            broken_R = self._native(gradients_RP, lr, resting_R)
        else:
            broken_R = self._step(gradients_RP, lr, resting_R)
        for part, values in kept:
            self.parameters[:, part] = values
        return broken_R

    def _step(self, gradients_RP: Tensor, lr: float, resting_R: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Update all rows with torch, then restore the replicas that must not move."""
        self._before_KRP.copy_(self._memory_KRP)
        self._update(gradients_RP, lr)
        if resting_R.any():
            self._restore(resting_R)
        # A sum is not finite if any number in it is not. But it may also overflow, so each replica is then looked at
        # exactly.
        broken_R = np.zeros_like(resting_R)
        if not math.isfinite(float(self._memory_KRP.sum())):
            broken_R = ~torch.isfinite(self._memory_KRP).all(2).all(0).cpu().numpy()
            if broken_R.any():
                self._restore(broken_R)
        return broken_R

    def _update(self, gradients_RP: Tensor, lr: float) -> None:
        config = self._config
        if isinstance(config, Adam | AdamW):
            (adam if isinstance(config, Adam) else adamw)(
                [self.parameters],
                [gradients_RP],
                [self.moments["exp_avg"]],
                [self.moments["exp_avg_sq"]],
                [],
                [self._count],
                fused=True,
                amsgrad=False,
                beta1=config.beta1,
                beta2=config.beta2,
                lr=lr,
                weight_decay=config.weight_decay if isinstance(config, AdamW) else 0.0,
                eps=config.eps,
                maximize=False,
            )
            return
        if isinstance(config, RMSprop):
            rmsprop(
                [self.parameters],
                [gradients_RP],
                [self.moments["square_avg"]],
                [],
                [self.moments["momentum_buffer"]] if config.momentum else [],
                [self._count],
                foreach=False,
                lr=lr,
                alpha=config.alpha,
                eps=config.eps,
                weight_decay=0.0,
                momentum=config.momentum,
                centered=False,
            )
            return
        # With a buffer of zeros, the rule of later steps, v = momentum v + g, gives v = g at the first step, as it
        # should.
        sgd(
            [self.parameters],
            [gradients_RP],
            [self.moments.get("momentum_buffer")],
            fused=True,
            weight_decay=0.0,
            momentum=config.momentum,
            lr=lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )

    def _restore(self, which_R: npt.NDArray[np.bool_]) -> None:
        rows = torch.from_numpy(np.flatnonzero(which_R)).to(self._memory_KRP.device)
        self._memory_KRP[:, rows] = self._before_KRP[:, rows]


def clip(config: Clip, gradients_RP: Tensor, norm_R: Tensor) -> Tensor:
    """Clip each replica's gradient in place, and return the fraction of it that was clipped, [R].

    Clipping by global norm scales the gradient to `max_norm` if its norm is larger (Pascanu, Mikolov & Bengio 2013), so
    the fraction is 0 or 1.
    """
    if isinstance(config, ClipByValue):
        clipped_RP = gradients_RP.abs() > config.max_value
        gradients_RP.clamp_(-config.max_value, config.max_value)
        return clipped_RP.to(norm_R).mean(1)
    gradients_RP.mul_((config.max_norm / norm_R).clamp_(max=1.0).unsqueeze(1))
    return (norm_R > config.max_norm).to(norm_R)
