"""Finds the server and the key: arguments first, then environment, then the embedded server's data folder."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from unroll._characters import KEY, character, require, stripped
from unroll._way import is_loopback

DEFAULT_URL = "http://127.0.0.1:8000"
START = "start it with `unroll-server up` (in a clone: `make up`)"

_OF_THE_API = re.compile(
    r"/(v1(/(checkpoints|checks|jobs|keys|me|models|queues|schema|tasks|workers)(/.*)?)?|docs|openapi\.json)/*$"
)
"""Ends of addresses that people copy from a browser or a command, and that are no part of the server's own address."""

_A_KEY = re.compile(r"unroll_[0-9a-f]{6,}")
"""How every key of the server begins, by which one is told from an address."""

_NO_ADDRESS = re.compile(r"[\s\x00-\x1f\x7f\"'`<>{}|\\^\u00ab\u00bb\u2018-\u201f\u2039\u203a\u200b-\u200f\u2060\ufeff]")
"""Characters that no address has, and that copying and quoting leave in one."""

_WITHOUT_SCHEME = re.compile(r"([\w-]+(?:\.[\w-]+)+|[\w-]+(?=:\d)|localhost|\[[0-9a-fA-F:]+\])(:\d+)?(/.*)?")


@dataclass(frozen=True)
class Settings:
    """A server and a key for it; None: no key was found."""

    url: str
    api_key: str | None = field(repr=False)
    unreachable: str = ""
    """What to do if the server does not answer: a part of a sentence."""
    unauthorised: str = ""
    """What to do if the server refuses the key, or asks for one: a sentence."""


def data_dir() -> Path:
    """Return the folder in which `unroll-server up` writes its address (`url`) and key (`key`)."""
    if given := os.environ.get("UNROLL_DATA_DIR"):
        return Path(given)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "unroll"


def discover(url: str | None = None, api_key: str | None = None) -> Settings:
    """Return the given server and key, or UNROLL_URL and UNROLL_API_KEY, or the server that runs on this machine.

    The key in the data folder belongs to the server that wrote its address beside it, and is never sent to another
    one: not to another port of this machine, and not to whatever listens where a server that was killed did.
    Raises ValueError for an address that is not an http(s) URL, for a key with characters that no key has, and for a
    data folder that cannot be read. No message shows a key, or a password in an address.
    """
    folder = data_dir()
    source = "the argument url" if url else "UNROLL_URL"
    given = url or os.environ.get("UNROLL_URL")
    needed = not given
    local = _local(folder, needed=needed)
    running = local is not None and not _left_behind(folder)
    if given:
        address = _address(given, source)
        if local is not None and _same(address, local):
            address = local  # localhost may be several addresses, and only this one is surely the server's
    else:
        address = local or DEFAULT_URL
    api_key = _key(api_key, "the argument api_key") or _key(os.environ.get("UNROLL_API_KEY"), "UNROLL_API_KEY")
    found = api_key is not None
    if not found and running and address == local:
        api_key = _key(_read(folder / "key"), f"the key in {folder / 'key'}")
    unreachable = _about_address(folder, source if given else None, local, address, running=running)
    unauthorised = _about_key(folder, local, address, given=found, sent=bool(api_key))
    return Settings(address, api_key, unreachable, unauthorised)


def _key(given: str | None, source: str) -> str | None:
    """Return a key without what copying leaves around it; None if there is none. Raises ValueError."""
    key = stripped(given or "")
    require(key, KEY, source, "a key has letters, digits and -._~+/= only; copy it again")
    return key or None


