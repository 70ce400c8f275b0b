"""What is done with gradients: optimisers, schedules, clipping."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from rnn.bptt.losses import MeanLoss
from rnn.kernels.updates import Norms, SquaredError, Update
from rnn.networks import parameters
from rnn.networks.weights import load_weights
from rnn.training.optimisers import Optimizer, clip
from rnn.training.schedule import learning_rate
from tests.oracles.cases import H
from tests.oracles.test_native import INSTRUCTION_SETS, usable
from tests.unit.rnn.jobs import job, last_checkpoint, run
from unroll.contract import (
    MSE,
    SGD,
    Adam,
    AdamW,
    ClipByGlobalNorm,
    ClipByValue,
    Connectivity,
    CosineDecay,
    ExponentialDecay,
    Network,
    RMSprop,
    StepDecay,
    Training,
    VanillaCell,
)


@pytest.mark.parametrize(
    ("config", "reference"),
    [
        (Adam(lr=0.02), lambda p: torch.optim.Adam(p, lr=0.02)),
        (AdamW(lr=0.02, weight_decay=0.1), lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1)),
        (RMSprop(lr=0.02), lambda p: torch.optim.RMSprop(p, lr=0.02)),
        (RMSprop(lr=0.02, momentum=0.9), lambda p: torch.optim.RMSprop(p, lr=0.02, momentum=0.9)),
        (SGD(lr=0.1, momentum=0.5), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5)),
    ],
    ids=["adam", "adamw", "rmsprop", "rmsprop-momentum", "sgd"],
)
def test_optimisers_are_those_of_torch(config: Any, reference: Any):
    start = np.random.default_rng(0).standard_normal((2, 9))
    ours = Optimizer(config, start, torch.device("cpu"))
    parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
    theirs = reference([parameter])
    generator = torch.Generator().manual_seed(0)
    for _ in range(12):
        gradient = torch.randn(2, 9, dtype=torch.float64, generator=generator)
        ours.step(gradient.clone(), np.zeros(2, bool))
        parameter.grad = gradient.clone()
        theirs.step()
    np.testing.assert_allclose(ours.parameters.numpy(), parameter.detach().numpy(), rtol=1e-12)


CONFIGS: list[Any] = [
    Adam(lr=0.02),
    Adam(lr=0.02, beta1=0.0, beta2=0.5, eps=1e-3),
    AdamW(lr=0.02, weight_decay=0.1),
    RMSprop(lr=0.02),
    RMSprop(lr=0.02, momentum=0.9),
    SGD(lr=0.1),
    SGD(lr=0.1, momentum=0.5),
]


def twins(config: Any, instruction_set: str, start: np.ndarray, **fields: Any) -> tuple[Optimizer, Optimizer]:
    """By torch, and by the kernel's code for an instruction set."""
    by_torch = Optimizer(config, start, torch.device("cpu"), **fields)
    native = Optimizer(config, start, torch.device("cpu"), native=True, **fields)
    native._native = Update(config, native._memory_KRP, 0, usable(instruction_set))
    return by_torch, native


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_dump_json())
def test_the_kernels_updates_are_those_of_torch(config: Any, instruction_set: str):
    start = np.random.default_rng(0).standard_normal((3, 101)).astype(np.float32)
    by_torch, native = twins(config, instruction_set, start, kept=[slice(4, 7), torch.tensor([90, 100])])
    generator = torch.Generator().manual_seed(0)
    resting = np.array([False, True, False])
    for step in range(12):
        gradient = torch.randn(3, 101, generator=generator)
        rate = 0.05 / (1 + step)
        assert not by_torch.step(gradient, resting, rate).any()
        assert not native.step(gradient, resting, rate).any()
    assert torch.equal(native.parameters[1], torch.from_numpy(start[1]))
    assert torch.equal(native.parameters[:, 4:7], torch.from_numpy(start[:, 4:7]))
    assert torch.equal(native.parameters[:, [90, 100]], torch.from_numpy(start[:, [90, 100]]))
    assert not torch.equal(native.parameters[0], torch.from_numpy(start[0]))
    np.testing.assert_allclose(native.parameters, by_torch.parameters, rtol=2e-6, atol=2e-6)
    for name, moment in by_torch.moments.items():
        np.testing.assert_allclose(native.moments[name], moment, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_dump_json())
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_update_that_is_not_finite_changes_nothing_of_its_replica(bad: float, config: Any, instruction_set: str):
    start = np.random.default_rng(0).standard_normal((2, 70)).astype(np.float32)
    _, native = twins(config, instruction_set, start)
    gradient = torch.randn(2, 70, generator=torch.Generator().manual_seed(0))
    native.step(gradient, np.zeros(2, bool))
    before = native._memory_KRP.clone()
    gradient[1, 69] = bad
    assert native.step(gradient, np.zeros(2, bool)).tolist() == [False, True]
    assert torch.equal(native._memory_KRP[:, 1], before[:, 1])
    assert not torch.equal(native.parameters[0], before[0, 0])


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("over", ["elements", "sequences"])
@pytest.mark.parametrize("outputs", [1, 3, 1500])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_kernels_squared_error_is_that_of_torch(
    dtype: torch.dtype, outputs: int, over: Any, instruction_set: str, *, weighted: bool
):
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(2, 7, 19, outputs, generator=generator, dtype=dtype)
    made = [MeanLoss(MSE(over=over), y, weighted=weighted) for _ in range(2)]
    for mean in made:
        mean.target_RTBO.copy_(torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=dtype))
        if mean.weight_RTB is not None:
            mean.weight_RTB.copy_(torch.rand(y.shape[:3], generator=torch.Generator().manual_seed(2)))
            mean.weight_RTB[:, 3:, :5] = 0.0
            mean.weigh()
    if weighted:
        y[:, 3:, :5] = torch.nan  # padding is left out, whatever the network says there
    by_torch, native = made
    native._squared_error = SquaredError(
        native.target_RTBO, native.weight_RTB, native.scale_R, native.loss_R, usable(instruction_set)
    )
    derivatives = y.clone(), y.clone()
    for mean, derivative in zip(made, derivatives, strict=True):
        mean.derive_in_place(derivative)
    most = 1e-12 if dtype == torch.float64 else 2e-6
    assert torch.isfinite(derivatives[1]).all()
    np.testing.assert_allclose(derivatives[1], derivatives[0], rtol=most, atol=most)
    np.testing.assert_allclose(native.loss_R, by_torch.loss_R, rtol=most)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("numbers", [1, 31, 1024, 5000])
