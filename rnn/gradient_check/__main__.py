"""Runs one check in its own process: it reads one line of JSON and writes one line of JSON.

    {…CheckRequest…}  →  {"check": {…Check…}}  or  {"refused": {"pointer", "code", "detail"}}

The process ends when its stdin closes, so it does not outlive the process that started it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress

# Before NumPy is loaded: the references multiply small matrices often, and after each product its BLAS would leave
# threads spinning on the cores of others.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import torch

from rnn.errors import ConfigurationError
from rnn.gradient_check.bounds import require_feasible
from rnn.gradient_check.compare import check
from unroll.contract import CheckRequest


def main() -> None:
    """Read a request, run the check, write the answer."""
    line = sys.stdin.readline()
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    with suppress(OSError):
        os.nice(5)  # whoever asked serves others meanwhile
    torch.set_num_threads(1)
    try:
        request = CheckRequest.model_validate_json(line)
        require_feasible(request)
        answer = {"check": check(request).model_dump(mode="json")}
    except ConfigurationError as error:
        answer = {"refused": {"pointer": error.pointer, "code": error.code, "detail": error.detail}}
    sys.stdout.write(json.dumps(answer, allow_nan=False) + "\n")
    sys.stdout.flush()


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
