"""Hand-written backpropagation through time, in workspaces that are allocated once. Equations: docs/bptt_in_numpy.py.

Layers (`rnn.bptt.stack`, `rnn.cells.layer`, `rnn.cells.make`) run whole sequences, one above the other; the readout
(`rnn.bptt.readout`) gives outputs and loss; backward runs them in reverse. No graph is recorded. The sum of the
replicas' losses is differentiated, so each row of the gradient belongs to one replica.
`rnn.bptt.encoder_decoder` does the same for two stacks.
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
    """Computes loss and gradients of R networks on batches of one shape.

    Fill `memory`, call `forward` and `backward`, then read `loss_R` and the matrix `gradients_RP`. The engine has the
    dtype and device of the parameters and reads their present values at every call. Without gradients only `forward`
    may be called, and no memory for `backward` is allocated. With `noisy`, `memory` includes the network's noise, which
    the caller fills like the inputs. `engine` says which implementation runs the layers.
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
        """With `carried` a batch may continue where the last one ended (see `Stack.continuing`).

        Only the first `input_steps` have inputs, the others are zeros; None means all steps, or the first step of a
        one_to_many network. `activity` and `omega` are those of `Regularisation`. With `omega` or `profiled` (see
        `lag_profile`) the layers run on the workspace, because gradients of states are accessible only there.
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
        """Memory that the caller fills for every batch."""
        self.x_RTBI, self.target_RTBO = self.memory.x_RTBI, self.memory.target_RTBO
        self.loss_R, self.scale_R = self.readout.loss_R, self.readout.mean.scale_R
        self.weighs = weighted
        """Whether `forward` uses this batch's weights; otherwise `scale_R` and `penalty.share_RTB` keep their
        values."""
        self.penalty = StatePenalty(self.layers, activity, omega, self.memory.weight_RTB)
        self.penalty_R = self.penalty.penalty_R
        """The penalties on states, set by `backward`."""

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
        """Run the layers over steps that the loss does not read.

        `backward` then gives only the gradients of the penalties.
        """
        self.run()
        self.readout.leave_out()

    def backward(self) -> None:
        """Set `penalty_R`, and the gradients of the penalties and of the losses that `forward` computed last.

        Call it once after each `forward`.
        """
        with self.threads():
            self.penalty.start()
            self.readout.backward()
            self.stack.backward(reach=self.penalty.reach)
            self.penalty.finish()
            if self._embedding is not None:
                self._embedding.backward()

    def lag_profile(self) -> Tensor:
        """Return ‖dL/dh[t]‖ over batch and units of the last layer, [R, T], after `backward`.

        It shows how far back gradients reach. With many_to_one the loss is only at t = T, so T - t is the lag. The
        slope distinguishes vanishing from exploding gradients (Bengio, Simard & Frasconi 1994). The engine must be made
        with `profiled`.
        """
        norms_RT: Tensor = torch.linalg.vector_norm(self.stack.state_gradients(), dim=(2, 3))
        return norms_RT

    def threads(self) -> AbstractContextManager[None]:
        """Return a context that must enclose everything between two steps.

        Within it torch computes on one thread, so that its threads leave their cores to the kernel's.
        """
        return torch_alone() if isinstance(self.layers[-1], NativeLayer) else nullcontext()


def embedding_of(
    network: Network,
    weights: dict[str, Tensor],
    gradients: dict[str, Tensor] | None,
    stack: Stack,
    input_steps: int,
) -> Embedding | None:
    """Return the embedding that fills the stack's inputs, or None if the network does not read tokens."""
    if network.vocabulary_size is None:
        return None
    dx_RTBI = None if stack.dx_RTBI is None else stack.dx_RTBI[:, :input_steps]
    gradient = None if gradients is None else gradients["embedding.E"]
    return Embedding(weights["embedding.E"], gradient, stack.x_RTBI[:, :input_steps], dx_RTBI)
