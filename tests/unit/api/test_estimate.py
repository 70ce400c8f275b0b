"""What a dry run says beside its numbers."""

from __future__ import annotations

from api import catalogue
from unroll.contract import DryRun, Network, TaskData, Training, TrainJob, VanillaCell


def estimate(hidden: int, stall_seconds: float) -> DryRun:
    network = Network(cell=VanillaCell(hidden_size=hidden), input_size=1, output_size=1)
    data = TaskData(name="integrate_noise", parameters={"length": 1000})
    job = TrainJob(model=network, data=data, training=Training(steps=10, batch_size=900))
    return catalogue.estimate(job, catalogue.check(job, {}, named=False), stall_seconds)


def test_a_dry_run_warns_of_a_part_that_may_outlast_a_stall() -> None:
    (note,) = estimate(2048, 600.0).notes
    assert note == (
        "One part of the work may take about 3 min without a sign of life. So a trainer that hangs is ended only after "
        "33 min, not after the 10 min of UNROLL_STALL_SECONDS."
    )
    assert estimate(2048, 3600.0).notes == []
    assert estimate(16, 600.0).notes == []
