"""Which networks of a checkpoint a job uses."""

from __future__ import annotations

from rnn.errors import ConfigurationError
from unroll.contract import Checkpoint
from unroll.contract.inference import Replica


def chosen_replicas(replica: Replica, checkpoint: Checkpoint) -> list[int]:
    """Return the indices of the requested replicas. Raises ConfigurationError at /replica."""
    if replica == "all":
        return list(range(checkpoint.replicas))
    if replica == "best":
        if checkpoint.best_replica is None and checkpoint.replicas > 1:
            detail = "this checkpoint was not evaluated, so none of its replicas is known to be the best; name one"
            raise ConfigurationError("/replica", "not_evaluated", detail)
        return [checkpoint.best_replica or 0]
    if replica >= checkpoint.replicas:
        detail = f"the checkpoint has replicas 0 to {checkpoint.replicas - 1}, there is no {replica}"
        raise ConfigurationError("/replica", "out_of_range", detail)
    return [replica]
