"""Finds the server and the key: arguments first, then environment, then the embedded server's data folder."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Settings:
    """A server and a key for it; None: no key was found."""

    url: str
    api_key: str | None = field(repr=False)


def data_dir() -> Path:
    """Return the folder in which `unroll-server up` writes its address (`url`) and key (`key`)."""
    if given := os.environ.get("UNROLL_DATA_DIR"):
        return Path(given)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "unroll"


def discover(url: str | None = None, api_key: str | None = None) -> Settings:
    """Return the given server and key, or UNROLL_URL and UNROLL_API_KEY, or the server that runs on this machine.

    The key in the data folder belongs to the server on this machine and is never sent to another one.
    Raises ValueError for an address that is not an http(s) URL.
    """
    folder = data_dir()
    local_url = _read(folder / "url")
    url = (url or os.environ.get("UNROLL_URL") or local_url or DEFAULT_URL).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"the server's address must be an http:// or https:// URL, not {url!r}")
    api_key = api_key or os.environ.get("UNROLL_API_KEY")
    if not api_key and (is_loopback(url) or (local_url is not None and url == local_url.rstrip("/"))):
        api_key = _read(folder / "key")
    return Settings(url, api_key or None)


def is_loopback(url: str) -> bool:
    """Return whether the address is this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