def _address(given: str, source: str) -> str:
    """Return a server's address without what belongs to the API. Raises ValueError for what is no address."""
    given = stripped(given)
    if _A_KEY.search(given):
        raise ValueError(f"{source} has a key in it, and is no address: a key belongs in UNROLL_API_KEY or api_key")
    if (wrong := _NO_ADDRESS.search(given)) is not None:
        where = f"as character {wrong.start() + 1} of {len(given)}"
        raise ValueError(f"{source} is no address: it has {character(wrong[0])} {where}{_shown(given)}")
    try:
        parts = urlsplit(given)
        parts.port  # noqa: B018 - it is read when it is asked for
        httpx2.URL(given)
    except (ValueError, httpx2.InvalidURL):
        raise ValueError(f"{source} is no address: its host or port cannot be read{_shown(given)}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        meant = _WITHOUT_SCHEME.fullmatch(given)
        scheme = "http" if meant and is_loopback(urlsplit(f"http://{meant[1]}").hostname or "") else "https"
        hint = f"; did you mean {scheme}://{re.split('[?#]', given)[0]}?" if meant else ""
        raise ValueError(f"{source} must be an http:// or https:// URL{_shown(given)}{hint}")
    if "@" in parts.netloc:
        cure = "leave it out, because Unroll knows keys alone (UNROLL_API_KEY)"
        raise ValueError(f"{source} has a user name or a password in it{_shown(given)}: {cure}")
    return f"{parts.scheme}://{parts.netloc}{_OF_THE_API.sub('', parts.path)}".rstrip("/")


def _shown(given: str) -> str:
    """Return the part of a message that shows an address: without a user's name and password, and without its query.

    What does not look like an address is not shown at all: it may be a key.
    """
    told = re.split(r"[?#]", re.sub(r"^(.*?//)?.*@", r"\1...@", given))[0]
    return f", in {told!r}" if "://" in told or _WITHOUT_SCHEME.fullmatch(told) else ""


def _same(address: str, local: str) -> bool:
    """Return whether an address is the local server's: the same, or localhost at its port for a loopback address."""
    one, other = urlsplit(address), urlsplit(local)
    named = one.hostname == "localhost" and is_loopback(other.hostname or "")
    hosts = one.hostname == other.hostname or named
    return hosts and (one.scheme, _port(address), one.path) == (other.scheme, _port(local), other.path)


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _local(folder: Path, *, needed: bool) -> str | None:
    """Return the address that a server left in its data folder, or None. Raises ValueError if it is `needed`."""
    try:
        written = _read(folder / "url")
        return None if written is None else _address(written, str(folder / "url"))
    except ValueError:
        if needed:
            raise
        return None


def _left_behind(folder: Path) -> bool:
    """Return whether the server that wrote into the folder has surely ended without clearing up."""
    return _process(folder) is False


def _process(folder: Path) -> bool | None:
    """Return whether the folder's server lives; None: it is not known."""
    try:
        number = int(_read(folder / "lock") or "")
    except ValueError:
        return None
    if os.name != "posix":  # elsewhere a signal 0 would end the process
        return None
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return None
    return True


def _about_address(folder: Path, source: str | None, local: str | None, address: str, *, running: bool) -> str:
    if source is None and local is None:
        if _process(folder) and not (folder / "url").exists():
            return f"the server of {folder} is still starting: try again in some seconds, with a new Client"
        no_folder = "" if folder.is_dir() else ", which is a file" if folder.exists() else ", which does not exist"
        return (
            f"no server runs with its data in {folder} (UNROLL_DATA_DIR){no_folder}; {START}, or name another one "
            "with UNROLL_URL and UNROLL_API_KEY"
        )
    if not running and address == local:
        return f"the server that wrote {folder / 'url'} has ended: {START}"
    if address == local:
        return f"its address is from {folder / 'url'}; if it has ended, {START}"
    if local is not None and running:
        return f"that address is from {source}, but the server of this machine is at {local}"
    if is_loopback(urlsplit(address).hostname or ""):
        return f"{START}, or mend {source}"
    return f"is the server up, and is {source} right?"


def _about_key(folder: Path, local: str | None, address: str, *, given: bool, sent: bool) -> str:
    if given:
        return "The key that was sent is from UNROLL_API_KEY or the argument api_key."
    if sent:
        return f"The key that was sent is from {folder / 'key'}: `unroll-server up` makes a new one when it starts."
    if local is not None and local != address:
        there = f"The key in {folder} is for {local} alone, and was not sent."
    elif (folder / "key").exists():
        there = f"The key in {folder} was not sent, because no running server has its address there."
    else:
        there = f"There is no key in {folder} (UNROLL_DATA_DIR)."
    return f"{there} Set UNROLL_API_KEY, or pass api_key."


def _read(path: Path) -> str | None:
    """Return the content of a small file, or None if there is none. Raises ValueError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ValueError(
            f"{path} cannot be read ({why}): set UNROLL_DATA_DIR to the data folder of your own server, or UNROLL_URL "
            "and UNROLL_API_KEY"
        ) from None
