"""The GPU's benchmark: what of it can run without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bench" / "gpu.py"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(SCRIPT), "--threads", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, env=environment)


def test_without_a_gpu_it_refuses_with_a_code_of_its_own_and_says_why():
    done = bench()
    assert done.returncode == 3
    assert done.stderr == "bench/gpu.py: torch sees no CUDA device on this machine, so nothing was measured.\n"
    assert done.stdout == ""


def test_every_comparison_runs_on_a_cpu_and_is_written_down(tmp_path: Path):
    done = bench("--device", "cpu", "--small", "--rounds", "2", "--markdown", "--json", str(tmp_path / "gpu.json"))
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["device"] == "cpu"
    results = {result["name"]: result for result in written["results"]}
    assert {"a1", "c", "lstm b", "gru a1", "a1 masked", "b leaky", "a1 32 replicas"} <= set(results)
    for name, result in results.items():
        assert result["failed"] == {}, name
        assert all(milliseconds > 0 for milliseconds in result["milliseconds"].values()), name
        assert "eager" in result["ratio"]
    assert set(results["a1 32 replicas"]["ratio"]["workspace"]) == {"modules", "vmap"}
    assert set(results["b"]["ratio"]) == {"cudnn", "workspace", "eager"}
    assert set(results["a1 masked"]["ratio"]["cudnn"]) == {"modules"}
    low, middle, high = results["b leaky"]["ratio"]["workspace"]["loop"]["quartiles"]
    assert 0 < low <= middle <= high
    assert sum(line.startswith("| a1 masked") for line in done.stdout.splitlines()) == 3
