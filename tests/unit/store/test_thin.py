"""Thinned curves look like the full ones: end points and extremes stay, however the points arrive."""

from __future__ import annotations

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from store.thinning import Thinning

ANY = st.one_of(st.floats(-1e9, 1e9), st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1.0]))
CURVES = arrays(np.float64, st.integers(0, 400), elements=ANY)
MAX_POINTS = st.integers(4, 500)


def thin(values: np.ndarray, max_points: int) -> np.ndarray:
    """Indices of the kept points of one curve that came in one piece."""
    thinning = Thinning(len(values), max_points)
    thinning.add(np.arange(len(values)), values[:, None])
    return thinning.columns()[0][0] if len(values) else np.zeros(0, int)


@given(CURVES, MAX_POINTS)
def test_no_more_points_than_asked_for_in_order_and_none_twice(values: np.ndarray, max_points: int):
    kept = thin(values, max_points)
    assert len(kept) <= max_points
    assert (np.diff(kept) > 0).all()
    assert ((kept >= 0) & (kept < len(values))).all()


@given(CURVES, MAX_POINTS)
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


@given(
    arrays(np.float64, st.tuples(st.integers(1, 200), st.integers(1, 3)), elements=ANY),
    st.integers(4, 60),
    st.sets(st.integers(1, 199)),
)
def test_how_the_points_were_cut_and_what_lies_beside_them_makes_no_difference(
    values: np.ndarray, max_points: int, cuts: set[int]
):
    steps = 10 * np.arange(len(values)) + 3
    thinning = Thinning(len(values), max_points)
    for piece in np.split(np.arange(len(values)), sorted(cut for cut in cuts if cut < len(values))):
        thinning.add(steps[piece], values[piece])
    for column, (found, kept) in enumerate(thinning.columns()):
        expected = thin(values[:, column], max_points)
        np.testing.assert_array_equal(found, steps[expected])
        np.testing.assert_array_equal(kept, values[expected, column])


@given(arrays(np.float64, st.integers(10, 300), elements=ANY), MAX_POINTS)
def test_each_stretch_keeps_its_own_least_and_greatest(values: np.ndarray, max_points: int):
    kept = set(thin(values, max_points).tolist())
    edges = np.linspace(1, len(values) - 1, (max_points - 2) // 2 + 1).astype(int)
    for start, stop in pairwise(edges):
        finite = [i for i in range(start, stop) if np.isfinite(values[i])]
        if finite:
            assert {min(finite, key=lambda i: values[i]), max(finite, key=lambda i: values[i])} <= kept
        elif stop > start:
            assert int(start) in kept


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


def test_where_points_were_withdrawn_meanwhile_the_last_that_came_is_the_end():
    thinning = Thinning(100, 10)
    thinning.add(np.arange(60), np.arange(60.0)[:, None])
    (steps, _) = thinning.columns()[0]
    assert steps[-1] == 59


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_curve_of_few_points_keeps_its_ends(count: int):
    assert set(thin(np.arange(float(count)), 4)) >= {0, count - 1}
