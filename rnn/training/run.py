"""Training, as an iterator of events. It knows no database and no queue.

Step s (1-based) uses batch s. Its metrics use the parameters before its update; evaluations and checkpoints use the
parameters after it. The caller sets the number of threads. On the same build, device, instruction set and number of
threads a job gives the same bits, resumed or not.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnn.bptt import constraints, cuda, engine
from rnn.bptt.constraints import Constraints
from rnn.bptt.cuda_graphs import Passes
from rnn.bptt.penalties import WeightPenalty
from rnn.data.batches import Batches
from rnn.events import Checkpoint, Metrics, Reason
from rnn.kernels.updates import Norms
from rnn.networks import connectivity, parameters
from rnn.networks.weights import dump_weights
from rnn.pulse import beat
from rnn.training import divergence, environment, stopping
from rnn.training import resume as state
from rnn.training.events import Diverged, Done, Evaluation, LagProfile, Outcome, Stopped, TrainingEvent
from rnn.training.held_out import HeldOutLoss
from rnn.training.noise import TrainingNoise
from rnn.training.optimisers import Optimizer, clip
from rnn.training.problem import Problem
from rnn.training.profile import Profiler
from rnn.training.schedule import learning_rate
from rnn.training.teacher_forcing import TeacherForcing
from rnn.training.validation import validate
from unroll.contract import Adam, Network, Regularisation, TaskData, Training, TrainJob, VanillaCell

Row = Tensor | npt.NDArray[np.float64]


def _never(_step: int) -> bool:
    return False


def train(
    job: TrainJob,
    resume: tuple[bytes, bytes] | None = None,
    *,
    device: str = "cpu",
    tf32: bool = False,
    preempt: Callable[[int], bool] = _never,
) -> Iterator[TrainingEvent]:
    """Train `job`, from the start or from `resume`, the (weights, state) of a Checkpoint.

    `preempt` is called once a step; if it returns true, the run ends with a checkpoint from which it can be resumed.
    Resuming gives the events that would have followed, bit for bit. On a GPU this process's settings change as
    `rnn.bptt.cuda` says, and `tf32` allows shorter factors in float32 products.

    Raises, before the first event, ConfigurationError (see rnn.training.problem, rnn.training.validation) and
    CheckpointError.
    """
    return TrainingRun(Problem.of(job), resume, device=device, tf32=tf32).events(preempt)


class TrainingRun:
    """One training run, ready for its first step."""

    def __init__(
        self, problem: Problem, resume: tuple[bytes, bytes] | None = None, *, device: str = "cpu", tf32: bool = False
    ) -> None:
        """Prepare the run as `train` says. Raises ConfigurationError and CheckpointError."""
        validate(problem)
        place = _prepared(device, tf32=tf32)
        network, source, training, R = problem.network, problem.source, problem.training, problem.replicas
        self._problem, self._network, self._training = problem, network, training
        omega = training.regularisation.omega
        self.environment = environment.describe(str(place), network, problem.dtype, R, omega=omega, tf32=tf32)
        native = environment.runs_on(network, problem.dtype, place.type, R, omega=omega) == "native"
        self._step = 0
        self._best: state.Best | None = None
        self._diverged, self._stopping = state.DivergedReplicas.none(R), stopping.Stopping.none(R)
        self._usual_norm = np.full(R, np.nan)
        if resume is None:
            start = parameters.initialise(network, problem.seed, R, problem.dtype)
            raw_RP = constraints.raw(network, start)
            moments, taken = None, 0
        else:
            weights, saved = state.restore(problem, *resume)
            self._step, self._best = saved.step, saved.best
            self._diverged, self._stopping = saved.diverged, saved.stopping
            self._usual_norm = saved.usual_norm
            raw_RP = weights.flat() if saved.raw is None else saved.raw
            moments, taken = saved.moments, saved.step
        kept = constraints.frozen(network)
        self._optimizer = Optimizer(training.optimizer, raw_RP, place, moments, taken, kept, native=native)
        self._rest()
        self._constraints = Constraints(network, self._optimizer.parameters)
        parameters_RP = self._constraints.used
        self._gradients_RP = torch.zeros_like(parameters_RP)
        self._norms = Norms(self._gradients_RP) if native else None
        self._start_RP = None if connectivity.frozen_weights(network) is None else parameters_RP.cpu().numpy().copy()
        self._penalty = None
        if training.regularisation != Regularisation():
            self._penalty = WeightPenalty(network, training.regularisation, parameters_RP, self._gradients_RP)
        self._engine = engine.for_training(network, training, source, parameters_RP, self._gradients_RP)
        self._held_out_loss = HeldOutLoss(problem, parameters_RP)
        self._passes = Passes(self._engine, place)
        if self._passes.failure is not None:
            self.environment |= {"engine": f"{self.environment['engine']}, without its graph"}
        # On a CPU this is the engine's own memory; on a GPU it is pinned and copied at every step.
        self._host = memory = self._engine.memory
        if place.type != "cpu":
            self._host = memory.map(lambda m: torch.empty(m.shape, dtype=m.dtype, pin_memory=True))
        arrays = self._host.map(Tensor.numpy)
        threads = torch.get_num_threads()
        self._batches = Batches(source, network, training.loss, problem.seed, arrays, threads)
        self._noise = TrainingNoise(network, problem.seed, arrays, threads)
        self._forcing = TeacherForcing(training.teacher_forcing, problem.seed, arrays)
        self._profiler = Profiler(problem, parameters_RP) if training.profile_every else None

    def events(self, preempt: Callable[[int], bool]) -> Iterator[TrainingEvent]:
        """Train until the run ends; `preempt` is as in `train`."""
        training, total = self._training, self._training.steps
        deadline = None if self._problem.max_seconds is None else time.monotonic() + self._problem.max_seconds
        if self._step >= total:
            yield Done(self._step, "completed")
            return
        if self._resting == self._problem.replicas:  # it resumed from the checkpoint that the last stop made
            yield Done(self._step, self._stopping.last_reason())
            return
        while True:
            self._step = step = self._step + 1
            with self._engine.threads():
                metrics = self._gradients(step)
                profile = self._profile(step)
                if self._resting:
                    for value_R in metrics.values():
                        value_R[self._resting_R] = np.nan
                loss_R, norm_R = metrics["loss"], metrics["gradient_norm"]
                new = self._update(loss_R, norm_R)
            if step % divergence.SAMPLED_EVERY == 1:
                self._usual_norm = divergence.usual_norm(self._usual_norm, norm_R)

            outcome: Outcome | None = None
            if step == total:
                outcome = "completed"
            elif deadline is not None and time.monotonic() >= deadline:
                outcome = "max_seconds"
            if outcome or step % training.log_every == 0:
                yield Metrics(step, metrics | {"learning_rate": self._rate(step)})
            if profile:
                yield profile
            for r in new:
                yield Diverged(step, r, float(loss_R[r]), float(norm_R[r]), self._hint(r))
            if new and np.all(self._diverged.step > 0):
                # The last good checkpoint stays the last, because another one would hold nothing new.
                yield Done(step, "all_diverged")
                return
            if outcome is None and self._resting == self._problem.replicas:
                outcome = self._stopping.last_reason()

            evaluation = self._evaluate() if outcome or step % training.evaluate_every == 0 else None
            if evaluation:
                yield evaluation
            if evaluation and outcome is None:
                diverged_R = self._diverged.step > 0
                for r in stopping.judge(self._problem, self._stopping, step, evaluation.loss, diverged_R):
                    yield Stopped(step, int(r), self._stopping.why(r), float(evaluation.loss[r]))
                self._rest()
                if self._resting == self._problem.replicas:
                    outcome = self._stopping.last_reason()
            if outcome is None and preempt(step):
                outcome = "preempted"
            why = self._reason(outcome, evaluation)
            if why:
                yield self._checkpoint(why, evaluation)
            if outcome:
                yield Done(step, outcome)
                return

    def _gradients(self, step: int) -> dict[str, npt.NDArray[np.float64]]:
        """Compute the gradients of batch `step`, clip them, and return the metrics [R].

        The metrics include the loss and the global gradient norm before clipping.
        """
        engine = self._engine
        self._batches.fill(step)
        self._noise.draw(step)
        self._forcing.draw(step)
        beat()
        if engine.x_RTBI.is_cuda:
            for memory, host in zip(engine.memory.all(), self._host.all(), strict=True):
                memory.copy_(host, non_blocking=True)
        self._passes.forward()
        self._passes.backward()
        rows: dict[str, Row] = {"loss": engine.loss_R}
        if self._penalty is not None:
            rows["penalty"] = self._penalty.add() + engine.penalty_R
        self._constraints.pull_back(self._gradients_RP)
        rows["gradient_norm"] = self._norm()
        if self._training.clip is not None:
            norm_R = torch.as_tensor(rows["gradient_norm"], dtype=self._gradients_RP.dtype)
            rows["clipped_fraction"] = clip(self._training.clip, self._gradients_RP, norm_R)
            rows["clipped_norm"] = self._norm()
        return on_host(rows)

    def _norm(self) -> Row:
        """Return the gradient norm of each replica."""
        return torch.linalg.vector_norm(self._gradients_RP, dim=1) if self._norms is None else self._norms()

    def _profile(self, step: int) -> LagProfile | None:
        """Return the profile of the batch that `_gradients` has just used, if this step has one."""
        if self._profiler is None or step % (self._training.profile_every or 1):
            return None
        profile = self._profiler(step, self._engine.memory)
        profile.norm[self._resting_R] = np.nan
        return profile

    def _rate(self, step: int) -> npt.NDArray[np.float64]:
        """Return the learning rate, [R]."""
        rate_R = np.full(self._problem.replicas, learning_rate(self._training, step))
        if self._resting:
            rate_R[self._resting_R] = np.nan
        return rate_R

    def _update(self, loss_R: npt.NDArray[np.float64], norm_R: npt.NDArray[np.float64]) -> list[int]:
        """Update the replicas that train. Leave out, and return, those whose loss, norm or update is not finite."""
        kept = ~(np.isfinite(loss_R) & np.isfinite(norm_R))  # both are NaN for replicas that rest
        kept |= self._optimizer.step(self._gradients_RP, kept, learning_rate(self._training, self._step))
        self._constraints.apply()
        new = kept & ~self._resting_R
        if not new.any():
            return []
        self._diverged.step[new] = self._step
        self._diverged.loss[new] = loss_R[new]
        self._diverged.gradient_norm[new] = norm_R[new]
        self._rest()
        return np.flatnonzero(new).tolist()

    def _hint(self, r: int) -> str:
        """Return a hint for a replica that has just diverged."""
        used_P = self._constraints.used[r : r + 1].cpu().numpy()
        radius = divergence.radius(self._network, parameters.views(used_P, self._network))
        finite = bool(np.isfinite(self._diverged.loss[r]) and np.isfinite(self._diverged.gradient_norm[r]))
        return divergence.hint(
            self._problem, self._step, finite=finite, usual=float(self._usual_norm[r]), radius=radius
        )

    def _rest(self) -> None:
        """Record which replicas are no longer trained, [R], because they diverged or stopped."""
        self._resting_R = (self._diverged.step > 0) | (self._stopping.step > 0)
        self._resting = int(self._resting_R.sum())

    def _evaluate(self) -> Evaluation:
        loss_R = self._held_out_loss()
        loss_R[self._diverged.step > 0] = np.nan
        finite = np.isfinite(loss_R)
        best = int(np.argmin(np.where(finite, loss_R, np.inf))) if finite.any() else None
        improved = best is not None and bool(self._best is None or loss_R[best] < self._best.loss)
        if best is not None and improved:
            self._best = state.Best(self._step, best, float(loss_R[best]))
        return Evaluation(self._step, loss_R, best, improved)

    def _reason(self, outcome: Outcome | None, evaluation: Evaluation | None) -> Reason | None:
        """Return the first reason to make a checkpoint at this step; None if there is none."""
        if outcome not in (None, "preempted"):
            return "last"
        if evaluation and evaluation.improved:
            return "best"
        if self._step % self._training.checkpoint_every == 0:
            return "periodic"
        return "interrupted" if outcome else None

    def _checkpoint(self, reason: Reason, evaluation: Evaluation | None) -> Checkpoint:
        optimizer, used_RP = self._optimizer, self._constraints.used.cpu().numpy()
        beat()
        weights = dump_weights(self._network, self._problem.dtype, used_RP)
        beat()
        saved = state.State(
            step=self._step,
            moments={name: moment.cpu().numpy() for name, moment in optimizer.moments.items()},
            raw=optimizer.parameters.cpu().numpy() if connectivity.is_constrained(self._network) else None,
            diverged=self._diverged,
            stopping=self._stopping,
            usual_norm=self._usual_norm,
            best=self._best,
            environment=self.environment,
            problem=self._problem,
            weights_sha256=hashlib.sha256(weights).hexdigest(),
        )
        beat()
        losses, best_replica = None, None
        if evaluation:
            losses = tuple(float(loss) if np.isfinite(loss) else None for loss in evaluation.loss)
            best_replica = evaluation.best_replica
        start = None if self._start_RP is None else parameters.views(self._start_RP, self._network)
        certificate = connectivity.certificate(self._network, parameters.views(used_RP, self._network), start)
        beat()
        return Checkpoint(self._step, reason, weights, state.dump_state(saved), losses, best_replica, certificate)


def _prepared(device: str, *, tf32: bool) -> torch.device:
    place = torch.device(device)
    if place.type == "cuda":
        cuda.prepare(tf32=tf32)
    return place


def on_host(rows: dict[str, Row]) -> dict[str, npt.NDArray[np.float64]]:
    """Copy rows [R] from any device to new arrays."""
    tensors = [row for row in rows.values() if isinstance(row, Tensor)]
    if tensors and tensors[0].is_cuda:  # then all are
        # One transfer copies them all. It also waits until the batch has been read, so the host may overwrite it.
        rows = dict(zip(rows, torch.stack(tensors).cpu(), strict=True))
    return {name: np.array(row.numpy() if isinstance(row, Tensor) else row, np.float64) for name, row in rows.items()}


def warm_up(device: str = "cpu", *, tf32: bool = False) -> None:
    """Run tiny jobs, so that later first steps do not wait for what libraries do once.

    On a CPU, the process that forks trainers calls it. Call torch.set_num_threads(1) before it: if it was warmed up
    with more threads, a forked child hangs. On a GPU, a trainer calls it itself: one network runs on cuDNN, two in the
    workspace, and both record graphs.
    """
    network = Network(cell=VanillaCell(hidden_size=2), input_size=1, output_size=1)
    training = Training(steps=1, batch_size=2, optimizer=Adam())
    data = TaskData(name="integrate_noise", parameters={"length": 2})
    for replicas in (2,) if device == "cpu" else (1, 2):
        job = TrainJob(model=network, data=data, training=training, replicas=replicas)
        for _ in train(job, device=device, tf32=tf32):
            pass
