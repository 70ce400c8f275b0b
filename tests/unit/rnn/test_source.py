"""Training asks a source of sequences for nothing but what `Source` says, so one that is no task trains too."""

from __future__ import annotations

import numpy as np
import pytest

from rnn.data import tasks
from rnn.data.source import Batch, Source
from rnn.events import Checkpoint, Metrics
from rnn.randomness.streams import Draws
from rnn.training import cost
from rnn.training.events import Done, Evaluation
from rnn.training.problem import Problem
from rnn.training.resume import load_state
from tests.unit.rnn.jobs import bits, job, last_checkpoint, only, run
from unroll.contract import Adam, HeldOut, TaskData

T = 4


class Doubled(Source):
    """Draws one of the numbers 1 and 2 for training, and always 3 for evaluation; the target is twice the number."""

    name = "doubled"
    architectures = ("many_to_many",)
    losses = ("mse",)
    weighted = False
    input_steps = T
    input_size = output_size = 1

    def config(self) -> TaskData:
        return TaskData(name=self.name)

    def baseline_loss(self, architecture: object = None, loss: object = None) -> float:
        del architecture, loss
        return 10.0

    def fill(self, draws: Draws, batch: Batch) -> None:
        for r, generator in enumerate(draws):
            batch.x_RTBI[r] = generator.integers(1, 3, batch.x_RTBI.shape[2])[:, None]
            batch.target_RTBO[r] = 2 * batch.x_RTBI[r]

    def fill_held_out(self, draws: Draws, batch: Batch) -> None:
        del draws
        batch.x_RTBI[...] = 3.0
        batch.target_RTBO[...] = 6.0


@pytest.fixture(autouse=True)
def _every_name_is_doubled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tasks, "resolve", lambda _data: Doubled())


def test_a_source_that_is_no_task_trains_and_resumes_bit_for_bit():
    whole = job(steps=30, replicas=2, evaluate_every=10, checkpoint_every=10, optimizer=Adam(lr=0.05))
    events = run(whole)
    assert events[-1] == Done(30, "completed")
    losses = np.array([metrics.values["loss"] for metrics in only(Metrics, events)])
    assert (losses[-5:].mean(0) < losses[0] / 4).all()
    for checkpoint in only(Checkpoint, events)[:-1]:
        resumed = run(whole, resume=(checkpoint.weights, checkpoint.state))
        assert [bits(e) for e in resumed] == [bits(e) for e in events if e.step > checkpoint.step]
    saved = load_state(last_checkpoint(events).state).problem
    assert saved.source.config() == TaskData(name="doubled")
    assert cost.memory_bytes(saved) > 0


def test_evaluations_are_of_the_sequences_that_it_holds_out():
    held_out = Doubled().held_out(HeldOut(size=5))
    assert (held_out.x_RTBI == 3).all()
    drawn = Doubled().batch(0, 0, 1, 50).x_RTBI
    assert set(np.unique(drawn)) == {1.0, 2.0}
    # After one step the output is small, and the loss is about the mean square of the targets.
    (evaluation,) = only(Evaluation, run(job(steps=1, hidden=1)))
    assert 6**2 / 3 < evaluation.loss[0] < 6**2 * 2
    assert only(Metrics, run(job(steps=1, hidden=1)))[0].values["loss"][0] < evaluation.loss[0]


def test_the_problem_is_the_source_s_to_size():
    problem = Problem.of(job())
    assert (problem.steps, problem.baseline_loss) == (T, 10.0)
