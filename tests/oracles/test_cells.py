"""Every cell of the engine against its equations, autograd over them, complex steps, and torch.nn."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from rnn import kernels
from rnn.bptt.whole import BPTT
from rnn.cells.facts import LayerEngine
from rnn.networks import parameters
from rnn.networks.weights import dump_weights
from rnn.reference import equations
from rnn.serving.predictor import Predictor
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

H = 4
CELLS: list[Any] = [
    *(
        VanillaCell(hidden_size=H, activation=f)
        for f in ("tanh", "relu", "leaky_relu", "softplus", "sigmoid", "identity", "saturated_relu")
    ),
    LinearCell(hidden_size=H),
    FeedForwardCell(hidden_size=H),
    *(
        LeakyCell(hidden_size=H, activation=f, leak=leak, dt=0.5, tau=tau, learn_tau=learn)
        for f, (tau, learn) in zip(
            ("tanh", "softplus", "relu", "sigmoid"),
            ((4.0, "no"), ([1.0, 2.0, 3.0, 4.0], "no"), (3.0, "shared"), ([1.0, 2.0, 3.0, 4.0], "per_unit")),
            strict=True,
        )
        for leak in ("rates", "potentials")
    ),
    LSTMCell(hidden_size=H, forget_bias=1.0),
    GRUCell(hidden_size=H),
]


def name_of(cell: Any) -> str:
    return "-".join(
        str(value) for value in (cell.type, *(getattr(cell, k, "") for k in ("activation", "leak"))) if value
    )


# Every cell on every engine that has it; the kernel's float64 is there for this.
RUNS: list[Any] = [
    pytest.param(cell, engine, id=f"{name_of(cell)}-{engine}")
    for cell in CELLS
    for engine in ("workspace", "native")
    if engine == "workspace" or kernels.runs(cell)
]
SHAPES = [(1, 1, 1, 1), (1, 6, 3, 1), (3, 5, 2, 1), (2, 4, 1, 2), (1, 3, 2, 3)]  # R, T, B, layers


def network(cell: Any, layers: int = 1, **fields: Any) -> Network:
    h0 = "zeros" if cell.type == "feedforward" else "trainable"
    return Network(**({"cell": cell, "input_size": 2, "output_size": 3, "num_layers": layers, "h0": h0} | fields))


def parameters_of(net: Network, replicas: int) -> torch.Tensor:
    flat_RP = parameters.initialise(net, 3, replicas, "float64")
    # Initial states start at zero; here they are to matter.
    for name, tensor in parameters.views(flat_RP, net).items():
        if name.endswith(("h0", "c0")):
            tensor[...] = np.random.default_rng(1).standard_normal(tensor.shape) / 2
    return torch.from_numpy(flat_RP)


def run(
    net: Network, flat_RP: torch.Tensor, T: int, B: int, loss: Loss | None = None, engine: LayerEngine = "auto"
) -> tuple[BPTT, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The engine after two batches (what the first leaves must not matter), its gradients, and the second batch."""
    gradients_RP = torch.full_like(flat_RP, 99.0)
    bptt = BPTT(net, flat_RP, gradients_RP, T, B, loss, engine=engine)
    generator = torch.Generator().manual_seed(5)
    for _ in range(2):
        x, target = (
            torch.randn(len(flat_RP), T, B, width, dtype=torch.float64, generator=generator)
            for width in (net.input_size, net.output_size)
        )
        if loss is not None and loss.type != "mse":
            target = target.softmax(-1)
        bptt.x_RTBI.copy_(x)
        bptt.target_RTBO.copy_(target)
        bptt.forward()
        bptt.backward()
    return bptt, gradients_RP, x, target


