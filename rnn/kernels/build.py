"""Compiles the native kernel with the system's C++ compiler, during the package's build or as a script.

It uses only the standard library and imports nothing from this package, because the build runs it before anything is
installed. The same source is compiled to one object for each instruction set; the right one is selected at run time.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent / "src"
LIBRARY = Path(__file__).parent / "libunroll.so"

_COMMON = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-ffp-contract=fast", "-Wall"]
_X86 = {
    "avx2": ["-mavx2", "-mfma", "-mbmi2"],
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx2", "-mfma", "-mbmi2"],
}


class BuildError(Exception):
    """There is no C++ compiler, or it failed; the message contains its output."""


def compiler() -> str | None:
    """Return the C++ compiler that the variable CXX names, or the first of c++, g++ and clang++ that exists."""
    named = os.environ.get("CXX")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)


def build(library: Path = LIBRARY) -> None:
    """Compile and link `library`. An existing library is replaced only by a complete one. Raises BuildError."""
    found = compiler()
    if found is None:
        raise BuildError("no C++ compiler (looked for $CXX, c++, g++, clang++)")
    variants: dict[str, list[str]] = {"portable": []} | (
        _X86 if platform.machine().lower() in ("x86_64", "amd64") else {}
    )
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        jobs: list[tuple[str, str, list[str]]] = [(name, f"{name}.cpp", []) for name in ("abi", "threads", "posted")]
        for name, flags in variants.items():
            jobs.append((name, "variant.cpp", [*flags, f"-DVARIANT={name}"]))
            # Their bits are promised: the last of two such flags counts.
            exact = [*flags, "-ffp-contract=off", f"-DVARIANT={name}"]
            jobs += [(f"{source}-{name}", f"{source}.cpp", exact) for source in ("normals", "updates")]

        def compile_one(job: tuple[str, str, list[str]]) -> str:
            name, source, flags = job
            out = str(Path(folder, f"{name}.o"))
            _run([found, *_COMMON, *flags, "-c", str(SOURCES / source), "-o", out])
            return out

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            objects = list(pool.map(compile_one, jobs))
        linked = Path(folder, library.name)
        # Its own copy of the C++ runtime: the machine that it runs on may have none, or an older one.
        static = ["-static-libstdc++", "-static-libgcc"] if sys.platform == "linux" else []
        _run([found, "-shared", "-pthread", *static, *objects, "-o", str(linked)])
        linked.replace(library)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - the compiler, no shell
    if done.returncode:
        raise BuildError(f"{' '.join(command)}\n{done.stderr[-4000:]}")


if __name__ == "__main__":
    try:
        build()
    except BuildError as error:
        sys.exit(f"error: {error}")
