"""Names that do not exist, told beside those that do."""

from __future__ import annotations

from collections.abc import Iterable

from unroll.contract.suggestions import did_you_mean


class UnknownName(KeyError):
    """A KeyError whose message is read as it was written: KeyError itself would show it in quotes."""

    def __str__(self) -> str:
        return str(self.args[0])


def unknown(what: str, name: object, known: Iterable[str], *, otherwise: str = "there is none yet") -> UnknownName:
    """Return the error for a name that does not exist: what is close to it, and all that there is.

    `what` is what has no such name, for example "the metrics of job_1"; `otherwise` is said where there is no name.
    """
    there = list(known)
    said = f"{name!r} is not among {what}"
    if not there:
        return UnknownName(f"{said}: {otherwise}")
    contained = [one for one in there if isinstance(name, str) and (one in name or name in one)]
    hint = did_you_mean(str(name), there) or (f" Did you mean {contained[0]}?" if contained else "")
    return UnknownName(f"{said}; there are {', '.join(there)}.{hint}")
