"""What is done with gradients: optimisers, schedules, clipping."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from rnn import parameters
from rnn.optimizers import Optimizer, clip
from rnn.schedule import learning_rate
from rnn.state import load_weights
from tests.oracles.cases import H
from tests.unit.rnn.jobs import job, last_checkpoint, run
from unroll.contract import (
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