def by_autograd(
    net: Network, flat_RP: torch.Tensor, x: torch.Tensor, target: torch.Tensor, loss: Loss
) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = flat_RP.double().clone().requires_grad_()
    losses = []
    for r in range(len(leaf)):
        tensors = {name: tensor[r] for name, tensor in parameters.views(leaf, net).items()}
        y = equations.outputs(torch, net, tensors, x[r])
        losses.append(equations.cost(torch, loss, y, target[r, -len(y) :]))
    torch.stack(losses).sum().backward()
    assert leaf.grad is not None
    return torch.stack(losses).detach(), leaf.grad


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b).norm() / b.norm())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("cell", "engine"), RUNS)
@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
def test_loss_and_gradients_are_those_of_autograd_over_the_equations(
    cell: Any, engine: LayerEngine, shape: tuple[int, ...], architecture: Any
):
    R, T, B, layers = shape
    net = network(cell, layers, architecture=architecture)
    flat_RP = parameters_of(net, R)
    bptt, gradients_RP, x, target = run(net, flat_RP, T, B, engine=engine)
    losses, expected = by_autograd(net, flat_RP, x, target, MSE())
    assert bptt.loss_R.tolist() == pytest.approx(losses.tolist(), rel=1e-12)
    for name, gradient in parameters.views(gradients_RP, net).items():
        reference = parameters.views(expected, net)[name]
        np.testing.assert_allclose(gradient, reference, rtol=1e-8, atol=1e-12, err_msg=name)
    assert distance(gradients_RP, expected) < 1e-12


@pytest.mark.parametrize(("cell", "engine"), RUNS)
def test_single_precision_agrees_to_its_rounding(cell: Any, engine: LayerEngine):
    net = network(cell, 2)
    flat_RP = parameters_of(net, 2).float()
    bptt, gradients_RP, x, target = run(net, flat_RP, 8, 5, engine=engine)
    losses, expected = by_autograd(net, flat_RP, x, target, MSE())
    assert bptt.loss_R.tolist() == pytest.approx(losses.tolist(), rel=2e-5)
    assert distance(gradients_RP, expected) < 2e-5


@pytest.mark.parametrize(
    "loss", [MSE(over="sequences"), CrossEntropy(), BCE(), PoissonNLL()], ids=lambda loss: loss.type
)
@pytest.mark.parametrize("architecture", ["many_to_many", "many_to_one"])
@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("engine", ["workspace", "native"])
def test_every_loss_has_the_gradient_of_its_equation(loss: Loss, architecture: Any, replicas: int, engine: LayerEngine):
    net = network(VanillaCell(hidden_size=H), architecture=architecture)
    flat_RP = parameters_of(net, replicas)
    bptt, gradients_RP, x, target = run(net, flat_RP, 5, 3, loss, engine)
    losses, expected = by_autograd(net, flat_RP, x, target, loss)
    assert bptt.loss_R.tolist() == pytest.approx(losses.tolist(), rel=1e-12)
    assert distance(gradients_RP, expected) < 1e-12


@pytest.mark.parametrize(("cell", "engine"), RUNS)
@pytest.mark.parametrize("loss", [MSE(), CrossEntropy()], ids=lambda loss: loss.type)
def test_complex_steps_agree_to_nine_digits_and_differences_to_six(cell: Any, engine: LayerEngine, loss: Loss):
    """Central differences are taken only where no unit comes near a kink."""
    net = network(cell)
    flat_RP = parameters_of(net, 1)
    _, gradients_RP, x, target = run(net, flat_RP, 4, 2, loss, engine)

    def cost(flat: np.ndarray[Any, Any]) -> Any:
        tensors = {name: tensor[0] for name, tensor in parameters.views(flat[None], net).items()}
        return equations.cost(np, loss, equations.outputs(np, net, tensors, x[0].numpy()), target[0].numpy())

    point = flat_RP[0].numpy()
    units = np.eye(len(point))
    complex_steps = np.array([cost(point + 1e-30j * unit).imag / 1e-30 for unit in units])
    assert distance(gradients_RP[0], torch.from_numpy(complex_steps)) < 1e-9
    if getattr(cell, "activation", "tanh") not in {"relu", "leaky_relu", "saturated_relu"}:
        differences = np.array([(cost(point + 1e-6 * unit) - cost(point - 1e-6 * unit)) / 2e-6 for unit in units])
        assert distance(gradients_RP[0], torch.from_numpy(differences)) < 1e-6


