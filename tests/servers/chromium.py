"""A real browser that can reach nothing but this machine, and what its pages asked for."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NOWHERE = "http://127.0.0.1:9"
"""A proxy that does not exist: what is not for this machine fails, after the browser has noted that it was wanted."""


def find() -> str | None:
    """The browser's program: CHROMIUM if that is set, else whatever is installed."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@dataclass(frozen=True)
class Page:
    """What a page became."""

    dom: str
    """Its elements at the end, as HTML."""
    asked: list[str]
    """Every address that the page, not the browser itself, sent a request to, whether it was answered or not."""


@dataclass(frozen=True)
class Browser:
    """A headless Chromium, one process and one fresh profile a page."""

    program: str
    folder: Path

    def open(self, url: str, *, seconds: float = 15.0) -> Page:
        """Open a page and let it work for so long by its own clock, which does not wait where nothing happens."""
        log = self.folder / "net-log.json"
        dom = self._run(f"--log-net-log={log}", "--dump-dom", f"--virtual-time-budget={1000 * seconds:.0f}", url)
        written = json.loads(log.read_bytes())
        start = written["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
        found = [event["params"] for event in written["events"] if event["type"] == start and "params" in event]
        asked = [one["url"] for one in found if one.get("initiator", "not an origin") != "not an origin"]
        return Page(dom.decode(), asked)

    def screenshot(self, url: str, file: Path, *, seconds: float = 15.0, dark: bool = False) -> None:
        """The same, as PNG, for somebody who prefers light pages or dark ones."""
        size, scheme = "--window-size=1200,1600", f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        self._run(f"--screenshot={file}", size, scheme, f"--virtual-time-budget={1000 * seconds:.0f}", url)

    def _run(self, *arguments: str) -> bytes:
        profile = self.folder / "profile"
        shutil.rmtree(profile, ignore_errors=True)
        command = [
            self.program,
            "--headless",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",  # containers have 64 MB there
            f"--user-data-dir={profile}",
            f"--proxy-server={NOWHERE}",
            *(["--no-sandbox"] if os.getuid() == 0 else []),  # it refuses to run sandboxed as root
            *arguments,
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, cwd=self.folder
        )
        try:
            out, error = process.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        assert process.returncode == 0, error.decode()[-2000:]
        return out
