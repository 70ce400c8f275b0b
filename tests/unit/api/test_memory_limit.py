"""A job that would not fit into memory is refused before any is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api import catalogue
from api.errors import Refused
from rnn.training import cost
from rnn.training.problem import Problem
from store.settings import Settings
from tests.unit.rnn.jobs import job
from unroll.contract import HeldOut, TrainJob


def fits(config: TrainJob, most: int | None, *, named: bool = False) -> None:
    catalogue.require_fits(config, {}, catalogue.check(config, {}, named=named), most, named=named)


@pytest.mark.parametrize(
    ("fields", "most", "named", "pointer"),
    [
        ({"batch_size": 50_000, "length": 50}, 20_000_000, False, "/training/batch_size"),
        ({"held_out": HeldOut(size=50_000), "length": 50}, 20_000_000, False, "/training/held_out/size"),
        ({"replicas": 500, "length": 500}, 20_000_000, True, "/replicas"),
        ({"hidden": 2000, "length": 2}, 10_000_000, False, "/model/cell/hidden_size"),
        ({"hidden": 2000, "length": 2}, 10_000_000, True, "/model"),
    ],
)
def test_a_job_that_does_not_fit_is_refused_with_both_numbers(
    fields: dict[str, Any], most: int, named: Any, pointer: str
):
    too_large = job(**fields)
    needed = cost.memory_bytes(Problem.of(too_large))
    assert needed > most
    with pytest.raises(Refused) as refusal:
        fits(too_large, most, named=named)
    (error,) = refusal.value.errors
    assert (error.pointer, error.code) == (pointer, "too_much_memory")
    assert f"{needed / 1e9:,.1f} GB" in error.detail
    assert f"{most / 1e9:,.1f} GB" in error.detail


def test_a_job_that_fits_is_not_refused():
    fits(job(), 10**9)
    fits(job(batch_size=5000, length=1000), None)


def test_an_embedded_server_allows_what_the_machine_has_and_others_what_they_are_told(tmp_path: Path):
    embedded = Settings(data_dir=tmp_path)
    assert embedded.job_bytes is not None
    assert embedded.job_bytes > 2**28
    production = {"data_dir": tmp_path, "database_url": "postgresql://nobody@localhost/none"}
    assert Settings.model_validate(production).job_bytes is None
    assert Settings.model_validate(production | {"max_job_bytes": 5}).job_bytes == 5
