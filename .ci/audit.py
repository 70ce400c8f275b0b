"""Ask the advisory service whether any version in constraints.txt has a known vulnerability: `make audit`.

Exit code 0: none has. 1: some have, and are listed. 3: the service could not be asked about all of them, so nothing is
known. pip-audit itself ends with 0 where a package index does not know its packages.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

FOUND, NOT_ASKED = 1, 3
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


def main() -> int:
    """Run pip-audit, and say what it found."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip"]
    answer = subprocess.run(  # noqa: S603 - our own arguments
        [*command, "--format", "json", "--progress-spinner", "off"], capture_output=True, text=True, check=False
    )
    try:
        report = json.loads(answer.stdout)
    except ValueError:
        last = (answer.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        print(f"The advisory service could not be asked, so nothing was audited: {last}")
        return NOT_ASKED
    code, text = verdict(report)
    print(text)
    return code


def verdict(report: dict[str, Any]) -> tuple[int, str]:
    """Return the exit code and what to print for pip-audit's report."""
    packages = report["dependencies"]
    vulnerable = [
        f"{package['name']} {package['version']}: {one['id']}, fixed in {', '.join(one['fix_versions']) or 'none'}"
        for package in packages
        for one in package.get("vulns", [])
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    lines = [*vulnerable]
    if skipped:
        lines.append(
            f"The advisory service could not be asked about {len(skipped)} of {len(packages)} packages, so "
            f"nothing is known of them: {', '.join(skipped[:5])}{', ...' if len(skipped) > 5 else ''}"
        )
    if not lines:
        lines.append(f"{len(packages)} packages, no known vulnerability.")
    return FOUND if vulnerable else NOT_ASKED if skipped else 0, "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
