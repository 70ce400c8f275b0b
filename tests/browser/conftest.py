from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.servers.chromium import Browser, find


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """A real browser. Where there is none the test is skipped, which tests/conftest.py says loudly; in CI it fails."""
    program = find()
    if program is None and os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail("no Chromium on this machine, and CI must have one: .ci/run installs it")
    if program is None:
        pytest.skip("no Chromium on this machine")
    return Browser(program, tmp_path)
