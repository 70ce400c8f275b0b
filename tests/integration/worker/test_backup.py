"""A backup that is made while a job runs, and what becomes of the job where it is restored."""

from __future__ import annotations

from pathlib import Path

from store import backup, checkpoints
from store.pruning import Pruned, prune
from tests.servers.worker import TENANT, Fleet, job

STEPS = 40_000


def test_a_job_that_ran_at_the_backup_goes_on_from_its_checkpoint_and_ends_with_the_same_bits(
    worked: Fleet, tmp_path: Path
):
    job_id = worked.submit(job(STEPS))
    worked.until_step(job_id, 1000)
    assert prune(worked.db, 0.0) == Pruned(0, 0, 0, 0)
    at_backup = backup.write(worked.db, worked.settings, tmp_path / "file").rows
    worked.assert_ended_as_if_nothing_had_happened(job_id, STEPS)
    assert at_backup["events"] < len(worked.events(job_id))  # it ran, and went on

    backup.restore(worked.db, tmp_path / "file", replace=True)  # under a worker that has nothing to do
    worked.assert_ended_as_if_nothing_had_happened(job_id, STEPS)
    told = [(event.type, event.data) for event in worked.events(job_id) if event.type in {"queued", "started"}]
    assert [kind for kind, _ in told] == ["queued", "started", "queued", "started"]
    assert told[2][1] == {"reason": "restored"}
    assert told[3][1]["step"] >= 800  # a checkpoint's step, not the beginning
    assert worked.get(job_id).crashes == 0
    assert checkpoints.list_of_job(worked.db, TENANT, job_id).data[0].step == STEPS
