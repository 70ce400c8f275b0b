"""Loaded once by multiprocessing's forkserver, before the first child: torch, the kinds of jobs, a tiny training run.

So a trainer child is a fresh process that makes its first step in milliseconds. Nothing here may touch CUDA, which does
not survive a fork, and the warm-up runs on one thread: after a warm-up with two, children hung.
"""

from __future__ import annotations

import gc
import os

# Before NumPy is loaded: its BLAS would take every core for what a checkpoint's certificate multiplies, and its threads
# go on spinning for a tenth of a second, on cores that are not this job's.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import torch

import rnn.kinds.runs.evaluate
import rnn.kinds.runs.train  # noqa: F401 - the same
from rnn.training.run import warm_up
from worker import lifeline

lifeline.die_with_parent()
torch.set_num_threads(1)
warm_up()
gc.collect()
gc.freeze()  # else every child's collector would visit, and so copy, the objects of the libraries that it shares
