"""The shares of tenants that take turns, computed without a database."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from store.turns import Waiting, whose

WEIGHTS = st.lists(st.integers(1, 1000), min_size=1, max_size=8)


class Line:
    """Tenants that take turns at one device."""

    def __init__(self, weights: list[int]) -> None:
        self.weights = dict(enumerate(weights))
        self.starts: Mapping[str, float] = {}
        self.running: Counter[int] = Counter()
        self.now = 0.0

    def claim(self, waiting: set[int]) -> int:
        """The tenant whose turn it is, of those that have jobs waiting. A tenant's jobs arrived before the next's."""
        turn = whose(
            [Waiting(str(one), str(one), float(one), self.weights[one], self.running[one]) for one in waiting],
            self.now,
            self.starts,
        )
        taken = int(turn.job_id)
        self.starts, self.now = turn.starts, turn.now
        self.running[taken] += 1
        return taken


@given(weights=WEIGHTS, seed=st.integers(0, 2**32), workers=st.integers(1, 6))
def test_every_tenant_gets_its_share_to_within_one_job(weights: list[int], seed: int, workers: int):
    line, chance, total = Line(weights), random.Random(seed), sum(weights)
    taken: Counter[int] = Counter()
    at: list[int] = []
    for number in range(1, 150):
        taken[one := line.claim(set(line.weights))] += 1
        at.append(one)
        for name, weight in line.weights.items():
            share = Fraction(number * weight, total)
            # several workers whose jobs take different times: a tenant that holds its share of them lets others go on
            assert abs(taken[name] - share) <= 1 or workers > 1
        if len(at) >= workers:
            line.running[at.pop(chance.randrange(len(at)))] -= 1
    window = Counter[int]()
    if workers == 1:
        for _ in range(100):  # any later window too, at both of whose ends a tenant may be a job off
            window[line.claim(set(line.weights))] += 1
            line.running.clear()
        assert all(abs(window[name] - Fraction(100 * weight, total)) <= 2 for name, weight in line.weights.items())


@given(weights=WEIGHTS, seed=st.integers(0, 2**32))
def test_shares_hold_among_those_who_wait_while_others_come_and_go(weights: list[int], seed: int):
    line, chance = Line([1, 3, *weights]), random.Random(seed)
    taken: Counter[int] = Counter()
    for _ in range(300):
        here = {0, 1} | {name for name in line.weights if name > 1 and chance.random() < 0.5}
        taken[line.claim(here)] += 1
        line.running.clear()
    # 0 and 1 always waited: their shares are as their weights, to within a turn of each
    assert abs(Fraction(taken[0], 1) - Fraction(taken[1], 3)) <= 1 + Fraction(1, 3)


@given(weights=WEIGHTS, workers=st.integers(1, 6), seed=st.integers(0, 2**32))
def test_nobody_waits_for_ever(weights: list[int], workers: int, seed: int):
    line, chance, total = Line(weights), random.Random(seed), sum(weights)
    waited: Counter[int] = Counter()
    at: list[int] = []
    for _ in range(200):
        at.append(line.claim(set(line.weights)))
        for name, weight in line.weights.items():
            waited[name] = 0 if name in at else waited[name] + 1
            assert waited[name] <= (2 + workers) * (total / weight + 1)
        if len(at) >= workers:
            line.running[at.pop(chance.randrange(len(at)))] -= 1


def test_jobs_that_never_end_hold_no_more_workers_than_the_share_of_their_tenant():
    line = Line([1, 1])
    held = 0
    for _ in range(8):  # eight workers, and every job of the other tenant ends before the next claim
        one = line.claim({0, 1})
        held += one == 0
        line.running[1] = 0
    assert held <= 1
