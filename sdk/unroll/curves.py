"""Learning curves as arrays: a job's metrics by name, over steps and replicas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from unroll._names import unknown
from unroll.contract import Event, Metrics
from unroll.plots import curves_svg

if TYPE_CHECKING:
    import pandas as pd


class Curves(Mapping[str, NDArray[np.float64]]):
    """Metrics of a job: curves[name] is an array [steps, R], and row n was measured at step `curves.steps[n]`.

    NaN stands for a value that was not finite. If the server thinned the curves (`downsampled`), NaN also stands where
    a series has no point at that step: thinning keeps the end points and extremes of each series, which lie at
    different steps.
    """

    def __init__(self, *pages: Metrics) -> None:
        """Read the pages of one answer; there is at least one."""
        self.job = pages[-1].job
        self.last_step = pages[-1].last_step
        self.downsampled = any(page.downsampled for page in pages)
        every = [series for page in pages for series in page.series]
        self.steps: NDArray[np.int64] = np.unique(
            np.concatenate([np.zeros(0, np.int64), *(np.asarray(s.steps, np.int64) for s in every)])
        )
        replicas = 1 + max((series.replica for series in every), default=-1)
        self._values: dict[str, NDArray[np.float64]] = {}
        for series in every:
            if series.name not in self._values:
                self._values[series.name] = np.full((len(self.steps), replicas), np.nan)
            rows = np.searchsorted(self.steps, series.steps)
            self._values[series.name][rows, series.replica] = np.asarray(series.values, np.float64)  # None becomes NaN

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return one metric. Raises KeyError, which lists the metrics that there are."""
        try:
            return self._values[name]
        except KeyError:
            raise self._unknown(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        names = ", ".join(self._values) or "none yet"
        points = f"{len(self.steps)} points up to step {self.last_step}"
        return f"<curves of {self.job}: {names}; {points}, {self._replicas()}>"

    def _repr_html_(self) -> str:
        """Return the curves as inline SVG, one picture for each metric."""
        return curves_svg(self.job, self.steps, self._values)

    def _unknown(self, name: object) -> KeyError:
        otherwise = "this answer has none: either no step is done yet, or none of the names asked for exists"
        error = unknown(f"the metrics of {self.job}", name, self._values, otherwise=otherwise)
        if any(word in str(name).lower() for word in ("eval", "val", "held", "test")):
            told = f"Held-out losses are in the job's journal: client.job({self.job!r}).held_out_losses()"
            return type(error)(f"{error} {told}")
        return error

    def _replicas(self) -> str:
        replicas = next(iter(self._values.values())).shape[1] if self._values else 0
        return "1 replica" if replicas == 1 else f"{replicas} replicas"

    def to_numpy(self) -> dict[str, NDArray[np.float64] | NDArray[np.int64]]:
        """Return a plain dict: "steps" [steps] and each metric [steps, R]. It fits numpy.savez(**...)."""
        return {"steps": self.steps, **self._values}

    def to_pandas(self) -> pd.DataFrame:
        """Return a data frame with the index `step` and the columns (metric, replica). Needs unroll-sdk[pandas]."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError('data frames need pandas: pip install "unroll-sdk[pandas]"') from error
        replicas = range(next(iter(self._values.values())).shape[1] if self._values else 0)
        columns = pd.MultiIndex.from_product([list(self._values), replicas], names=["metric", "replica"])
        values = np.hstack(list(self._values.values())) if self._values else np.zeros((0, 0))
        return pd.DataFrame(values, index=pd.Index(self.steps, name="step"), columns=columns)


def held_out_losses(journal: Iterable[Event]) -> dict[int, NDArray[np.float64]]:
    """Return the held-out losses among a job's events: an array [R] by step, NaN where a loss was not finite.

    A takeover after a crash computes the steps after its checkpoint once more: the later losses stand.
    """
    found = ((event.data["step"], event.data["loss"]) for event in journal if event.type == "evaluation")
    return {step: np.array(losses, np.float64) for step, losses in found}


def lag_profiles(journal: Iterable[Event]) -> dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return the per-lag profiles among a job's events: (lags [K], norms of dL/dh [R, K]) by step.

    A takeover after a crash computes the steps after its checkpoint once more: the later profile stands.
    """
    return {
        event.data["step"]: (np.array(event.data["lag"], np.int64), np.array(event.data["norm"], np.float64))
        for event in journal
        if event.type == "lag_profile"
    }
