"""The kinds of jobs. To add one, write its file beside `evaluate.py` and name it in `KINDS`.

What a kind accepts and costs is NumPy only, since the API asks it. What runs is named by a string, and only the process
that runs it imports it.
"""

from __future__ import annotations

from importlib import import_module

from rnn.kinds import evaluate, export, train
from rnn.kinds.kind import AnyKind, Run

KINDS: dict[str, AnyKind] = {kind.name: kind for kind in (train.KIND, evaluate.KIND, export.KIND)}


def runner(name: str) -> Run:
    """Import what runs jobs of this kind. It may load torch."""
    module, _, function = KINDS[name].run.partition(":")
    run: Run = getattr(import_module(module), function)
    return run
