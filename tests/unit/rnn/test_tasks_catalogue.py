"""What each task of the catalogue asks for, recomputed from its inputs, and what an ideal observer of it reaches."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import i1
from scipy.stats import norm

from rnn.data import tasks
from rnn.data.sequences import SequenceTask
from rnn.data.source import Batch
from rnn.data.tasks.observers import read_out
from rnn.errors import ConfigurationError
from unroll.contract import TaskData


def task_of(name: str, **given: Any) -> SequenceTask:
    return tasks.resolve(TaskData(name=name, parameters=given))


def drawn(name: str, size: int = 50, **given: Any) -> tuple[np.ndarray, np.ndarray, Batch]:
    """Inputs [T, B, I], targets [T, B, O], and all of the batch."""
    batch = task_of(name, **given).batch(3, 0, 1, size)
    return batch.x_RTBI[0].astype(np.float64), batch.target_RTBO[0].astype(np.float64), batch


def test_a_leaky_sum_forgets_with_its_time_constant():
    x, y, _ = drawn("integrate_leaky", length=40, tau=5.0)
    for t in range(40):
        weights = np.exp(-(t - np.arange(t + 1)) / 5)
        np.testing.assert_allclose(y[t], (weights[:, None, None] * x[: t + 1]).sum(0), atol=1e-5)
    assert task_of("integrate_leaky", tau=10_000.0).baseline_loss() == pytest.approx(10.5, rel=1e-2)


@pytest.mark.parametrize("saccade", [1, 3])
def test_the_eye_adds_its_commands_up_and_is_seen_in_the_light_alone(saccade: int):
    x, y, _ = drawn("oculomotor", 400, epochs=4, epoch_length=6, saccade=saccade, light=0.25)
    command, seen, light = np.moveaxis(x, -1, 0)
    np.testing.assert_allclose(y[..., 0], command.cumsum(0), atol=1e-6)
    assert np.abs(y).max() <= 1
    np.testing.assert_array_equal(seen, y[..., 0] * light)
    in_epochs = command.reshape(4, 6, 400)
    assert not in_epochs[:, saccade:].any()
    np.testing.assert_allclose(in_epochs[:, :saccade], in_epochs[:, :1].repeat(saccade, 1), atol=1e-7)
    assert set(np.unique(light)) == {0.0, 1.0}
    by_epoch = light.reshape(4, 6, 400)
    assert (by_epoch == by_epoch[:, :1]).all()
    assert abs(by_epoch[:, 0].mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 1600)
    held = y.reshape(4, 6, 400)[:, -1]
    assert np.abs(np.corrcoef(held)[np.triu_indices(4, 1)]).max() < 5 / np.sqrt(
        400
    )  # each is independent of the others


@pytest.mark.parametrize(("length", "size"), [(30, 300), (150, 80), (9, 60_000)], ids=str)
def test_a_flip_flop_keeps_each_last_pulse(length: int, size: int):
    x, y, _ = drawn("flip_flop", size, length=length, bits=3, pulse_probability=0.2)
    assert set(np.unique(x)) == {-1.0, 0.0, 1.0}
    held = np.zeros(y[0].shape)
    for t in range(length):
        held = np.where(x[t] != 0, x[t], held)
        assert np.array_equal(y[t], held)
    n = x.size
    for sign in (-1, 1):
        assert abs((x == sign).mean() - 0.1) < 5 * np.sqrt(0.1 * 0.9 / n)


def test_temporal_order_has_two_symbols_at_their_places_and_their_order_as_class():
    x, y, batch = drawn("temporal_order", 4_000, length=40, min_length=20)
    assert batch.length_RB is not None
    classes = []
    for b, length in enumerate(batch.length_RB[0].tolist()):
        read = x[:length, b, 0].astype(int)
        places = np.flatnonzero(read >= 6)
        assert (read[0], read[-1]) == (4, 5)
        assert (read[1:-1] != 4).all()
        assert (read[1:-1] != 5).all()
        first, second = places
        assert length // 10 <= first <= 2 * length // 10
        assert 5 * length // 10 <= second <= 6 * length // 10
        classes.append(2 * (read[first] - 6) + read[second] - 6)
    assert (y[:, np.arange(4_000), classes] == 1).all()
    assert (y.sum(-1) == 1).all()
    assert np.abs(np.bincount(classes) - 1_000).max() < 5 * np.sqrt(4_000 * 3 / 16)


def test_copy_memory_is_the_publication_s():
    task = task_of("copy_memory", delay=500)
    assert task.baseline_loss() == pytest.approx(10 * np.log(8) / 520)
    assert task.chance == pytest.approx((510 + 10 / 8) / 520)
    x, y, _ = drawn("copy_memory", symbols=5, items=3, delay=4)
    for b in range(50):
        read = x[:, b, 0].astype(int).tolist()
        assert max(read[:3]) < 5
        assert read[3:] == [5] * 3 + [6] + [5] * 3
        assert y[:, b].argmax(-1).tolist() == [5] * 7 + read[:3]
    assert (y.sum(-1) == 1).all()


def test_a_ring_of_neurons_shows_the_angle_and_then_nothing():
    x, y, _ = drawn("ring_memory", 2_000, neurons=12, concentration=3.0, stimulus=2, delay=4, noise=0.05)
    angle = np.arctan2(y[0, :, 1], y[0, :, 0])
    preferred = 2 * np.pi * np.arange(12) / 12
    bump = np.exp(3 * (np.cos(angle[:, None] - preferred) - 1))
    noise = x - np.where(np.arange(6) < 2, 1.0, 0.0)[:, None, None] * bump
    assert abs(noise.mean()) < 5 * 0.05 / np.sqrt(noise.size)
    assert abs(noise.std() - 0.05) < 5 * 0.05 / np.sqrt(2 * noise.size)
    assert (y == y[0]).all()
    np.testing.assert_allclose((y**2).sum(-1), 1, atol=1e-6)
    assert abs(np.exp(1j * angle).mean()) < 5 / np.sqrt(2_000)


CHOICES = {
    "perceptual_decision": {"fixation": 2, "stimulus": 30, "delay": 3, "response": 2, "noise": 1.0},
    "context_integration": {"stimulus": 30, "response": 2, "noise": 1.0},
}


def evidence(name: str, x: np.ndarray) -> np.ndarray:
    """The sum of the evidence that counts, [B]."""
    if name == "perceptual_decision":
        return (x[2:32, :, 2] - x[2:32, :, 1]).sum(0)
    return np.where(x[0, :, 2] == 1, x[:30, :, 0].sum(0), x[:30, :, 1].sum(0))


@pytest.mark.parametrize("name", CHOICES)
def test_who_adds_up_the_evidence_chooses_as_well_as_signal_detection_says(name: str):
    coherence, sd = 0.2, np.sqrt(30 * (2 if name == "perceptual_decision" else 1))
    x, y, batch = drawn(name, 20_000, coherences=[coherence], **CHOICES[name])
    expected = norm.cdf(coherence * 30 / sd)
    right = ((evidence(name, x) > 0) == (y[-1, :, 0] == 1)).mean()
    assert abs(right - expected) < 5 * np.sqrt(expected * (1 - expected) / 20_000)
    assert abs(y[-1].mean() - 0.5) < 5 * 0.5 / np.sqrt(20_000)
    assert batch.weight_RTB is not None
    assert (batch.weight_RTB[0, :-2] == 0).all()
    assert (batch.weight_RTB[0, -2:] == 1).all()
    assert (y[-2:] == y[-1]).all()


@pytest.mark.parametrize("name", CHOICES)
def test_the_floor_of_a_choice_is_what_its_ideal_observer_costs(name: str):
    given = CHOICES[name] | {"coherences": [0.05, 0.1, 0.4]}
    task = task_of(name, **given)
    x, y, _ = drawn(name, 20_000, **given)
    means, sd = 30 * np.array([0.05, 0.1, 0.4]), np.sqrt(30 * (2 if name == "perceptual_decision" else 1))
    e = evidence(name, x)
    likelihoods = [norm.pdf(e[:, None], sign * means, sd).sum(1) for sign in (1, -1)]
    p = np.where(y[-1, :, 0] == 1, *likelihoods) / sum(likelihoods)
    floor = task.floor()
    assert floor is not None
    assert abs(floor.loss + np.log(p).mean()) < 5 * np.log(p).std() / np.sqrt(20_000)
    assert 0 < floor.loss < task.baseline_loss()
    assert floor.error == 0
    clean = task_of(name, **given | {"noise": 0.0}).floor()
    assert clean is not None
    assert clean.loss == 0


def test_the_other_evidence_tells_nothing_about_the_choice():
    x, y, _ = drawn("context_integration", 20_000, **CHOICES["context_integration"])
    assert np.array_equal(x[0, :, 2] + x[0, :, 3], np.ones(20_000))
    other = np.where(x[0, :, 2] == 1, x[:30, :, 1].sum(0), x[:30, :, 0].sum(0))
    assert abs(np.corrcoef(other, y[-1, :, 0])[0, 1]) < 5 / np.sqrt(20_000)


def test_a_delayed_match_compares_the_test_with_the_sample():
    x, y, batch = drawn("delayed_match", 8_000, stimuli=3, stimulus=2, delay=4, response=3, noise=0.0)
    sample, test = x[0].argmax(-1), x[6].argmax(-1)
    shown = [t for t in range(len(x)) if x[t].any()]
    assert shown == [0, 1, 6, 7]
    assert np.array_equal(x[1], x[0])
    assert np.array_equal(x[7], x[6])
    assert (x[shown].sum(-1) == 1).all()
    assert (y[-3:, :, 0] == (sample == test)).all()
    assert abs(y[-1].mean() - 0.5) < 5 * 0.5 / np.sqrt(8_000)
    others = np.bincount((test - sample)[sample != test] % 3)
    assert abs(others[1] - others[2]) < 5 * np.sqrt(others.sum())
    assert batch.weight_RTB is not None
    assert (batch.weight_RTB[0].sum(0) == 3).all()


def test_the_climb_to_go_takes_as_long_as_ready_to_set():
    given = {"shortest_interval": 2, "longest_interval": 6, "wait": 3, "hold": 2}
    x, y, _ = drawn("interval_timing", 2_000, **given)
    assert len(x) == 3 + 2 * 6 + 2
    assert (x.sum(0) == 1).all()
    ready, then = x[..., 0].argmax(0), x[..., 1].argmax(0)
    assert set(ready.tolist()) == {0, 1, 2, 3}
    assert set((then - ready).tolist()) == {2, 3, 4, 5, 6}
    for t in range(len(x)):
        np.testing.assert_allclose(y[t, :, 0], np.clip((t - then) / (then - ready), 0, 1), atol=1e-6)
    assert (y[-2:] == 1).all()  # at the last possible "go", and after it


def test_a_path_is_the_sum_of_its_steps():
    x, y, _ = drawn("path_integration", 4_000, length=25, speed=0.3, turning=0.4)
    np.testing.assert_allclose(y, (x[..., :1] * x[..., 1:]).cumsum(0), atol=1e-5)
    np.testing.assert_allclose((x[..., 1:] ** 2).sum(-1), 1, atol=1e-5)
    heading = np.arctan2(x[..., 2], x[..., 1])
    turn = np.angle(np.exp(1j * np.diff(heading, axis=0)))
    assert abs(turn.std() - 0.4) < 5 * 0.4 / np.sqrt(2 * turn.size)
    assert abs(np.exp(1j * heading[0]).mean()) < 5 / np.sqrt(4_000)
    assert x[..., 0].min() >= 0
    assert x[..., 0].max() <= 0.6


def test_spikes_of_a_population_are_poisson_with_the_rates_of_its_tuning(monkeypatch: pytest.MonkeyPatch):
    from rnn.data.tasks import population

    monkeypatch.setattr(population, "_CELLS", 2 * 4_000 * 8)  # some steps at a time, as where there are many
    x, y, _ = drawn("population", 4_000, length=5, neurons=8, rate=0.8, concentration=1.5)
    angle = np.arctan2(y[0, :, 1], y[0, :, 0])
    rate = 0.8 * np.exp(1.5 * (np.cos(angle[:, None] - 2 * np.pi * np.arange(8) / 8) - 1))
    assert np.array_equal(x, np.floor(x))
    surprise = (x - rate) / np.sqrt(rate)
    for part in (surprise, surprise[:2], surprise[-1]):
        assert abs(part.mean()) < 5 / np.sqrt(part.size)
        assert abs(part.var() - 1) < 5 * np.sqrt((2 + (1 / rate).mean()) / part.size)
    together = np.corrcoef(surprise.reshape(-1, 8).T)[np.triu_indices(8, 1)]
    assert np.abs(together).max() < 5 / np.sqrt(20_000)


def test_the_floor_of_a_population_is_the_error_of_the_posterior_s_mean():
    given = {"length": 10, "neurons": 8, "rate": 0.2, "concentration": 1.5}
    task = task_of("population", **given)
    x, y, _ = drawn("population", 10_000, **given)
    angles = np.linspace(-np.pi, np.pi, 256, endpoint=False)
    log_rate = 1.5 * (np.cos(angles[:, None] - 2 * np.pi * np.arange(8) / 8) - 1)
    log_p = x.sum(0) @ log_rate.T - 10 * 0.2 * np.exp(log_rate).sum(-1)
    p = np.exp(log_p - log_p.max(-1, keepdims=True))
    mean = (p @ np.exp(1j * angles)) / p.sum(-1)
    squared = np.abs(mean - (y[-1, :, 0] + 1j * y[-1, :, 1])) ** 2 / 2
    floor = task.floor()
    assert floor is not None
    assert abs(floor.loss - squared.mean()) < 5 * np.hypot(squared.std() / 100, floor.error)
    assert 0 < floor.error < floor.loss / 10
    # Many evenly spread neurons: the posterior is a von Mises distribution, whose width the number of spikes sets.
    assert read_out(64, 2.0, 1e-4)[0] == pytest.approx(0.5, rel=0.01)
    many, few = read_out(64, 2.0, 50.0)[0], read_out(64, 2.0, 0.5)[0]
    assert many == pytest.approx(1 / (2 * 64 * 50 * np.exp(-2) * i1(2.0) * 2), rel=0.05)  # 1 / (2 Fisher information)
    assert many < few < 0.5


@pytest.mark.parametrize(
    ("name", "given", "pointer", "code"),
    [
        ("integrate_leaky", {"tau": 0.0}, "tau", "greater_than_equal"),
        ("oculomotor", {"epoch_length": 3, "saccade": 4}, "saccade", "value_error"),
        ("oculomotor", {"light": 1.5}, "light", "less_than_equal"),
        ("flip_flop", {"pulse_probability": 0.0}, "pulse_probability", "greater_than"),
        ("temporal_order", {"length": 9}, "length", "greater_than_equal"),
        ("copy_memory", {"delay": 0}, "delay", "greater_than_equal"),
        ("perceptual_decision", {"coherences": []}, "coherences", "too_short"),
        ("perceptual_decision", {"coherences": [0.1, 2.0]}, "coherences/1", "less_than_equal"),
        ("context_integration", {"noise": -1.0}, "noise", "greater_than_equal"),
        ("delayed_match", {"stimuli": 1}, "stimuli", "greater_than_equal"),
        ("interval_timing", {"shortest_interval": 9, "longest_interval": 8}, "longest_interval", "value_error"),
        ("ring_memory", {"neurons": 2}, "neurons", "greater_than_equal"),
        ("path_integration", {"speed": 0.0}, "speed", "greater_than"),
        ("population", {"neurons": 1_000}, "neurons", "less_than_equal"),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(name: str, given: dict[str, Any], pointer: str, code: str):
    with pytest.raises(ConfigurationError) as error:
        task_of(name, **given)
    assert (error.value.pointer, error.value.code) == (f"/data/parameters/{pointer}", code)


def test_every_task_tells_its_group_its_origin_and_what_each_number_means():
    groups = [task.group for task in tasks.all()]
    assert groups == sorted(groups, key=groups.index)  # tasks of a group stand together
    for task in tasks.all():
        assert task.origin
        assert len(task.input_names) == len(set(task.input_names)) == task.input_size
        assert len(task.target_names) == len(set(task.target_names)) == task.output_size
        assert (task.chance is not None) == (task.losses[0] in {"bce", "cross_entropy"})
        for field in task.parameters["properties"].values():
            assert field["description"]
            assert "default" in field
        if task.floor is not None:
            assert 0 < task.floor.loss < task.baseline.loss


def test_the_page_of_tasks_is_the_one_that_the_code_makes():
    path = Path(__file__).parents[3] / ".ci" / "tasks.py"
    spec = importlib.util.spec_from_file_location("page_of_tasks", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert made.PAGE.read_text(encoding="utf-8") == made.page(tasks.all()), "run `make tasks` and commit docs/tasks.md"
    assert {path.stem for path in made.PICTURES.iterdir()} == set(tasks.TASKS)
    for name in tasks.TASKS:
        assert (made.PICTURES / f"{name}.png").stat().st_size < 30_000


def test_the_readme_names_every_task():
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    assert f"There are {len(tasks.TASKS)} tasks" in readme
    for task in tasks.all():
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| {task.group} |")]
        assert f"`{task.name}`" in row
