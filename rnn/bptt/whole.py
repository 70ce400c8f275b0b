"""Backpropagation through time, by hand, in workspaces that are allocated once. Equations: docs/bptt_in_numpy.py.

Layers (`rnn.bptt.stack`, `rnn.cells.layer`, `rnn.cells.make`) run whole sequences, one above the other; the readout
(`rnn.bptt.readout`) gives outputs and loss; backward runs them in reverse. No graph is recorded. The sum of the
replicas' losses is what is differentiated, so each row of the gradient is that replica's own.
`rnn.bptt.encoder_decoder` is the same for two stacks.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from rnn.bptt.embedding import Embedding
from rnn.bptt.penalties import StatePenalty
from rnn.bptt.readout import Readout
from rnn.bptt.stack import Stack, StackSpec, below_prefix
from rnn.cells.facts import LayerEngine
from rnn.cells.native import NativeLayer, torch_alone
from rnn.data.memory import Memory
from rnn.networks import parameters
from rnn.networks.noise import noise_of
from unroll.contract import MSE, Loss, Network


class BPTT:
    """Loss and gradients of R networks on batches of one shape.

    Fill `memory`, call `forward` and `backward`, read `loss_R` and the gradient matrix given. Works
    in the dtype and on the device of the parameters, which are read where they lie at every call. Without gradients
    only `forward` may be called, and no memory for `backward` is held. With `noisy` there is memory for the network's
    noise, to be filled like the inputs. `engine` says which implementation runs the layers.
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
        input_steps: int | None = None,
        weighted: bool = False,
        noisy: bool = False,
        carried: bool = False,
        activity: float = 0.0,
        omega: float = 0.0,
        profiled: bool = False,
        engine: LayerEngine = "auto",
    ) -> None:
        """With `carried` a batch may go on where the last one ended (see `Stack.continuing`).

        Only the first `input_steps` have inputs, the others zeros; None: all, or the first of a one_to_many network.
        `activity` and `omega` are those of `Regularisation`. With `omega` and with `profiled` (see `lag_profile`) the
        workspace runs, where gradients of states can be reached.
        """
        weights = parameters.views(parameters_RP, network)
        gradients = None if gradients_RP is None else parameters.views(gradients_RP, network)
        if input_steps is None:
            input_steps = 1 if network.architecture == "one_to_many" else time_steps
        self.stack = Stack(
            network,
            weights,
            gradients,
            StackSpec(
                network.input_size,
                time_steps,
                batch_size,
                carried=carried,
                noisy=noisy,
                profiled=profiled,
                wants_dx=network.vocabulary_size is not None,
                engine="workspace" if omega or profiled else engine,
            ),
        )
        self.layers = self.stack.layers
        last = self.layers[-1]
        self.readout = Readout(
            loss or MSE(),
            below_prefix("readout.", weights),
            None if gradients is None else below_prefix("readout.", gradients),
            last,
            last_only=network.architecture == "many_to_one" and not weighted,
            weighted=weighted,
            noisy=noisy and noise_of(network).output > 0,
        )
        self._embedding = embedding_of(network, weights, gradients, self.stack, input_steps)
        self.memory = Memory(
            self._embedding.tokens_RTB1 if self._embedding else self.stack.x_RTBI[:, :input_steps],
            self.readout.target_RTBO,
            self.readout.mean.weight_RTB,
            noise_RTBH=self.stack.noise_RTBH,
            noise_RTBO=self.readout.noise_RTBO,
        )
        """What is to be filled for every batch."""
        self.x_RTBI, self.target_RTBO = self.memory.x_RTBI, self.memory.target_RTBO
        self.loss_R, self.scale_R = self.readout.loss_R, self.readout.mean.scale_R
        self.weighs = weighted
        """Whether `forward` takes means over this batch's weights; else `scale_R` and `penalty.share_RTB` stay."""
        self.penalty = StatePenalty(self.layers, activity, omega, self.memory.weight_RTB)
        self.penalty_R = self.penalty.penalty_R
        """The penalties on states, after `backward`."""

    def forward(self) -> None:
        """Run the networks over the batch and set `loss_R`."""
        with self.threads():
            self.run()
            if self.weighs:
                self.readout.mean.weigh()
                self.penalty.share()
            self.readout.forward()

    def run(self) -> None:
        """Run the layers, without readout and loss."""
        if self._embedding is not None:
            self._embedding.forward()
        self.stack.forward()

    def run_unread(self) -> None:
        """Run the layers where the loss reads nothing: `backward` then has the gradients of the penalties alone."""
        self.run()
        self.readout.leave_out()

    def backward(self) -> None:
        """Set `penalty_R` and the gradients of it and of the losses that `forward` has just computed.

        Once after each `forward`.
        """
        with self.threads():
            self.penalty.start()
            self.readout.backward()
            self.stack.backward(reach=self.penalty.reach)
            self.penalty.finish()
            if self._embedding is not None:
                self._embedding.backward()

    def lag_profile(self) -> Tensor:
        """‖dL/dh[t]‖ over batch and units of the last layer, [R, T], after `backward`: how far back gradients reach.

        With many_to_one the loss is at t = T alone, so T - t is the lag; slopes tell vanishing from exploding gradients
        (Bengio, Simard & Frasconi 1994). For an engine made `profiled`.
        """
        norms_RT: Tensor = torch.linalg.vector_norm(self.stack.state_gradients(), dim=(2, 3))
        return norms_RT

    def threads(self) -> AbstractContextManager[None]:
        """What goes on between two steps belongs in here, so that torch's threads leave the kernel's their cores."""
        return torch_alone() if isinstance(self.layers[-1], NativeLayer) else nullcontext()


def embedding_of(
    network: Network,
    weights: dict[str, Tensor],
    gradients: dict[str, Tensor] | None,
    stack: Stack,
    input_steps: int,
) -> Embedding | None:
    """What fills the stack's inputs, where the network reads tokens."""
    if network.vocabulary_size is None:
        return None
    dx_RTBI = None if stack.dx_RTBI is None else stack.dx_RTBI[:, :input_steps]
    gradient = None if gradients is None else gradients["embedding.E"]
    return Embedding(weights["embedding.E"], gradient, stack.x_RTBI[:, :input_steps], dx_RTBI)
