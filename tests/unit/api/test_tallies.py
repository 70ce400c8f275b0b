"""Requests in a minute, by a clock that the test moves."""

from __future__ import annotations

import pytest

from api.tallies import Tallies
from store.errors import QuotaExceeded
from store.keys import Identity
from unroll.contract import Limits


def who(key: str = "key", tenant: str = "lab", *, of_key: int | None = None, of_tenant: int | None = None) -> Identity:
    return Identity(
        key,
        tenant,
        frozenset(),
        Limits(requests_per_minute=of_key),
        Limits(requests_per_minute=of_tenant),
        limited=of_key is not None,
    )


def allowed(tallies: Tallies, identity: Identity, most: int = 1000) -> int:
    for number in range(most):
        try:
            tallies.request(identity)
        except QuotaExceeded:
            return number
    return most


def test_a_burst_up_to_the_limit_then_as_many_as_the_time_allows():
    now = [0.0]
    tallies, key = Tallies(lambda: now[0]), who(of_key=60)
    assert allowed(tallies, key) == 60
    with pytest.raises(QuotaExceeded) as refusal:
        tallies.request(key)
    assert (refusal.value.limit, refusal.value.seconds) == ("requests_per_minute", 1)
    now[0] += 5
    assert allowed(tallies, key) == 5
    now[0] += 3600  # what is not used in an hour is not saved
    assert allowed(tallies, key) == 60
    assert allowed(tallies, who()) == 1000


def test_the_keys_of_a_tenant_share_its_limit_and_a_refused_request_costs_nothing():
    now = [0.0]
    tallies = Tallies(lambda: now[0])
    assert allowed(tallies, who("a", of_tenant=10, of_key=4)) == 4
    assert allowed(tallies, who("b", of_tenant=10)) == 6
    assert tallies.used(who("b", of_tenant=10))[1]["requests_per_minute"] == 10
    now[0] += 30
    assert allowed(tallies, who("a", of_tenant=10, of_key=4)) == 2
    assert allowed(tallies, who("b", of_tenant=10)) == 3


def test_keys_that_are_silent_leave_the_memory():
    now = [0.0]
    tallies = Tallies(lambda: now[0])
    for i in range(100):
        now[0] += 10
        tallies.request(who(f"key {i}", of_key=10))
    assert len(tallies._buckets) <= 14  # those of the last two minutes
