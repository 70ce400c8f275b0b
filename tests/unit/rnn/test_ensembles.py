"""Replicas together: a centre, how far they differ, and nothing that they do not know."""

from __future__ import annotations

import numpy as np
import pytest

from rnn.serving.ensembles import reduced
from unroll.contract import Reduction

HOWS: list[Reduction] = ["mean", "quantiles"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("replicas", [2, 9, 40])
def test_every_step_has_the_bits_that_it_has_alone(how: Reduction, replicas: int):
    y = np.random.default_rng(0).standard_normal((replicas, 12, 3))
    whole = reduced(y, how)
    for t in range(12):
        alone = reduced(y[:, t : t + 1, :1], how)
        for name in ("centre", "lower", "upper"):
            assert getattr(whole, name)[t, 0] == getattr(alone, name)[0, 0]


@pytest.mark.parametrize("how", HOWS)
def test_the_answer_has_the_precision_of_the_outputs(how: Reduction):
    found = reduced(np.ones((3, 2, 1), np.float32), how)
    assert {one.dtype for one in (found.centre, found.lower, found.upper)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("how", HOWS)
def test_one_replica_has_no_interval(how: Reduction):
    found = reduced(np.ones((1, 2, 1)), how)
    np.testing.assert_array_equal(found.centre, np.ones((2, 1)))
    assert np.isnan(found.lower).all()
    assert np.isnan(found.upper).all()


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_where_a_replica_overflowed_nothing_is_said(how: Reduction, bad: float):
    y = np.ones((5, 3, 1))
    y[2, 1, 0] = bad
    found = reduced(y, how)
    for one in (found.centre, found.lower, found.upper):
        np.testing.assert_array_equal(one[:, 0], [1.0, np.nan, 1.0])
