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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a matrix's cases: those that its marker `product` says cover the rest, or with --product all of them."""
    for marker in metafunc.definition.iter_markers("product"):
        names, cases = marker.args
        if not metafunc.config.getoption("product"):
            cases = [case for case in cases if marker.kwargs["covers"](dict(zip(names, case, strict=True)))]
            assert cases, f"{metafunc.definition.nodeid} would be skipped: its covering set is empty"
        metafunc.parametrize(names, cases)
