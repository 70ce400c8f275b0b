"""Finds the name that somebody probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

_LEAST = 0.7
"""Least likeness, from 0 to 1, of two names of which one may be a slip for the other."""
_LONGEST = 100
"""Longer words are not compared: that takes long, and nobody misspells a field with so many letters."""
SYNONYMS: dict[str, tuple[str, ...]] = {
    "bs": ("batch_size",),
    "epochs": ("steps",),
    "eta": ("lr",),
    "gpu": ("cuda",),
    "gradient_clip": ("clip",),
    "hidden": ("hidden_size",),
    "hidden_dim": ("hidden_size",),
    "hidden_units": ("hidden_size",),
    "iterations": ("steps",),
    "layers": ("num_layers",),
    "learning_rate": ("lr",),
    "max_grad_norm": ("clip", "max_norm"),
    "nonlinearity": ("activation",),
    "rnn": ("vanilla",),
    "elman": ("vanilla",),
    "scheduler": ("schedule",),
    "seq_len": ("length",),
    "sequence_length": ("length",),
    "task": ("data", "name"),
    "units": ("hidden_size",),
}
"""Names that other programs use, and ours for the same thing."""


def nearest(given: str, known: Iterable[str]) -> str | None:
    """Return the known name that `given` probably stands for; None if no name is near."""
    names = list(known)
    if given in names or not 0 < len(given) <= _LONGEST:
        return None
    word = _plain(given)
    if same := [name for name in names if alike(name, given)]:
        return same[0]
    if meant := [name for name in SYNONYMS.get(given.lower(), ()) if name in names]:
        return meant[0]
    likeness = {name: SequenceMatcher(None, word, _plain(name)).ratio() for name in names if len(name) <= _LONGEST}
    # float16 is no slip for float32: another number is another thing
    likely = [name for name, how in likeness.items() if how >= _LEAST and _digits(name) == _digits(word)]
    return max(likely, key=likeness.__getitem__, default=None)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return " Did you mean …?" with the nearest known name, to be put behind a sentence; "" if no name is near."""
    meant = nearest(given, known)
    return "" if meant is None else f" Did you mean {meant}?"


def alike(one: str, other: str) -> bool:
    """Return whether two names differ at most in capitals, underscores, hyphens and the like."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    """Return the letters and digits of a name alone, in lower case."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _digits(name: str) -> str:
    return "".join(letter for letter in name if letter.isdecimal())
