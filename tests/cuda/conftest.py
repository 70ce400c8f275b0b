"""Tests that need a GPU. Without one each is skipped with that reason, and tests/conftest.py says how many were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from rnn.bptt import cuda
from tests.cuda.gpu import GPU

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _a_gpu() -> Iterator[None]:
    """And the settings of `rnn.bptt.cuda`, which are this process's, as they were, for the tests of other folders."""
    if GPU == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device on this machine")
    before = torch.are_deterministic_algorithms_enabled()
    cuda.prepare()
    yield
    torch.use_deterministic_algorithms(before)
