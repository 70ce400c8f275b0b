"""Every architecture with every cell and engine under every constraint, against the equations."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from rnn.bptt.constraints import Constraints
from rnn.bptt.encoder_decoder import EncoderDecoder
from rnn.bptt.whole import BPTT
from rnn.cells.facts import facts
from rnn.networks import parameters
from rnn.reference import equations
from tests.oracles.cases import COMPOSITE, covers, distance, every_cell, every_constraint, point, steps_from
from unroll.contract import BCE, MSE, CrossEntropy, Network, PoissonNLL

H, B, IN, V, OUT = 3, 3, 2, 4, 2
LENGTHS = [4, 1, 3]


SQUARES = MSE()


@dataclass(frozen=True)
class Case:
    """Steps of inputs and outputs, and how a decoder is fed."""

    architecture: str
    inputs: int
    outputs: int
    loss: Any = SQUARES
    feedback: str = "identity"
    forced: str = "always"
    ragged: bool = False
    tokens: bool = False


CASES: dict[str, Case] = {
    "one-to-one": Case("one_to_one", 1, 1),
    "one-to-many": Case("one_to_many", 1, 4),
    "one-to-many-tokens": Case("one_to_many", 1, 4, tokens=True),
    "many-to-one-tokens": Case("many_to_one", 4, 4, tokens=True),
    "many-to-one-ragged": Case("many_to_one", 4, 4, ragged=True),
    "many-to-many-ragged-tokens": Case("many_to_many", 4, 4, ragged=True, tokens=True),
    "encoder-decoder-forced": Case("encoder_decoder", 3, 4),
    "encoder-decoder-free": Case("encoder_decoder", 3, 4, forced="never"),
    "encoder-decoder-mixed": Case("encoder_decoder", 3, 4, forced="some"),
    "encoder-decoder-ragged-tokens": Case("encoder_decoder", 4, 3, forced="some", ragged=True, tokens=True),
    "encoder-decoder-softmax": Case("encoder_decoder", 2, 3, CrossEntropy(), "softmax", "some"),
    "encoder-decoder-sigmoid": Case("encoder_decoder", 2, 3, BCE(), "sigmoid", "never"),
    "encoder-decoder-exp": Case("encoder_decoder", 2, 3, PoissonNLL(), "exp", "never"),
}
CELLS, CONSTRAINTS = every_cell(H), every_constraint(H)
# The plain form of each architecture but those of `test_matrix`; a decoder has three ways to be fed.
PLAIN = (
    "one-to-one",
    "one-to-many",
    "encoder-decoder-forced",
    "encoder-decoder-free",
    "encoder-decoder-mixed",
)
EVERY_CASE = ("free", COMPOSITE)


def makes_sense(cell: str, constraint: str, name: str) -> bool:
    """A feed-forward cell has no W_hh to constrain, and remembers nothing."""
    remembers = CASES[name].architecture in {"one_to_many", "encoder_decoder"}
    return cell != "feedforward" or (constraint == "free" and not remembers)


ENGINES = ("workspace", "native")
RUNS = [
    (cell, constraint, name, engine, hidden)
    for hidden, constraints in ((H, CONSTRAINTS), (16, EVERY_CASE), (20, EVERY_CASE), (33, EVERY_CASE))
    for cell, constraint, name, engine in itertools.product(CELLS, constraints, CASES, ENGINES)
    if makes_sense(cell, constraint, name)
    and (engine == "workspace" or (facts(CELLS[cell]).native is not None))
    # Wide layers are for the kernel's whole vectors and half ones.
    and (name in PLAIN or (hidden == H and constraint in EVERY_CASE))
    and (engine == "native" or hidden == H)
]


def covers_architectures(case: dict[str, Any]) -> bool:
    """Constrained ones and wide ones as decoders, which count their connections on from those of the encoder."""
    decodes = case["name"] in {"encoder-decoder-forced", "encoder-decoder-mixed"}
    return covers(case, usual=decodes) if case["hidden"] == H else case["constraint"] == "free" and decodes


def network(cell: str, constraint: str, case: Case, hidden: int = H, **fields: Any) -> Network:
    return Network.model_validate(
        {
            "cell": every_cell(hidden)[cell],
            "input_size": IN,
            "output_size": OUT,
            "num_layers": 2,
            "h0": "zeros" if cell == "feedforward" else "trainable",
            "architecture": case.architecture,
            "feedback": case.feedback,
            "vocabulary_size": V if case.tokens else None,
            "connectivity": every_constraint(hidden)[constraint],
        }
        | fields
    )


@cache
def batch(name: str) -> dict[str, torch.Tensor]:
    """Inputs, targets in the units of the loss, lengths, weights, and where the decoder is forced."""
    case, replicas, generator = CASES[name], 2, torch.Generator().manual_seed(1)
    x = torch.randn(replicas, case.inputs, B, IN, generator=generator, dtype=torch.float64)
    if case.tokens:
        x = torch.randint(V, (replicas, case.inputs, B, 1), generator=generator).double()
    target = torch.randn(replicas, case.outputs, B, OUT, generator=generator, dtype=torch.float64)
    if case.loss.type != "mse":
        target = target.softmax(-1)
    weight = torch.ones(replicas, case.outputs, B, dtype=torch.float64)
    if case.ragged and case.architecture != "encoder_decoder":
        for b, length in enumerate(LENGTHS):
            weight[:, length:, b] = 0.0
            if case.architecture == "many_to_one":
                weight[:, : length - 1, b] = 0.0
    forced = torch.rand(replicas, case.outputs, B, generator=generator) < 0.5
    if case.forced != "some":
        forced.fill_(case.forced == "always")
    return {"x": x, "target": target, "weight": weight, "forced": forced}


def cost(xp: Any, net: Network, name: str, raw: dict[str, Any], r: int, given: dict[str, Any]) -> Any:
    """Replica r's loss, from its raw tensors."""
    case = CASES[name]
    x, target, weight, forced = (given[key][r] for key in ("x", "target", "weight", "forced"))
    lengths = xp.asarray(LENGTHS) if case.ragged else None
    more = {"target": target, "forced": forced, "feedback": case.feedback} if "decoder" in case.architecture else {}
    tensors = equations.used(xp, net, raw, r)
    y = equations.outputs(xp, net, tensors, x, lengths=lengths, steps=case.outputs, **more)
    if case.architecture == "many_to_one":
        if case.ragged:
            target = xp.stack([target[length - 1, b] for b, length in enumerate(LENGTHS)])[None]
        return equations.cost(xp, case.loss, y, target[-1:])
    return equations.cost(xp, case.loss, y, target, weight)


