"""The series of names that users choose are bounded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api import telemetry
from api.telemetry import Telemetry


def series(shown: bytes) -> dict[str, float]:
    """The predictions by model."""
    rows = [row.rpartition(" ") for row in shown.decode().splitlines() if row.startswith("unroll_predictions_total")]
    return {name.split('model="')[1].split('"')[0]: float(value) for name, _, value in rows}


def test_of_many_models_those_unused_for_longest_leave(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(telemetry, "MOST_LABELS", 3)
    counts = Telemetry()
    for model in "abc", "a", "d", "a":
        for one in model:
            counts.predicted(one, "checkpoint")
            counts.shadowed(one, "compared", 0.1)
    assert series(counts.render()) == {"a": 3, "c": 1, "d": 1}
    assert counts.render().count(b"unroll_shadow_difference_count") == 3


def test_of_many_models_several_processes_count_further_ones_together(tmp_path: Path):
    script = (
        "from api import telemetry; telemetry.MOST_LABELS = 3; counts = telemetry.Telemetry();"
        "[counts.predicted(one, 'checkpoint') for one in 'abcadea']; print(counts.render().decode())"
    )
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for times in 1, 2:
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=True)
        expected = {"a": 3, "b": 1, "c": 1, "(others)": 2}
        assert series(done.stdout) == {name: times * count for name, count in expected.items()}
