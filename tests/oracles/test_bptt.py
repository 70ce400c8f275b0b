"""The engine against the equations, autograd, complex steps, differences and torch.nn.RNN."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from docs import bptt_in_numpy as page
from rnn.bptt.whole import BPTT
from rnn.networks import parameters
from unroll.contract import Activation, Network, VanillaCell

ACTIVATIONS = ("tanh", "relu", "identity")
SHAPES = [  # R, T, B, I, H, O
    (1, 1, 1, 1, 1, 1),
    (1, 6, 3, 2, 5, 2),
    (3, 1, 4, 1, 4, 1),
    (2, 9, 1, 3, 6, 1),
    (4, 7, 5, 2, 8, 3),
    (8, 20, 16, 1, 10, 1),
]
EVERY = list(itertools.product(ACTIVATIONS, SHAPES))
NAMES = ("W_xh", "b_x", "W_hh", "b_h", "W_hy", "b_y")


@dataclass
class Result:
    """What the engine says of one problem, replica by replica."""

    network: Network
    weights: list[page.Parameters]
    x: np.ndarray[Any, Any]
    target: np.ndarray[Any, Any]
    loss: np.ndarray[Any, Any]
    gradients: list[page.Parameters]


def engine(activation: Any, shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Result:
    R, T, B, I, H, O = shape  # noqa: E741
    network = Network(cell=VanillaCell(hidden_size=H, activation=activation), input_size=I, output_size=O)
    flat = torch.from_numpy(parameters.initialise(network, 3, R, "float64")).to(dtype)
    gradients = torch.full_like(flat, 99.0)
    bptt = BPTT(network, flat, gradients, T, B)
    generator = np.random.default_rng(5)
    # Twice: what the first pass leaves in the workspace must not matter.
    for _ in range(2):
        x, target = generator.standard_normal((R, T, B, I)), generator.standard_normal((R, T, B, O))
        bptt.x_RTBI.copy_(torch.from_numpy(x))
        bptt.target_RTBO.copy_(torch.from_numpy(target))
        bptt.forward()
        bptt.backward()
    split = [by_replica(matrix, network) for matrix in (flat, gradients)]
    return Result(network, split[0], x, target, bptt.loss_R.numpy(), split[1])


def by_replica(matrix: torch.Tensor, network: Network) -> list[page.Parameters]:
    tensors = {name.split(".")[-1]: view.double().numpy() for name, view in parameters.views(matrix, network).items()}
    return [page.Parameters(**{name: tensor[r] for name, tensor in tensors.items()}) for r in range(len(matrix))]


def vector(w: page.Parameters) -> np.ndarray[Any, Any]:
    return np.concatenate([getattr(w, name).ravel() for name in NAMES])


def distance(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize(("activation", "shape"), EVERY)
def test_the_engine_computes_the_equations_on_the_numpy_page(activation: Activation, shape: tuple[int, ...]):
    result = engine(activation, shape)
    for r in range(shape[0]):
        loss, gradients = page.gradients(result.weights[r], result.x[r], result.target[r], activation)
        assert result.loss[r] == pytest.approx(loss, rel=1e-12)
        for name in NAMES:
            np.testing.assert_allclose(
                getattr(result.gradients[r], name), getattr(gradients, name), rtol=1e-9, atol=1e-13
            )


@pytest.mark.parametrize(("activation", "shape"), EVERY)
def test_single_precision_agrees_with_the_numpy_page_to_its_rounding(activation: Activation, shape: tuple[int, ...]):
    result = engine(activation, shape, torch.float32)
    for r in range(shape[0]):
        loss, gradients = page.gradients(result.weights[r], result.x[r], result.target[r], activation)
        assert result.loss[r] == pytest.approx(loss, rel=2e-5)
        assert distance(vector(result.gradients[r]), vector(gradients)) < 2e-5


@pytest.mark.parametrize(("activation", "shape"), EVERY)
def test_autograd_over_the_step_function_gives_the_same_gradients(activation: Activation, shape: tuple[int, ...]):
    result = engine(activation, shape)
    f = {"tanh": torch.tanh, "relu": torch.relu, "identity": lambda a: a}[activation]
    for r in range(shape[0]):
        w = {name: torch.tensor(getattr(result.weights[r], name), requires_grad=True) for name in NAMES}
        x, target = torch.from_numpy(result.x[r]), torch.from_numpy(result.target[r])
        h, outputs = torch.zeros(shape[2], shape[4], dtype=torch.float64), []
        for x_t in x:
            h = f(x_t @ w["W_xh"].T + w["b_x"] + h @ w["W_hh"].T + w["b_h"])
            outputs.append(h @ w["W_hy"].T + w["b_y"])
        loss = torch.nn.functional.mse_loss(torch.stack(outputs), target)
        loss.backward()
        expected = page.Parameters(**{name: tensor.grad.numpy() for name, tensor in w.items()})
        assert distance(vector(result.gradients[r]), vector(expected)) < 1e-12


@pytest.mark.parametrize(("activation", "shape"), [case for case in EVERY if case[1][4] < 10])
def test_complex_step_derivatives_agree_to_nine_digits(activation: Activation, shape: tuple[int, ...]):
    result = engine(activation, shape)
    step = 1e-30
    for r in range(shape[0]):
        derivative = []
        for name in NAMES:
            for index in np.ndindex(getattr(result.weights[r], name).shape):
                shifted = getattr(result.weights[r], name).astype(complex)
                shifted[index] += 1j * step
                _, y = page.forward(replace(result.weights[r], **{name: shifted}), result.x[r], activation)
                derivative.append(page.loss(y, result.target[r]).imag / step)
        assert distance(vector(result.gradients[r]), np.array(derivative)) < 1e-9


@pytest.mark.parametrize(("activation", "shape"), [case for case in EVERY if case[1][4] < 10])
def test_central_differences_agree_to_six_digits_away_from_kinks(activation: Activation, shape: tuple[int, ...]):
    result = engine(activation, shape)
    step = 1e-6
    for r in range(shape[0]):
        w, x, target = result.weights[r], result.x[r], result.target[r]
        if activation == "relu":
            h, _ = page.forward(w, x, "relu")
            a = x @ w.W_xh.T + w.b_x + h[:-1] @ w.W_hh.T + w.b_h
            assert np.abs(a).min() > 20 * step, "a unit is too near its kink for this oracle: choose another seed"
        derivative = []
        for name in NAMES:
            for index in np.ndindex(getattr(w, name).shape):
                losses = []
                for sign in (1, -1):
                    shifted = getattr(w, name).copy()
                    shifted[index] += sign * step
                    losses.append(page.loss(page.forward(replace(w, **{name: shifted}), x, activation)[1], target))
                derivative.append((losses[0] - losses[1]) / (2 * step))
        assert distance(vector(result.gradients[r]), np.array(derivative)) < 1e-6


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_torch_nn_rnn_with_the_same_weights_has_the_same_loss_and_gradients(activation: Activation):
    R, T, B, I, H, O = shape = (2, 12, 5, 3, 7, 2)  # noqa: E741
    result = engine(activation, shape)
    for r in range(R):
        w = {name: torch.from_numpy(getattr(result.weights[r], name)) for name in NAMES}
        recurrent = torch.nn.RNN(I, H, nonlinearity=activation, dtype=torch.float64)
        readout = torch.nn.Linear(H, O, dtype=torch.float64)
        state = {
            "weight_ih_l0": w["W_xh"],
            "weight_hh_l0": w["W_hh"],
            "bias_ih_l0": w["b_x"],
            "bias_hh_l0": w["b_h"],
        }
        recurrent.load_state_dict(state)
        readout.load_state_dict({"weight": w["W_hy"], "bias": w["b_y"]})
        y = readout(recurrent(torch.from_numpy(result.x[r]))[0])
        loss = torch.nn.functional.mse_loss(y, torch.from_numpy(result.target[r]))
        loss.backward()
        assert y.shape == (T, B, O)
        assert result.loss[r] == pytest.approx(loss.item(), rel=1e-12)
        theirs = page.Parameters(
            W_xh=recurrent.weight_ih_l0.grad.numpy(),
            b_x=recurrent.bias_ih_l0.grad.numpy(),
            W_hh=recurrent.weight_hh_l0.grad.numpy(),
            b_h=recurrent.bias_hh_l0.grad.numpy(),
            W_hy=readout.weight.grad.numpy(),
            b_y=readout.bias.grad.numpy(),
        )
        assert distance(vector(result.gradients[r]), vector(theirs)) < 1e-12


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_wrong_gradient_would_be_noticed(activation: Activation):
    """The oracles' ablation: one missing term of the recursion is far outside every tolerance above."""
    result = engine(activation, (1, 6, 3, 2, 5, 2))
    w = result.weights[0]
    _, y = page.forward(w, result.x[0], activation)
    without_recursion = page.gradients(
        replace(w, W_hh=np.zeros_like(w.W_hh)), result.x[0], result.target[0], activation
    )
    assert y.shape == (6, 3, 2)
    assert distance(vector(result.gradients[0]), vector(without_recursion[1])) > 1e-2
