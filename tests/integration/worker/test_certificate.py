"""A constrained network's checkpoints carry the proof that the constraints held, from the trainer to the database."""

from __future__ import annotations

from store import checkpoints
from tests.servers.worker import TENANT, Fleet, job
from unroll.contract import Connectivity, Network, VanillaCell


def test_a_checkpoint_carries_the_certificate_of_its_constraints(worked: Fleet) -> None:
    cell = VanillaCell(hidden_size=10)
    constrained = Network(
        cell=cell, input_size=1, output_size=1, connectivity=Connectivity(density=0.5, autapses=False)
    )
    config = job(20)
    job_id = worked.submit(config.model_copy(update={"model": constrained}))
    assert worked.until_ended(job_id).status == "succeeded"
    (last, *_) = checkpoints.list_of_job(worked.db, TENANT, job_id).data
    assert last.certificate is not None
    (layer,) = last.certificate.layers
    assert layer.violations == [0] * config.replicas
