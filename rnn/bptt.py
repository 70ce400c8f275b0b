"""Backpropagation through time, by hand, in workspaces that are allocated once. Equations: `rnn.numpy_page`.

Layers (`rnn.layer`, `rnn.cells`) run whole sequences, one above the other; the readout (`rnn.readout`) gives outputs
and loss; backward runs them in reverse. No graph is recorded. The sum of the replicas' losses is what is
differentiated, so each row of the gradient is that replica's own.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from rnn import noise, parameters
from rnn.cells import make_layer
from rnn.kernels import Engine
from rnn.kernels.layer import NativeLayer, torch_alone
from rnn.layer import Layer, LayerSpec, WorkspaceLayer
from rnn.readout import Readout
from rnn.regularise import StatePenalty
from unroll.contract import MSE, Loss, Network


class BPTT:
    """Loss and gradients of R networks on batches of one shape.

    Fill `x_RTBI` and `target_RTBO`, call `forward` and `backward`, read `loss_R` and the gradient matrix given. Works
    in the dtype and on the device of the parameters, which are read where they lie at every call. Without gradients
    only `forward` may be called, and no memory for `backward` is held. With `noisy` there is memory for the network's
    noise, to be filled like the inputs. `engine` says whether layers run on the native kernel (`rnn.kernels`).
    """

    def __init__(
        self,
        network: Network,
        parameters_RP: Tensor,
        gradients_RP: Tensor | None,
        time_steps: int,
        batch_size: int,
        loss: Loss | None = None,
        *,
        weighted: bool = False,
        noisy: bool = False,
        carried: bool = False,
        activity: float = 0.0,
        omega: float = 0.0,
        profiled: bool = False,
        engine: Engine = "auto",
    ) -> None:
        """With `carried` a batch may go on where the last one ended (see `continuing`).

        `activity` and `omega` are those of `Regularisation`. With `omega` and with `profiled` (see `lag_profile`) the
        workspace runs, where gradients of states can be reached.
        """
        weights = parameters.views(parameters_RP, network)
        gradients = None if gradients_RP is None else parameters.views(gradients_RP, network)
        self.layers: list[Layer] = []
        self.continuing = False
        """Whether `initial` of the layers is what the caller set, rather than the network's h0."""
        self._carried = carried
        self._trainable = parameters.state_names(network.cell) if network.h0 == "trainable" else ()
        for n in range(network.num_layers):
            below = self.layers[-1] if self.layers else None
            spec = LayerSpec(
                input_size=network.cell.hidden_size if below else network.input_size,
                time_steps=time_steps,
                batch_size=batch_size,
                weights=_below(f"layers.{n}.", weights),
                gradients=None if gradients is None else _below(f"layers.{n}.", gradients),
                carried=carried or network.h0 == "trainable",
                noisy=noisy and noise.of(network).recurrent > 0,
                profiled=profiled,
                dx_RTBI=below.dh_RTBH if below and gradients is not None else None,
            )
            self.layers.append(make_layer(network.cell, spec, "workspace" if omega or profiled else engine))
        last = self.layers[-1]
        self.readout = Readout(
            loss or MSE(),
            _below("readout.", weights),
            None if gradients is None else _below("readout.", gradients),
            last.h_RTBH,
            None if gradients is None or isinstance(last, NativeLayer) else last.dh_RTBH,
            last_only=network.architecture == "many_to_one",
            weighted=weighted,
            noisy=noisy and noise.of(network).output > 0,
        )
        if isinstance(last, NativeLayer):
            self.readout.leave_to(last)
        self.x_RTBI, self.target_RTBO = self.layers[0].x_RTBI, self.readout.target_RTBO
        self.filled = [self.x_RTBI, self.target_RTBO]
        """What is to be filled for every batch: inputs, targets, the noise of each layer and of the output."""
        for noise_RTB in (*(layer.noise_RTBA for layer in self.layers), self.readout.noise_RTBO):
            if noise_RTB is not None:
                self.filled.append(noise_RTB)
        self.loss_R = self.readout.loss_R
        self._penalty = StatePenalty(self.layers, activity, omega)
        self.penalty_R = self._penalty.penalty_R
        """The penalties on states, after `backward`."""

    def forward(self) -> None:
        """Run the networks over the batch and set `loss_R`."""
        with self.threads():
            self.run()
            self.readout.forward()

    def run(self) -> None:
        """Run the layers, without readout and loss."""
        below: Layer | None = None
        for layer in self.layers:
            if below is not None:
                layer.x_RTBI.copy_(below.h_RTBH)
            if not self.continuing:
                for name in self._trainable:
                    layer.initial[name].copy_(layer.spec.weights[f"{name}0"].unsqueeze(1))
                if self._carried and not self._trainable:
                    for state in layer.initial.values():
                        state.zero_()
            layer.forward()
            below = layer

    def run_unread(self) -> None:
        """Run the layers where the loss reads nothing: `backward` then has the gradients of the penalties alone."""
        self.run()
        self.readout.leave_out()

    def backward(self) -> None:
        """Set `penalty_R` and the gradients of it and of the losses that `forward` has just computed.

        Once after each `forward`.
        """
        with self.threads():
            self._penalty.start()
            self.readout.backward()
            for layer in reversed(self.layers):
                self._penalty.reach(layer)
                layer.backward()
                for name in self._trainable:
                    gradient = (layer.spec.gradients or {})[f"{name}0"]
                    if self.continuing:
                        gradient.zero_()
                    else:
                        torch.sum(layer.d_initial[name], 1, out=gradient)
            self._penalty.finish()

    def lag_profile(self) -> Tensor:
        """‖dL/dh[t]‖ over batch and units of the last layer, [R, T], after `backward`: how far back gradients reach.

        With many_to_one the loss is at t = T alone, so T - t is the lag; slopes tell vanishing from exploding gradients
        (Bengio, Simard & Frasconi 1994). For an engine made `profiled`.
        """
        last = self.layers[-1]
        assert isinstance(last, WorkspaceLayer)  # noqa: S101 - so chosen in __init__
        norms_RT: Tensor = torch.linalg.vector_norm(last.state_gradients(), dim=(2, 3))
        return norms_RT

    def threads(self) -> AbstractContextManager[None]:
        """What goes on between two steps belongs in here, so that torch's threads leave the kernel's their cores."""
        return torch_alone() if isinstance(self.layers[-1], NativeLayer) else nullcontext()


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names start with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
