"""How many cores a process may use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from store import cores


def groups(folder: Path, own: str, files: Mapping[str, str]) -> list[float]:
    """The quotas of a process in these control groups."""
    (folder / "own").write_text(own)
    for name, content in files.items():
        path = folder / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return list(cores.quotas(folder / "own", folder / "sys"))


@pytest.mark.parametrize(
    ("own", "files", "least"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        # the limit of a service is its parent's, if that is lower
        ("0::/a.slice/b.service\n", {"a.slice/cpu.max": "200000 100000", "a.slice/b.service/cpu.max": "max 100000"}, 2),
        ("0::/a/b\n", {"a/cpu.max": "800000 100000", "a/b/cpu.max": "400000 100000"}, 4),
        ("3:cpu,cpuacct:/x\n2:memory:/y\n", {"cpu,cpuacct/x/cpu.cfs_quota_us": "300000\n"}, None),  # without a period
        (
            "3:cpu,cpuacct:/x\n0::/\n",
            {"cpu,cpuacct/x/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        # a container of version 1 names the host's path, and mounts its own group as the root
        ("3:cpu:/docker/abc\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("3:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_quotas_of_control_groups_are_found(tmp_path: Path, own: str, files: dict[str, str], least: float | None):
    assert min(groups(tmp_path, own, files), default=None) == least


def test_a_process_may_use_what_both_affinity_and_quota_allow(monkeypatch: pytest.MonkeyPatch):
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system has no affinity")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for quotas, allowed in (([], 8), ([2.5, 16.0], 2), ([0.5], 1)):
        monkeypatch.setattr(cores, "quotas", lambda quotas=quotas: quotas)
        assert cores.allowed() == allowed


def test_workers_share_the_cores_and_none_is_left_without(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cores, "allowed", lambda: 7)
    assert [cores.share(workers) for workers in (1, 2, 3, 9)] == [7, 3, 2, 1]
