"""Thinned curves look like the full ones: end points and extremes stay."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given
from hypothesis.extra.numpy import arrays

from store.metrics import thin

CURVES = arrays(
    np.float64,
    st.integers(0, 400),
    elements=st.one_of(st.floats(-1e9, 1e9), st.sampled_from([np.nan, np.inf, -np.inf])),
)
FINITE = arrays(np.float64, st.integers(1, 400), elements=st.floats(-1e9, 1e9))


@given(CURVES, st.integers(1, 500))
def test_no_more_points_than_asked_for_in_order_and_none_twice(values: np.ndarray, max_points: int):
    kept = thin(values, max_points)
    assert len(kept) <= max(max_points, 4)
    assert (np.diff(kept) > 0).all()
    assert ((kept >= 0) & (kept < len(values))).all()


@given(CURVES, st.integers(1, 500))
def test_end_points_and_extremes_stay(values: np.ndarray, max_points: int):
    kept = thin(values, max_points)
    if len(values) == 0:
        assert len(kept) == 0
        return
    assert (kept[0], kept[-1]) == (0, len(values) - 1)
    finite = values[np.isfinite(values)]
    if len(finite):
        chosen = values[kept]
        chosen = chosen[np.isfinite(chosen)]
        assert chosen.max() == finite.max()
        assert chosen.min() == finite.min()


@given(FINITE, st.integers(4, 500))
def test_short_curves_stay_whole(values: np.ndarray, max_points: int):
    kept = thin(values, max_points)
    assert (len(kept) == len(values)) >= (len(values) <= max_points)


def test_a_spike_of_one_step_among_a_million_is_seen():
    values = np.zeros(1_000_000)
    values[654_321] = 1.0
    assert 654_321 in thin(values, 100)


def test_a_long_stretch_without_a_finite_value_stays_visible_as_a_gap():
    values = np.ones(10_000)
    values[3_000:7_000] = np.nan
    kept = thin(values, 100)
    assert np.isnan(values[kept]).sum() >= 10


def test_points_are_spread_over_the_whole_curve():
    kept = thin(np.sin(np.arange(100_000) / 7.0), 1000)
    assert len(kept) > 900
    assert np.diff(kept).max() < 400
