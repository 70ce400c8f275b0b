"""The processor cores that this process may use: by its affinity, and by the quotas of its control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def allowed() -> int:
    """Return how many cores this process may keep busy, at least 1.

    A quota of 2.5 cores counts as 2: threads that wait for each other would stand still together for the rest.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([float(cores), *quotas()])))


def share(workers: int) -> int:
    """Return how many of these cores each of so many workers may use, at least 1."""
    return max(1, allowed() // workers)


def quotas(own: Path = OWN_GROUPS, root: Path = CONTROL_GROUPS) -> Iterator[float]:
    """Yield the quota, in cores, of every control group (version 1 or 2) that this process is in and that has one."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # a version 1 hierarchy has a folder of its own; in a container both may show the group as its own root
        for mount in (root / controllers, root / "cpu") if controllers else (root, root / "unified"):
            for group in (PurePosixPath(path), *PurePosixPath(path).parents):
                if quota := _quota(mount / group.relative_to("/")):
                    yield quota


def _quota(group: Path) -> float | None:
    """Return the quota of one control group in cores, or None if it has none."""
    try:
        if (group / "cpu.max").exists():
            most, period = (group / "cpu.max").read_text().split()
        else:
            most, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(most) / float(period) if float(most) > 0 else None
    except (OSError, ValueError):  # there is none, or it says "max"
        return None
