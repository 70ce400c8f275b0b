"""`make audit` says what is known, and never that all is well where nothing could be asked."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "audit.py"
spec = importlib.util.spec_from_file_location("audit", SCRIPT)
assert spec is not None
assert spec.loader is not None
audit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)

WELL = {"name": "anyio", "version": "4.16.0", "vulns": []}
ILL = {"name": "h11", "version": "0.9", "vulns": [{"id": "CVE-2025-1", "fix_versions": ["0.16"], "aliases": []}]}
UNKNOWN = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.13.0)"}


@pytest.mark.parametrize(
    ("packages", "code", "says"),
    [
        ([WELL, WELL], 0, ["2 packages, no known vulnerability"]),
        ([WELL, ILL], 1, ["h11 0.9: CVE-2025-1, fixed in 0.16"]),
        ([WELL, UNKNOWN], 3, ["could not be asked about 1 of 2", "torch"]),
        ([ILL, UNKNOWN], 1, ["CVE-2025-1", "could not be asked about 1 of 2"]),
    ],
)
def test_the_verdict_follows_the_report(packages: list[dict[str, Any]], code: int, says: list[str]) -> None:
    found, text = audit.verdict({"dependencies": packages, "fixes": []})
    assert found == code
    assert all(part in text for part in says)
