"""What a newcomer needs after the start: the commands in a shell, the SDK in another Python, the native kernel.

The demo (examples/integrate_noise.py) prints the same.
"""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

KERNEL_SECONDS = 10.0

# In a process of its own, because this package may not import rnn.
ASK_KERNEL = [sys.executable, "-P", "-m", "rnn.kernels"]


def for_shell() -> str:
    """Return the line that puts `unroll`, `unroll-server` and a Python with the SDK on a shell's PATH."""
    return f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"'


def for_other_python() -> str | None:
    """Return the command that installs the SDK into another Python. None if the SDK's source is not on this machine."""
    found = importlib.util.find_spec("unroll")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).resolve().parents[1]
    if not (folder / "pyproject.toml").is_file():
        return None
    return f"python -m pip install -e {shlex.quote(str(folder))}"


def text() -> str:
    """Return both as lines to print. The last one is the line to paste."""
    other = for_other_python()
    lines = [] if other is None else ["The SDK in another Python, such as a notebook's:", f"    {other}"]
    lines += ["The commands and the SDK in another shell:", f"    {for_shell()}"]
    return "\n".join(lines)


class KernelNote:
    """Asks in the background whether there is a native kernel, so that the start does not wait for the answer."""

    def __init__(self) -> None:
        self._asked = subprocess.Popen(ASK_KERNEL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # noqa: S603

    def __call__(self) -> str | None:
        """Return what the absence of the kernel costs and its cure, or None if it is there or nothing was answered."""
        try:
            said = self._asked.communicate(timeout=KERNEL_SECONDS)[0].strip()
        except subprocess.TimeoutExpired:
            self.close()
            return None
        return f"note: {said}" if self._asked.returncode == 0 and not said.startswith("native, ") else None

    def close(self) -> None:
        """End the question, answered or not."""
        if self._asked.poll() is None:
            self._asked.kill()
            self._asked.wait()
        if self._asked.stdout is not None:
            self._asked.stdout.close()
