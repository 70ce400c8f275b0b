"""The embedded mode's broker: kombu's filesystem transport, made safe for several processes.

kombu's own transport writes a message under its final name, so that a reader may see half of it; it moves what it reads
through the machine's temporary folder; it raises if the folder was removed; and it checks for a shutdown only every two
seconds. Here a message appears and disappears by one rename within one folder, a removed folder is made again, and the
wait is short. If a reader dies with a message, the message is lost. This is allowed, because it only rang.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, filesystem

SCHEME = "spool"
SHUTDOWN_CHECK_SECONDS = 0.25


class Channel(filesystem.Channel):  # type: ignore[misc]
    """Stores each message in a file `<time>_<unique>.<queue>.msg` and reads the oldest first."""

    @property
    def _folder(self) -> Path:
        return Path(self.data_folder_in)

    def _put(self, queue: str, payload: dict[str, Any], **_: Any) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{time.time_ns():020d}_{uuid.uuid4().hex}.{queue}.msg"
        partial = self._folder / f"{name}.partial"
        partial.write_text(json.dumps(payload), encoding="utf-8")
        partial.rename(self._folder / name)

    def _get(self, queue: str) -> Any:
        for path in self._waiting(queue):
            taken = path.with_suffix(f".{uuid.uuid4().hex}.taken")
            try:
                path.rename(taken)
            except FileNotFoundError:
                continue  # another worker was faster
            content = taken.read_text(encoding="utf-8")
            taken.unlink()
            return json.loads(content)
        raise Empty

    def _size(self, queue: str) -> int:
        return len(self._waiting(queue))

    def _purge(self, queue: str) -> int:
        waiting = self._waiting(queue)
        for path in waiting:
            path.unlink(missing_ok=True)
        return len(waiting)

    def _queue_bind(self, *_: Any) -> None:
        """Do nothing, because a message names its queue. kombu's table of bindings is written in place and not safe."""

    def _waiting(self, queue: str) -> list[Path]:
        try:
            return sorted(self._folder.glob(f"*.{queue}.msg"))
        except FileNotFoundError:
            return []


class Transport(filesystem.Transport):  # type: ignore[misc]
    """The transport for `spool://`. Option `data_folder_in` names the folder, `polling_interval` the wait."""

    Channel = Channel
    connection_errors = (ConnectionError, OSError)

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Wait for a message, but only so long that a worker still notices a shutdown quickly."""
        super().drain_events(connection, min(timeout or SHUTDOWN_CHECK_SECONDS, SHUTDOWN_CHECK_SECONDS))


TRANSPORT_ALIASES[SCHEME] = f"{__name__}:Transport"
