"""The log of a training run, which goes to standard output."""

from __future__ import annotations

import time

from rnn.training.events import Diverged, Done, Evaluation, Stopped, TrainingEvent

EVERY_SECONDS = 1.0
"""Shortest time between two printed evaluations."""


class TrainingLog:
    """Prints the events that belong in a log, and evaluations at most every EVERY_SECONDS."""

    def __init__(self) -> None:
        self._evaluated = -EVERY_SECONDS

    def __call__(self, event: TrainingEvent) -> None:
        """Print the event, if it belongs in a log."""
        match event:
            case Diverged():
                cause = f"loss {event.loss:.6g}, gradient norm {event.gradient_norm:.6g}"
                say(f"step {event.step}: replica {event.replica} diverged ({cause})")
            case Stopped():
                cause = f"{event.reason}, held-out loss {event.loss:.6g}"
                say(f"step {event.step}: replica {event.replica} stopped ({cause})")
            case Evaluation() if time.monotonic() - self._evaluated >= EVERY_SECONDS:
                self._evaluated = time.monotonic()
                say(f"step {event.step}: held-out loss " + " ".join(f"{loss:.6g}" for loss in event.loss))
            case Done():
                say(f"step {event.step}: {event.outcome}")


def say(line: str) -> None:
    """Print a line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)  # noqa: T201 - standard output is the job's log
