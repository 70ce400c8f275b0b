"""Loaded once by multiprocessing's forkserver, before the first child: torch, the kinds of jobs, a tiny training run.

So a trainer child is a fresh process that makes its first step in milliseconds. Nothing here may touch CUDA, which does
not survive a fork. The warm-up runs on one thread, because children hung after a warm-up with two.
"""

from __future__ import annotations

import gc
import os

# This comes before NumPy is loaded. Its BLAS would take every core for the products of a checkpoint's certificate, and
# its threads would spin for another tenth of a second on cores that do not belong to this job.
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
