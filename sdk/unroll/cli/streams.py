"""Output that every encoding has room for: symbols become words or ASCII, and other letters their numbers."""

from __future__ import annotations

import codecs
import io
import sys
from itertools import chain

PLAIN = {
    "α": "alpha",
    "γ": "gamma",
    "ε": "eps",
    "θ": "theta",
    "κ": "kappa",
    "λ": "lambda",
    "π": "pi",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
    "φ": "phi",
    "Σ": "Sum",
    "Ω": "Omega",
    "∏": "Prod",
    "∂": "d",
    "√": "sqrt",
    "∘": "o",
    "·": "*",
    "×": "x",  # noqa: RUF001 - it is what is replaced
    "±": "+/-",
    "∓": "-/+",
    "°": " deg",
    "²": "^2",
    "³": "^3",
    "ᵀ": "^T",
    "‖": "||",
    "⌈": "ceil(",
    "⌉": ")",
    "⌊": "floor(",
    "⌋": ")",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "…": "...",
    "–": "-",  # noqa: RUF001 - it is what is replaced
    "—": "-",
    "─": "-",
    "━": "-",
    "░": ".",
    "▒": "o",
    "▓": "O",
    "█": "#",
    "│": "|",
    "┃": "|",
}
"""ASCII for the symbols of formulas, tables and plots that this package and its server write."""

_DRAWN = {chr(code): "+" for code in range(0x250C, 0x2580)}
_DRAWN |= {chr(code): "#" for code in range(0x2580, 0x25A0)}
_DRAWN |= {chr(code): "*" for code in chain(range(0x25A0, 0x2600), range(0x2801, 0x2900))}
_DRAWN["\u2800"] = " "
_ALL = {**_DRAWN, **PLAIN}
"""Boxes, blocks, and the dots of plots (Braille) too, each as wide as it was."""


def legible() -> None:
    """Let no letter end this program: an encoding gets ASCII for the symbols that it lacks, and numbers for letters.

    Without this, a name in another script, or a sigma in a formula, would be an exception on its way to stdout.
    """
    codecs.register_error("unroll.plain", _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="unroll.plain")


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if character in _ALL:
        return _ALL[character], error.start + 1
    one = UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason)
    return codecs.backslashreplace_errors(one)
