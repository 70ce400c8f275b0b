"""`python -m rnn.kernels` prints which native kernel runs here, or why there is none, what that costs and the cure."""

from __future__ import annotations

import sys

from rnn import kernels

if __name__ == "__main__":
    sys.stdout.write(f"{kernels.describe()}\n")
