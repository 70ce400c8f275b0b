"""Who may judge leases, and when: only somebody who has watched without a gap."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from store.recovery import Watch

LEASE = 16.0


def test_a_reconciler_that_has_just_started_judges_at_once_and_goes_on() -> None:
    watch = Watch(LEASE)
    assert all(watch.look(1000.0 + 2 * n) for n in range(20))


def test_after_a_gap_of_more_than_half_a_lease_it_waits_a_whole_one() -> None:
    watch = Watch(LEASE)
    assert watch.look(1000.0)
    assert watch.look(1008.0)
    assert [watch.look(1016.5 + 4 * n) for n in range(6)] == [False, False, False, False, True, True]


def test_a_clock_that_is_set_back_is_a_gap_too_and_one_that_is_set_back_far_blocks_nothing() -> None:
    watch = Watch(LEASE)
    assert watch.look(1e9)
    assert [watch.look(1000.0 + 4 * n) for n in range(6)] == [False, False, False, False, True, True]


@given(st.lists(st.floats(0.001, 40.0), min_size=1, max_size=60))
def test_whoever_judges_has_watched_for_a_lease_without_a_gap_or_since_the_start(waits: list[float]) -> None:
    watch, now, since = Watch(LEASE), 1000.0, -1e9
    assert watch.look(now)
    for wait in waits:
        before, now = now, now + wait
        since = now if now - before > LEASE / 2 else since
        assert watch.look(now) == (now - since >= LEASE)
