from __future__ import annotations

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource")

PROGRAM = """
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
from api.cli.serve import MOST_DESCRIPTORS, raise_descriptor_limit
raise_descriptor_limit()
soft, unchanged = resource.getrlimit(resource.RLIMIT_NOFILE)
assert unchanged == hard
print(soft == (MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has a further limit")
def test_the_api_may_have_as_many_streams_as_the_system_allows() -> None:
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert answer.stdout == "True\n"
