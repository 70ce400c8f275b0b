"""The kinds of jobs. To add one, write its file beside `evaluate.py` and list it in `KINDS`.

The checks and costs of a kind use NumPy only, since the API calls them. A string names the function that runs its jobs,
and only the process that runs them imports it.
"""

from __future__ import annotations

from importlib import import_module

from rnn.kinds import evaluate, export, train
from rnn.kinds.kind import AnyKind, Run

KINDS: dict[str, AnyKind] = {kind.name: kind for kind in (train.KIND, evaluate.KIND, export.KIND)}


def runner(name: str) -> Run:
    """Import the function that runs jobs of this kind. The import may load torch."""
    module, _, function = KINDS[name].run.partition(":")
    run: Run = getattr(import_module(module), function)
    return run