@pytest.mark.parametrize(
    ("cell", "module"), [(LSTMCell(hidden_size=7), torch.nn.LSTM), (GRUCell(hidden_size=7), torch.nn.GRU)]
)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("engine", ["workspace", "native"])
@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-12), (torch.float32, 2e-5)], ids=["float64", "float32"])
def test_lstm_and_gru_are_those_of_torch_with_the_same_weights(
    cell: Any, module: Any, layers: int, engine: LayerEngine, dtype: torch.dtype, most: float
):
    """Theirs always in double precision."""
    net = network(cell, layers, h0="zeros")
    flat_RP = parameters_of(net, 1).float()
    bptt, gradients_RP, x, target = run(net, flat_RP.to(dtype), 9, 5, engine=engine)
    theirs, readout = module(2, 7, layers, dtype=torch.float64), torch.nn.Linear(7, 3, dtype=torch.float64)
    names = {"W_xh": "weight_ih", "W_hh": "weight_hh", "b_x": "bias_ih", "b_h": "bias_hh"}
    w = {name: tensor[0] for name, tensor in parameters.views(flat_RP, net).items()}
    theirs.load_state_dict({f"{b}_l{n}": w[f"layers.{n}.{a}"] for n in range(layers) for a, b in names.items()})
    readout.load_state_dict({"weight": w["readout.W_hy"], "bias": w["readout.b_y"]})
    loss = torch.nn.functional.mse_loss(readout(theirs(x[0])[0]), target[0])
    loss.backward()
    assert bptt.loss_R[0].item() == pytest.approx(loss.item(), rel=most)
    g = {name: tensor[0] for name, tensor in parameters.views(gradients_RP, net).items()}
    for n, (ours, name) in itertools.product(range(layers), names.items()):
        assert distance(g[f"layers.{n}.{ours}"], getattr(theirs, f"{name}_l{n}").grad) < most
    assert distance(g["readout.W_hy"], readout.weight.grad) < most


@pytest.mark.parametrize(("cell", "engine"), RUNS)
def test_a_replica_in_a_stack_has_the_gradients_of_the_network_alone(cell: Any, engine: LayerEngine):
    net = network(cell, 2)
    flat_RP = parameters_of(net, 3)
    _, together, x, target = run(net, flat_RP, 6, 4, engine=engine)
    for r in range(3):
        alone_1P = torch.zeros_like(flat_RP[:1])
        bptt = BPTT(net, flat_RP[r : r + 1].clone(), alone_1P, 6, 4, engine=engine)
        bptt.x_RTBI.copy_(x[r : r + 1])
        bptt.target_RTBO.copy_(target[r : r + 1])
        bptt.forward()
        bptt.backward()
        assert distance(together[r], alone_1P[0]) < 1e-12


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS, ids=name_of)
def test_the_predictor_computes_the_equations_and_goes_on_from_its_state_bit_for_bit(cell: Any, layers: int):
    net = network(cell, layers)
    flat_RP = parameters_of(net, 2)
    predictor = Predictor(dump_weights(net, "float64", flat_RP.numpy()))
    x = np.random.default_rng(2).standard_normal((11, 9, 2))
    sequences = [x[: 1 + n, n] for n in range(9)]
    whole = predictor.predict(sequences, None, "all", {"outputs", "state", "hidden"})
    for r in range(2):
        tensors = {name: tensor[r] for name, tensor in parameters.views(flat_RP.numpy(), net).items()}
        y = equations.outputs(np, net, tensors, x)
        for n, output in enumerate(whole.outputs or []):
            np.testing.assert_allclose(output[r], y[: 1 + n, n], rtol=1e-10, atol=1e-13)
    first = predictor.predict([s[: len(s) // 2] for s in sequences[1:]], None, "all", {"state"})
    assert first.state is not None
    second = predictor.predict([s[len(s) // 2 :] for s in sequences[1:]], first.state, "all", {"outputs", "state"})
    for n, output in enumerate(second.outputs or []):
        assert np.array_equal(output, whole.outputs[n + 1][:, len(sequences[n + 1]) // 2 :])
    for together, in_two in zip(whole.state[1:], second.state, strict=True):
        assert all(np.array_equal(a[name], b[name]) for a, b in zip(together, in_two, strict=True) for name in a)


def test_a_feed_forward_network_does_not_know_the_past():
    net = network(FeedForwardCell(hidden_size=H))
    flat_RP = parameters_of(net, 1)
    predictor = Predictor(dump_weights(net, "float64", flat_RP.numpy()))
    one, other = np.random.default_rng(3).standard_normal((2, 6, 2))
    other[5] = one[5]
    outputs = predictor.predict([one, other]).outputs
    assert np.array_equal(outputs[0][5], outputs[1][5])
    assert not np.array_equal(outputs[0][4], outputs[1][4])