def test_the_kernels_norms_are_exact_to_rounding_and_see_what_is_not_finite(numbers: int, instruction_set: str):
    x = torch.randn(3, numbers, generator=torch.Generator().manual_seed(0))
    norms = Norms(x, usable(instruction_set))
    np.testing.assert_allclose(norms(), np.linalg.norm(x.double().numpy(), axis=1), rtol=1e-6)
    x[1, -1], x[2, -1] = torch.inf, torch.nan
    assert np.isfinite(norms()).tolist() == [True, False, False]


def test_weight_decay_leaves_frozen_tensors_alone():
    net = Network(
        cell=VanillaCell(hidden_size=H), input_size=1, output_size=1, connectivity=Connectivity(frozen=["W_hh"])
    )
    one = job(optimizer=AdamW(lr=0.1, weight_decay=0.5)).model_copy(update={"model": net})
    start = parameters.views(parameters.initialise(net, 0, 1), net)["layers.0.W_hh"]
    tensors = load_weights(last_checkpoint(run(one)).weights).tensors
    assert np.array_equal(tensors["layers.0.W_hh"], start)


def test_clipping_by_value_and_norm_reports_what_it_did():
    gradients = torch.tensor([[3.0, -4.0], [0.3, 0.4]])
    norm_R = gradients.norm(dim=1)
    by_norm, by_value = gradients.clone(), gradients.clone()
    assert clip(ClipByGlobalNorm(max_norm=1.0), by_norm, norm_R).tolist() == [1.0, 0.0]
    assert by_norm.tolist() == [pytest.approx([0.6, -0.8]), pytest.approx([0.3, 0.4])]
    assert clip(ClipByValue(max_value=3.5), by_value, norm_R).tolist() == [0.5, 0.0]
    assert by_value.tolist() == [[3.0, -3.5], pytest.approx([0.3, 0.4])]


def test_schedules_follow_their_formulas():
    def rates(**fields: Any) -> list[float]:
        training = Training(steps=100, optimizer=Adam(lr=1.0), **fields)
        return [learning_rate(training, step) for step in (1, 2, 3, 11, 21, 50)]

    assert rates() == [1.0] * 6
    assert rates(warmup=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert rates(schedule=StepDecay(every=10, factor=0.5)) == [1, 1, 1, 0.5, 0.25, 0.0625]
    assert rates(schedule=ExponentialDecay(half_life=10))[3:5] == [0.5, 0.25]
    cosine = rates(schedule=CosineDecay(steps=20, final=0.2))
    assert cosine[3:] == pytest.approx([0.2 + 0.8 * (1 + math.cos(math.pi / 2)) / 2, 0.2, 0.2])
