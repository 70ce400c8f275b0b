"""One thread: on a busy machine torch's threads wait for each other a hundred times longer than small networks take."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
