"""What every kind of job must do. A kind inherits these tests by giving its examples."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import pytest

from rnn import kinds
from rnn.errors import ConfigurationError
from rnn.events import Checkpoint, End, Entry, Event, Progress, Result, Started
from rnn.kinds.kind import Context, Inputs
from unroll.contract import JOB_TYPES, JobRequest


class KindConformance(ABC):
    """Tests of one kind. A subclass names it, and gives jobs that run and jobs that are refused."""

    name: str

    @abstractmethod
    def job(self) -> tuple[JobRequest, Inputs]:
        """Return a small job and what it reads."""

    @abstractmethod
    def refused(self) -> list[tuple[JobRequest, str]]:
        """Return jobs that read the same and cannot be run, with the pointers of their refusals."""

    def events(self, preempt: Callable[[int], bool] = lambda _step: False) -> list[Event]:
        config, inputs = self.job()
        return list(kinds.runner(self.name)(config, inputs, None, Context("cpu", tf32=False, preempt=preempt)))

    def test_its_wire_type_is_one_of_the_contract(self):
        kind = kinds.KINDS[self.name]
        assert kind.config in JOB_TYPES
        assert kind.config.model_fields["kind"].default == self.name
        config, _ = self.job()
        assert type(config).model_validate_json(config.model_dump_json()) == config

    def test_its_facts_are_known_before_it_runs(self):
        config, inputs = self.job()
        facts = kinds.KINDS[self.name].check(config, Inputs(inputs.checkpoints))
        assert facts.parameters > 0
        assert facts.total > 0
        assert facts.memory_bytes > 0
        assert 0 < facts.seconds < math.inf

    def test_a_job_that_cannot_be_run_is_refused_at_the_field(self):
        _, inputs = self.job()
        for config, pointer in self.refused():
            with pytest.raises(ConfigurationError) as refusal:
                kinds.KINDS[self.name].check(config, inputs)
            assert refusal.value.pointer == pointer, refusal.value

    def test_it_starts_first_ends_last_and_reaches_its_total(self):
        config, inputs = self.job()
        events = self.events()
        total = kinds.KINDS[self.name].check(config, inputs).total
        assert isinstance(events[0], Started)
        assert isinstance(events[-1], End)
        assert not any(isinstance(event, Started | End) for event in events[1:-1])
        assert (events[-1].outcome, events[-1].step) == ("succeeded", total)
        steps = [event.step for event in events if isinstance(event, Progress | Entry | Checkpoint)]
        assert steps == sorted(steps)
        assert max(steps, default=0) <= total

    def test_what_it_says_is_json_and_its_checkpoints_say_what_they_are(self):
        for event in self.events():
            match event:
                case Entry():
                    json.dumps(event.data, allow_nan=False)
                case Result():
                    json.dumps([event.content, event.summary], allow_nan=False)
                case End():
                    json.dumps(event.summary, allow_nan=False)
                case Checkpoint():
                    assert event.about is not None

    def test_preempted_at_any_step_it_ends_there(self):
        asked: list[int] = []
        self.events(lambda step: bool(asked.append(step)))
        config, inputs = self.job()
        total = kinds.KINDS[self.name].check(config, inputs).total  # work that is done is not thrown away
        for stop in sorted({asked[0], asked[len(asked) // 2]} - {total}) if asked else []:
            events = self.events(lambda step, stop=stop: step >= stop)
            end = events[-1]
            assert isinstance(end, End)
            assert (end.outcome, end.step) == ("preempted", stop)

    def test_it_gives_the_same_result_twice(self):
        def told(events: list[Event]) -> list[Any]:
            return [event for event in events if isinstance(event, Entry | Result | End)]

        assert told(self.events()) == told(self.events())
