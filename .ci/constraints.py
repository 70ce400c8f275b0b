"""Print constraints.txt: the exact version of every distribution that the server needs, extras included.

Reads the environment it runs in and follows the requirements from `unroll-server[demo,dev]`, so that whatever else is
installed there stays out. Local version parts (torch's `+cpu`) are dropped: which build arrives is pip's environment's
choice, and a constraint without a local part accepts all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Requirement("unroll-server[demo,dev]")
OURS = {"unroll-server", "unroll-sdk"}


def needed(requirement: Requirement, seen: set[tuple[str, str]]) -> Iterator[str]:
    """Names of what the requirement asks for on this platform, itself first; `seen` holds (name, extra) pairs."""
    name = canonicalize_name(requirement.name)
    for extra in ["", *sorted(requirement.extras)]:
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        yield name
        for line in distribution(name).requires or []:
            child = Requirement(line)
            if child.marker is None or child.marker.evaluate({"extra": extra}):
                yield from needed(child, seen)


def main() -> None:
    """One sorted `name==version` a line."""
    names = set(needed(ROOT, set())) - OURS
    print("# Every version that the tests passed with, as `make constraints` wrote them. torch's build (CPU or CUDA)")
    print("# is whichever pip's environment offers; the README says how to choose.")
    for name in sorted(names):
        print(f"{name}=={Version(distribution(name).version).public}")


if __name__ == "__main__":
    main()
