"""The operations of the API: one file for each noun, one method for each operation.

Answers have the contract's types.
"""

from unroll.resources.checkpoints import Checkpoints
from unroll.resources.checks import Schemas
from unroll.resources.jobs import Jobs
from unroll.resources.keys import Keys
from unroll.resources.models import Models

__all__ = ["Checkpoints", "Jobs", "Keys", "Models", "Schemas"]
