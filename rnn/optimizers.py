"""Adam and SGD on all replicas at once, through torch's own fused updates, and what a diverged replica needs.

Parameters and moments are one tensor [K, R, P] (K = 1 + number of moments), so that copying or freezing a replica is
one operation. The functional forms of torch.optim are used rather than its classes: the moments stay ours to save and
restore, a step costs half, and none of the classes' lazy imports (a second) stands before the first one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from rnn.state import moment_names
from unroll.contract import SGD, Adam


class Optimizer:
    """Updates the parameters [R, P] in place; a replica that is frozen, or whose update is not finite, stays as it was.

    `parameters` and `moments` are the memory itself. All arithmetic is row by row, so replicas never mix.
    """

    def __init__(
        self,
        config: Adam | SGD,
        parameters_RP: npt.NDArray[Any],
        device: torch.device,
        moments: dict[str, npt.NDArray[Any]] | None = None,
        steps_taken: int = 0,
    ) -> None:
        names = moment_names(config)
        rows = [parameters_RP] + [np.zeros_like(parameters_RP) if moments is None else moments[name] for name in names]
        self._config = config
        self._memory_KRP = torch.from_numpy(np.stack(rows)).to(device)
        self._before_KRP = torch.empty_like(self._memory_KRP)
        self._count = torch.tensor(float(steps_taken), device=device)
        self.parameters = self._memory_KRP[0]
        self.moments = {name: self._memory_KRP[1 + k] for k, name in enumerate(names)}

    def step(self, gradients_RP: Tensor, frozen_R: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """One update of every replica that is not frozen.

        Returns which replicas it would have left with a number that is not finite; those are as they were before.
        """
        self._before_KRP.copy_(self._memory_KRP)
        self._update(gradients_RP)
        if frozen_R.any():
            self._restore(frozen_R)
        # A sum is not finite if any number is not; it may also overflow, hence the exact look at each replica.
        broken_R = np.zeros_like(frozen_R)
        if not math.isfinite(float(self._memory_KRP.sum())):
            broken_R = ~torch.isfinite(self._memory_KRP).all(2).all(0).cpu().numpy()
            if broken_R.any():
                self._restore(broken_R)
        return broken_R

    def _update(self, gradients_RP: Tensor) -> None:
        config = self._config
        if isinstance(config, Adam):
            adam(
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
                lr=config.lr,
                weight_decay=0.0,
                eps=config.eps,
                maximize=False,
            )
            return
        # With a buffer of zeros, the rule of later steps, v = momentum v + g, gives v = g at the first, as it should.
        sgd(
            [self.parameters],
            [gradients_RP],
            [self.moments.get("momentum_buffer")],
            fused=True,
            weight_decay=0.0,
            momentum=config.momentum,
            lr=config.lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )

    def _restore(self, which_R: npt.NDArray[np.bool_]) -> None:
        rows = torch.from_numpy(np.flatnonzero(which_R)).to(self._memory_KRP.device)
        self._memory_KRP[:, rows] = self._before_KRP[:, rows]


def clip_by_global_norm(gradients_RP: Tensor, norm_R: Tensor, max_norm: float) -> None:
    """Scale a replica's gradient to `max_norm` where its norm is larger, in place (Pascanu, Mikolov & Bengio 2013)."""
    gradients_RP.mul_((max_norm / norm_R).clamp_(max=1.0).unsqueeze(1))
