"""Ends a process whose parent is gone, on systems where the kernel does not do so (Linux does: PR_SET_PDEATHSIG)."""

from __future__ import annotations

import os
import signal
import threading
import time

LOOK_SECONDS = 0.5


def follow(parent: int) -> None:
    """Send this process SIGTERM as soon as `parent` is no longer its parent. Returns at once; a thread looks."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look, name="follows its parent", daemon=True).start()
