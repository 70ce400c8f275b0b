"""Warns of environment variables that look like settings but are none, so that a typing error is not silent."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable

from store.settings import Settings

PREFIX = "UNROLL_"
OF_THE_SDK = ("URL", "API_KEY")
OF_THE_TESTS = ("FAILPOINT",)
"""worker/failpoints.py reads it."""


def unknown(names: Iterable[str]) -> list[str]:
    """Return one sentence for each of these variables that starts with UNROLL_ and that nothing reads.

    Upper and lower case are the same, as they are for the settings.
    """
    settings = [name.upper() for name in Settings.model_fields]
    sentences = []
    for name in sorted(names):
        word = name.upper().removeprefix(PREFIX)
        if word == name.upper() or word in {*settings, *OF_THE_SDK, *OF_THE_TESTS}:
            continue
        close = difflib.get_close_matches(word, [*settings, *OF_THE_SDK], n=1)
        hint = f"did you mean {PREFIX}{close[0]}?" if close else "docs/settings.md lists all settings."
        sentences.append(f"{name} is no setting of Unroll and is ignored; {hint}")
    return sentences


def warn_of_unknown() -> None:
    """Print a warning on stderr for each unknown variable.

    The variable is then removed from this process's environment, so that the processes which it starts do not warn
    again. Nothing reads it.
    """
    for sentence in unknown(os.environ):
        sys.stderr.write(f"warning: {sentence}\n")
        del os.environ[sentence.split(" ", 1)[0]]
