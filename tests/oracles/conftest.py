"""One thread: on a busy machine torch's threads wait for each other a hundred times longer than small networks take."""

from __future__ import annotations

import pytest
import torch

from rnn import kernels
from rnn.kernels.build import compiler

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _the_kernel_is_there_where_it_is_asked_for(request: pytest.FixtureRequest):
    """A machine without a C++ compiler has no kernel to test; one with a compiler has to have built it."""
    call = getattr(request.node, "callspec", None)
    native = call is not None and (call.params.get("engine") == "native" or "instruction_set" in call.params)
    if (native or request.module.__name__.endswith("test_native")) and not kernels.available():
        if compiler() is None:
            pytest.skip("there is no C++ compiler, so no native kernel")
        pytest.fail("the native kernel is not built: python rnn/kernels/build.py")
