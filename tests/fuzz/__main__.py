"""`python -m tests.fuzz` (`make fuzz`) asks a real server everything that its own document admits, and much that it
does not.

Runs follow one another with seeds of their own until there were enough cases or the time is over. A run that found
something prints it, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.running import Ran, fuzz, served


def main() -> int:
    """Run, and print a line for each run."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="number of cases after which no further run starts")
    parser.add_argument("--minutes", type=float, default=30, help="time after which no further run starts")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first run; the next one has the next seed")
    parser.add_argument("--examples", type=int, default=40, help="random cases of each operation in each run")
    parser.add_argument("--seconds", type=int, default=420, help="length of each run, which repeats until it is over")
    options = parser.parse_args()
    begin, runs = time.monotonic(), list[Ran]()
    while sum(ran.cases for ran in runs) < options.cases and time.monotonic() - begin < 60 * options.minutes:
        seed = options.seed + len(runs)
        with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as target:
            ran = fuzz(target, seed=seed, examples=options.examples, seconds=options.seconds)
        runs.append(ran)
        print(f"seed {seed}: {ran.cases:,} cases in {ran.seconds:.0f} s, {ran.findings} findings", flush=True)
        if ran.findings or not ran.cases:
            print(ran.output)
    findings = sum(ran.findings for ran in runs)
    print(f"{sum(ran.cases for ran in runs):,} cases in {len(runs)} runs, {findings} findings")
    return 1 if findings or not all(ran.cases for ran in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
