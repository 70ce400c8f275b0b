"""What trainers are forked from has not so much as asked for a GPU: that alone starts CUDA, which dies in a fork."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import torch

def refuse(*_, **__):
    raise AssertionError("CUDA was asked for")

for name in ("is_available", "device_count", "current_device", "init", "_lazy_init"):
    setattr(torch.cuda, name, refuse)
torch._C._cuda_getDeviceCount = refuse
try:
    torch.zeros(1).pin_memory()
except Exception:
    print("a GPU would be noticed")
import worker.forkserver
print("none was asked for")
"""


def test_the_forkserver_loads_torch_and_trains_once_without_a_word_to_cuda():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.splitlines() == ["a GPU would be noticed", "none was asked for"], done.stderr
