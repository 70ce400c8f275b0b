"""Computes what plain NumPy gives for an exported file, in a process of its own.

    python -m rnn.export FOLDER FORMAT

FOLDER contains the file, named `content`, and `questions.npz`. The process writes `answers.npz` to the same folder,
with the answers to all questions for each replica. It ends when its stdin closes, so it does not outlive the process
that started it.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import cast

# This comes before NumPy is loaded. After each product its BLAS would leave threads spinning on cores of others.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from rnn.export.formats import Format
from rnn.export.questions import read_all, write_all
from rnn.export.reading import answers


def main(folder: Path, format: Format) -> None:  # noqa: A002
    """Read the questions, evaluate them, and write the answers."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    found = answers((folder / "content").read_bytes(), format, read_all(folder / "questions.npz"))
    foreign = {"torch", "onnxruntime"} & sys.modules.keys()
    if foreign:
        raise RuntimeError(f"{', '.join(sorted(foreign))} in a process that is to be plain NumPy")
    write_all(folder / "answers.npz", found)


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), cast("Format", sys.argv[2]))