def replica(flat_RP: Any, net: Network, r: int) -> dict[str, Any]:
    return {name: tensor[r] for name, tensor in parameters.views(flat_RP, net).items()}


@lru_cache(maxsize=1)
def expected(
    cell: str, constraint: str, name: str, hidden: int
) -> tuple[Network, torch.Tensor, list[float], torch.Tensor]:
    """A network of two replicas, its raw parameters, NumPy's losses and autograd's gradients."""
    net = network(cell, constraint, CASES[name], hidden)
    raw_RP = point(net, 2)
    given = batch(name)
    arrays = {key: tensor.numpy() for key, tensor in given.items()}
    losses = [float(cost(np, net, name, replica(raw_RP.numpy(), net, r), r, arrays)) for r in range(2)]
    leaf = raw_RP.clone().requires_grad_()
    torch.stack([cost(torch, net, name, replica(leaf, net, r), r, given) for r in range(2)]).sum().backward()
    assert leaf.grad is not None
    return net, raw_RP, losses, leaf.grad


def computed(
    net: Network, name: str, raw_RP: torch.Tensor, engine: Any, first: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and raw gradients after one batch, that of the replicas from `first` on; one before it must not matter."""
    case = CASES[name]
    given = {key: tensor[first : first + len(raw_RP)] for key, tensor in batch(name).items()}
    constraints, gradients_RP = Constraints(net, raw_RP), torch.full_like(raw_RP, 99.0)
    flat = constraints.used, gradients_RP
    made: Any
    if case.architecture == "encoder_decoder":
        how = {"forced": case.forced == "always", "mixed": case.forced == "some", "ragged": case.ragged}
        made = EncoderDecoder(net, *flat, case.inputs, case.outputs, B, case.loss, **how, engine=engine)
    else:
        made = BPTT(net, *flat, case.outputs, B, case.loss, weighted=case.ragged, engine=engine)
    memory = made.memory
    for shift in (1, 0):
        memory.x_RTBI.copy_(given["x"].roll(shift, 2))
        memory.target_RTBO.copy_(given["target"].roll(shift, 2))
        if memory.weight_RTB is not None:
            memory.weight_RTB.copy_(given["weight"])
        if memory.length_RB is not None:
            memory.length_RB.copy_(torch.tensor(LENGTHS))
        if memory.forced_RTB is not None:
            memory.forced_RTB.copy_(given["forced"])
        made.forward()
        made.backward()
    constraints.pull_back(gradients_RP)
    return made.loss_R, gradients_RP


@pytest.mark.product(("cell", "constraint", "name", "engine", "hidden"), RUNS, covers=covers_architectures)
def test_losses_are_those_of_numpy_and_gradients_those_of_autograd_in_both_precisions(
    cell: str, constraint: str, name: str, engine: str, hidden: int
):
    """And the first replica of two has those of the network alone; the last one too, if its connections are its own."""
    net, raw_RP, losses, gradients = expected(cell, constraint, name, hidden)
    for given_RP, close, most in ((raw_RP.float(), 2e-5, 2e-5), (raw_RP, 1e-12, 1e-9)):
        loss_R, gradients_RP = computed(net, name, given_RP, engine)
        assert loss_R.tolist() == pytest.approx(losses, rel=close)
        assert distance(gradients_RP.double(), gradients) < most
    for r in (0, 1) if net.connectivity.density == 1 else (0,):
        alone_R, alone_1P = computed(net, name, raw_RP[r : r + 1].clone(), engine, r)
        assert alone_R.item() == pytest.approx(loss_R[r].item(), rel=1e-12)
        assert distance(alone_1P[0], gradients_RP[r]) < 1e-12


@pytest.mark.product(
    ("cell", "constraint", "name"),
    [
        (cell, constraint, name)
        for cell, constraint, name in itertools.product(CELLS, CONSTRAINTS, CASES)
        if makes_sense(cell, constraint, name) and (constraint == "free" or name in PLAIN)
    ],
    covers=lambda case: covers(case, usual=case["name"] == "encoder-decoder-mixed"),
)
def test_losses_are_those_of_numpy_and_gradients_those_of_complex_steps_and_differences(
    cell: str, constraint: str, name: str
):
    net = network(cell, constraint, CASES[name], num_layers=1)
    raw_RP = point(net, 1)
    given = {key: tensor.numpy() for key, tensor in batch(name).items()}
    value, complex_steps, differences = steps_from(
        lambda raw: cost(np, net, name, raw, 0, given), net, raw_RP[0].numpy()
    )
    for engine in ENGINES[: 1 + (facts(CELLS[cell]).native is not None)]:
        loss_R, gradients_RP = computed(net, name, raw_RP, engine)
        assert loss_R[0].item() == pytest.approx(value, rel=1e-12)
        assert distance(gradients_RP[0], complex_steps) < 1e-9
        assert distance(gradients_RP[0], differences) < 1e-6
