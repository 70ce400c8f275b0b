"""Long work gives a sign of life after each of its parts, and costs are known for the longest part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rnn import pulse
from rnn.export.parity import proven
from rnn.kinds import KINDS
from rnn.kinds.kind import Inputs, patience
from rnn.networks import connectivity, parameters
from rnn.networks.weights import dump_weights, load_weights
from rnn.training import held_out as held_out_module
from rnn.training.problem import Problem
from rnn.training.run import TrainingRun
from unroll.contract import Network, SpectralRadius, TaskData, Training, TrainJob, VanillaCell

NETWORK = Network(cell=VanillaCell(hidden_size=4), input_size=1, output_size=1, num_layers=2)
R, LAYERS = 3, 2


@pytest.fixture
def beats() -> Iterator[list[None]]:
    heard: list[None] = []
    pulse.listen(lambda: heard.append(None))
    yield heard
    pulse.listen(lambda: None)


def job(**training: Any) -> TrainJob:
    data = TaskData(name="integrate_noise", parameters={"length": 6})
    full = Training(steps=4, held_out={"size": 12, "seed": 0}, **training)
    return TrainJob(model=NETWORK, data=data, training=full, replicas=R)


def test_every_layer_of_every_pass_is_a_part_whole_or_in_windows(beats: list[None]) -> None:
    for window, passes in ((None, 2), (2, 6)):
        run = TrainingRun(Problem.of(job(bptt={"window": window})))
        beats.clear()
        run._gradients(1)
        assert len(beats) == 1 + LAYERS * passes


def test_every_chunk_of_an_evaluation_is_a_part(beats: list[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out_module, "chunk_size", lambda *_: 2)
    run = TrainingRun(Problem.of(job()))
    beats.clear()
    run._evaluate()
    assert len(beats) == 6 * (1 + LAYERS)


def test_a_checkpoint_has_parts_and_so_has_the_start(beats: list[None]) -> None:
    run = TrainingRun(Problem.of(job()))
    assert len(beats) >= R * len(parameters.layout(NETWORK))
    beats.clear()
    run._checkpoint("periodic", None)
    assert len(beats) >= 4 + 25 * LAYERS  # a spectral radius takes 25 products


def test_recurrent_weights_are_made_in_parts(beats: list[None]) -> None:
    parameters.initialise(NETWORK.model_copy(update={"initialisation": SpectralRadius(radius=0.9)}), 1, 1)
    assert len(beats) >= 25 * LAYERS
    beats.clear()
    connectivity.spectral_radius(np.eye(3))
    assert len(beats) == 25


def test_an_export_has_parts(beats: list[None]) -> None:
    weights = dump_weights(NETWORK, "float32", parameters.initialise(NETWORK, 1, 1))
    beats.clear()
    proven(load_weights(weights), 0, "safetensors", 1)
    assert len(beats) >= 4


def test_patience_is_the_setting_unless_a_part_may_take_longer() -> None:
    assert patience(0.5, 600.0) == 600.0
    assert patience(100.0, 600.0) == 1000.0


def test_with_default_settings_a_long_evaluation_of_long_sequences_needs_no_further_patience() -> None:
    wide = Network(cell=VanillaCell(hidden_size=512), input_size=1, output_size=1)
    data = TaskData(name="integrate_noise", parameters={"length": 2000})
    held_out = {"size": 65_536, "seed": 0}
    facts = KINDS["train"].check(
        TrainJob(model=wide, data=data, training=Training(steps=10, held_out=held_out)), Inputs()
    )
    assert facts.seconds > 1000
    assert patience(facts.part_seconds, 600.0) == 600.0


def test_a_part_is_the_longer_the_longer_the_window_the_wider_the_network_and_the_larger_the_batch() -> None:
    def part(hidden: int = 256, length: int = 500, batch: int = 64, window: int | None = None) -> float:
        network = Network(cell=VanillaCell(hidden_size=hidden), input_size=1, output_size=1)
        data = TaskData(name="integrate_noise", parameters={"length": length})
        training = Training(steps=10, batch_size=batch, bptt={"window": window}, held_out={"size": 8, "seed": 0})
        return KINDS["train"].check(TrainJob(model=network, data=data, training=training), Inputs()).part_seconds

    assert part(window=100) < part() < min(part(hidden=512), part(length=1000), part(batch=128))
