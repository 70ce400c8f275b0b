"""A small part of `make fuzz`, with a seed: the operations that take the most, a few cases each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.running import fuzz, served


@pytest.mark.timeout(500)
def test_a_server_does_what_its_document_says(tmp_path: Path):
    operations = ("register_model", "get_task", "sample_task", "list_jobs", "change_key", "get_metrics")
    with served(tmp_path) as target:
        ran = fuzz(target, seed=1, examples=1, phases=("examples", "fuzzing"), include=operations)
    assert ran.cases, ran.output
    assert not ran.findings, ran.output
