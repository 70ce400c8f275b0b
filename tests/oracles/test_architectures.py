"""Architectures and token inputs: the engine by hand against autograd over the equations."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from rnn import kernels
from rnn.bptt.encoder_decoder import EncoderDecoder
from rnn.bptt.truncated import TruncatedBPTT
from rnn.bptt.whole import BPTT
from rnn.cells.facts import facts
from rnn.networks import parameters
from rnn.reference import equations
from unroll.contract import (
    BCE,
    MSE,
    CrossEntropy,
    FeedForwardCell,
    GRUCell,
    LeakyCell,
    LinearCell,
    Loss,
    LSTMCell,
    Network,
    PoissonNLL,
    VanillaCell,
)

R, T, STEPS, B, H, I, O, V = 2, 6, 5, 3, 4, 2, 3, 5  # noqa: E741
CELLS = [
    VanillaCell(hidden_size=H),
    LinearCell(hidden_size=H),
    LeakyCell(hidden_size=H, tau=[2.0, 3.0, 4.0, 5.0]),
    LeakyCell(hidden_size=H, leak="potentials", activation="softplus", tau=3.0, learn_tau="per_unit"),
    LeakyCell(hidden_size=H, leak="potentials", tau=2.0, learn_tau="shared"),
    LSTMCell(hidden_size=H),
    GRUCell(hidden_size=H),
]
ON_ENGINES = [
    (cell, engine)
    for cell in CELLS
    for engine in ("workspace", "native")
    if engine == "workspace" or facts(cell).native is not None
]
LOSSES: list[tuple[Loss, str]] = [
    (MSE(), "identity"),
    (CrossEntropy(), "softmax"),
    (BCE(), "sigmoid"),
    (PoissonNLL(), "exp"),
]


def name_of(value: Any) -> str:
    return f"{value.type}-{getattr(value, 'leak', '')}".rstrip("-") if hasattr(value, "type") else str(value)


def network(cell: Any, architecture: str, **fields: Any) -> Network:
    return Network(
        cell=cell,
        input_size=I,
        output_size=O,
        architecture=architecture,
        num_layers=2,
        **fields,  # type: ignore[arg-type]
    )


def drawn(shape: tuple[int, ...], kind: str, generator: np.random.Generator) -> torch.Tensor:
    """Inputs and targets of a kind: numbers, tokens, class probabilities, probabilities, counts."""
    if kind == "tokens":
        return torch.from_numpy(generator.integers(0, V, shape).astype(float))
    if kind == "cross_entropy":
        return torch.eye(O, dtype=torch.float64)[torch.from_numpy(generator.integers(0, O, shape[:-1]))]
    if kind == "bce":
        return torch.from_numpy(generator.integers(0, 2, shape).astype(float))
    if kind == "poisson":
        return torch.from_numpy(generator.poisson(1.0, shape).astype(float))
    return torch.from_numpy(generator.standard_normal(shape))


def fill(engine: Any, net: Network, loss: Loss) -> None:
    """Everything that the engine wants, drawn."""
    generator, memory = np.random.default_rng(11), engine.memory
    memory.x_RTBI.copy_(drawn(tuple(memory.x_RTBI.shape), "tokens" if net.vocabulary_size else "", generator))
    memory.target_RTBO.copy_(drawn(tuple(memory.target_RTBO.shape), loss.type, generator))
    if memory.weight_RTB is not None:
        memory.weight_RTB.copy_(
            torch.from_numpy(generator.integers(0, 3, tuple(memory.weight_RTB.shape)).astype(float))
        )
        memory.weight_RTB[:, 0] = 1.0
    if memory.length_RB is not None:
        memory.length_RB.copy_(torch.from_numpy(generator.integers(1, T + 1, (R, B))))
    if memory.forced_RTB is not None:
        memory.forced_RTB.copy_(
            torch.from_numpy(generator.integers(0, 2, tuple(memory.forced_RTB.shape)).astype(float))
        )


def compare(engine: Any, net: Network, loss: Loss, flat_RP: torch.Tensor, found_RP: torch.Tensor, **how: Any) -> None:
    """Loss and gradient of each replica; twice, so that what the first pass leaves does not matter."""
    for _ in range(2):
        fill(engine, net, loss)
        engine.forward()
        loss_R = engine.loss_R.clone()
        engine.backward()
    fill(engine, net, loss)
    memory = engine.memory
    expected_RP = flat_RP.clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for r in range(R):
        tensors = {name: tensor[r] for name, tensor in parameters.views(expected_RP, net).items()}
        forced = how.get("forced")
        if memory.forced_RTB is not None:
            forced = memory.forced_RTB[r] > 0
        y = equations.outputs(
            torch,
            net,
            tensors,
            memory.x_RTBI[r],
            lengths=None if memory.length_RB is None else memory.length_RB[r],
            steps=STEPS,
            target=memory.target_RTBO[r],
            forced=forced,
            feedback=net.feedback,
        )
        target = memory.target_RTBO[r]
        weight = None if memory.weight_RTB is None else memory.weight_RTB[r]
        cost = equations.cost(torch, loss, y, target[-len(y) :], weight)
        assert abs(float(loss_R[r]) - float(cost.detach())) <= 1e-12 * max(1.0, abs(float(cost.detach())))
        total = total + cost
    total.backward()
    assert expected_RP.grad is not None
    for name, gradient in parameters.views(expected_RP.grad, net).items():
        mine = parameters.views(found_RP, net)[name]
        scale = max(float(gradient.norm()), 1e-12)
        assert float((mine - gradient).norm()) / scale < 1e-9, name


def parameters_of(net: Network) -> tuple[torch.Tensor, torch.Tensor]:
    flat_RP = torch.from_numpy(parameters.initialise(net, 3, R, "float64"))
    return flat_RP, torch.full_like(flat_RP, torch.nan)


@pytest.mark.parametrize(("cell", "engine"), ON_ENGINES, ids=name_of)
@pytest.mark.parametrize("how", ["forced", "mixed", "free"])
@pytest.mark.parametrize("ragged", [False, True], ids=["equal", "ragged"])
@pytest.mark.parametrize(("loss", "feedback"), LOSSES[:2], ids=name_of)
def test_an_encoder_decoder_has_the_gradients_of_its_equations(
    cell: Any, engine: Any, how: str, ragged: Any, loss: Loss, feedback: Any
):
    net = network(cell, "encoder_decoder", feedback=feedback, h0="trainable" if ragged else "zeros")
    flat_RP, found_RP = parameters_of(net)
    made = EncoderDecoder(
        net,
        flat_RP,
        found_RP,
        T,
        STEPS,
        B,
        loss,
        forced=how == "forced",
        mixed=how == "mixed",
        ragged=ragged,
        weighted=ragged,
        engine=engine,
    )
    always = torch.ones(STEPS, B, dtype=torch.bool)
    compare(made, net, loss, flat_RP, found_RP, forced=always if how == "forced" else None)


@pytest.mark.parametrize(("loss", "feedback"), LOSSES, ids=name_of)
@pytest.mark.parametrize("architecture", ["encoder_decoder", "many_to_many"])
def test_tokens_and_what_is_fed_back_have_the_gradients_of_their_equations(
    loss: Loss, feedback: Any, architecture: str
):
    feeds_back = {"feedback": feedback} if architecture == "encoder_decoder" else {}
    net = network(GRUCell(hidden_size=H), architecture, vocabulary_size=V, **feeds_back)
    flat_RP, found_RP = parameters_of(net)
    if architecture == "encoder_decoder":
        engine: Any = EncoderDecoder(net, flat_RP, found_RP, T, STEPS, B, loss, forced=False)
    else:
        engine = BPTT(net, flat_RP, found_RP, T, B, loss)
    compare(engine, net, loss, flat_RP, found_RP)


@pytest.mark.parametrize("cell", [*CELLS, FeedForwardCell(hidden_size=H)], ids=name_of)
@pytest.mark.parametrize(
    ("architecture", "tokens"),
    [*itertools.product(["one_to_many", "many_to_one"], [False, True]), ("one_to_one", False)],
)
def test_the_other_architectures_have_the_gradients_of_their_equations(cell: Any, architecture: str, tokens: Any):
    net = network(cell, architecture, vocabulary_size=V if tokens else None)
    flat_RP, found_RP = parameters_of(net)
    steps = {"one_to_one": 1, "one_to_many": STEPS, "many_to_one": T}[architecture]
    for engine in ("auto", "native") if kernels.available() and facts(cell).native is not None else ("auto",):
        compare(BPTT(net, flat_RP, found_RP, steps, B, engine=engine), net, MSE(), flat_RP, found_RP)  # type: ignore[arg-type]


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("architecture", ["one_to_many", "many_to_many", "many_to_one"])
def test_a_window_as_long_as_the_sequence_changes_nothing_whatever_the_architecture(architecture: str, tokens: Any):
    net = network(LSTMCell(hidden_size=H), architecture, vocabulary_size=V if tokens else None)
    flat_RP, found_RP = parameters_of(net)
    engine = TruncatedBPTT(
        net, flat_RP, found_RP, STEPS, B, MSE(), window=STEPS, weighted=architecture != "many_to_one"
    )
    compare(engine, net, MSE(), flat_RP, found_RP)


def test_windows_of_a_one_to_many_network_go_on_from_the_state_alone():
    net = network(VanillaCell(hidden_size=H), "one_to_many")
    flat_RP, found_RP = parameters_of(net)
    losses = []
    for window in (2, STEPS):
        engine = TruncatedBPTT(net, flat_RP, found_RP, STEPS, B, MSE(), window=window)
        fill(engine, net, MSE())
        engine.forward()
        losses.append(engine.loss_R.clone())
    assert torch.allclose(*losses, rtol=1e-14)
