"""`unroll-server doctor`: check everything that the service needs, change nothing, and report what is wrong."""

from __future__ import annotations

import contextlib
import http.client
import json
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from api.cli.failures import hash_secret, known, load_settings, open_database
from api.next_steps import ASK_KERNEL
from store.settings import Settings
from unroll.contract import Worker

Verdict = Literal["ok", "note", "broken"]

LITTLE_SPACE = 1 << 30
NO_SPACE = 100 << 20
TORCH_SECONDS = 120.0

# In a process of its own, as everything with torch is: this command stays small, and a broken build cannot kill it.
ASK_TORCH = """
import json, torch
cuda = torch.cuda.is_available()
print(json.dumps({
    "build": torch.__version__, "instruction_set": torch.backends.cpu.get_cpu_capability(),
    "cuda": torch.cuda.get_device_name() if cuda else None,
}))
"""


@dataclass(frozen=True)
class Finding:
    """The result of one check. A note is useful to know but is not an error."""

    name: str
    verdict: Verdict
    detail: str


def run(*, as_json: bool) -> None:
    """Print the findings. Raises SystemExit(1) if something is broken."""
    settings = load_settings()
    findings = [look(name, settings) for name in CHECKS]
    healthy = all(finding.verdict != "broken" for finding in findings)
    if as_json:
        print(json.dumps({"healthy": healthy, "checks": [asdict(finding) for finding in findings]}, indent=2))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.verdict:<6}  {finding.name:<{width}}  {finding.detail}")
    if not healthy:
        sys.exit(1)


def look(name: str, settings: Settings) -> Finding:
    """Make one check. It never raises."""
    try:
        return Finding(name, *CHECKS[name](settings))
    except Exception as error:  # noqa: BLE001 - whatever a check stumbles over is its finding
        failure = known(error)
        return Finding(name, "broken", str(failure) if failure else f"{type(error).__name__}: {error}")


def _python(_: Settings) -> tuple[Verdict, str]:
    found = f"{platform.python_implementation()} {platform.python_version()}, {platform.platform()}"
    return ("ok" if sys.version_info >= (3, 11) else "broken"), found


def _unroll(_: Settings) -> tuple[Verdict, str]:
    try:
        return "ok", f"unroll-server {version('unroll-server')}, unroll-sdk {version('unroll-sdk')}"
    except PackageNotFoundError as error:
        return "note", f"{error.name} runs from its source folder; it is not installed"


def _torch(settings: Settings) -> tuple[Verdict, str]:
    answer = subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-P", "-c", ASK_TORCH], capture_output=True, text=True, timeout=TORCH_SECONDS, check=False
    )
    if answer.returncode != 0:
        return "broken", (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
    torch = json.loads(answer.stdout.splitlines()[-1])
    detail = f"{torch['build']}, {torch['instruction_set']}, CUDA: {torch['cuda'] or 'not available'}"
    if settings.device == "cuda" and torch["cuda"] is None:
        return "broken", f"UNROLL_DEVICE=cuda, but torch sees no CUDA device: {detail}"
    return "ok", detail


def _kernel(_: Settings) -> tuple[Verdict, str]:
    answer = subprocess.run(  # noqa: S603 - our own interpreter and text
        ASK_KERNEL, capture_output=True, text=True, timeout=TORCH_SECONDS, check=False
    )
    if answer.returncode != 0:
        return "broken", (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
    said = answer.stdout.strip()
    return ("ok" if said.startswith("native, ") else "note"), said


def _data_folder(settings: Settings) -> tuple[Verdict, str]:
    from store.folder import unusable

    folder = settings.data_dir
    if reason := unusable(folder):
        return "broken", reason
    if not folder.exists():
        return "note", f"{folder} does not exist yet; `unroll-server up` makes it"
    private = [path for path in (folder / "key", folder / "secret") if path.is_file() and _others(path)]
    if private:
        return "broken", f"other users can read {private[0]}; chmod 600 it, and revoke the key"
    if _others(folder):
        return "note", f"other users can look into {folder}; better: chmod 700 {folder}"
    return "ok", str(folder)


def _others(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _temporary_files(_: Settings) -> tuple[Verdict, str]:
    from store import sockets

    try:
        folder = sockets.folder()
    except sockets.NoFolderForSockets as error:
        return "broken", str(error)
    if folder != sockets.usual():
        return "note", f"{sockets.usual()} is too long for the path of a socket, so workers make theirs in {folder}"
    return "ok", folder


def _disk(settings: Settings) -> tuple[Verdict, str]:
    folder = settings.data_dir.absolute()
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.1f} GB free at {folder}"
    if free < NO_SPACE:
        return "broken", detail
    return ("note" if free < LITTLE_SPACE else "ok"), detail


def _no_database_yet(settings: Settings) -> bool:
    """Return whether there is no database file yet, because a check must not create it."""
    return settings.embedded and not Path(settings.database.removeprefix("sqlite:///")).exists()


def _database(settings: Settings) -> tuple[Verdict, str]:
    if _no_database_yet(settings):
        return "note", "SQLite, not made yet; `unroll-server up` or `migrate` makes it"
    db = open_database(settings)
    try:
        if (unwritable := db.writable()) is not None:
            return "broken", unwritable.detail
    finally:
        db.close()
    return "ok", f"{db.dialect} answers, takes writes, and its schema is this version's"


def _broker(settings: Settings) -> tuple[Verdict, str]:
    if not settings.broker.startswith("redis"):
        return "ok", "files in the data folder"
    import redis

    address = urlsplit(settings.broker)
    where = f"Redis at {address.hostname}:{address.port or 6379}"
    client = redis.Redis.from_url(settings.broker, socket_connect_timeout=3, socket_timeout=3)
    try:
        client.ping()
    except redis.RedisError as error:
        return "broken", f"{where}: {error}"
    finally:
        client.close()
    return "ok", f"{where} answers"


def _key(settings: Settings) -> tuple[Verdict, str]:
    secret = hash_secret(settings) if not settings.embedded or (settings.data_dir / "secret").exists() else b""
    path = settings.data_dir / "key"
    if not path.is_file() or _no_database_yet(settings):
        return "note", f"there is no {path}; `unroll-server up` makes one, `unroll-server key create` makes others"
    from store import keys
    from store.errors import KeyExpired, Unauthorized

    db = open_database(settings)
    try:
        identity = keys.authenticate(db, secret, path.read_text(encoding="utf-8").strip())
    except (Unauthorized, KeyExpired) as error:
        return "broken", f"{path}: {error.detail} The next `unroll-server up` makes a new one"
    finally:
        db.close()
    return "ok", f"{path} works: tenant {identity.tenant}, {', '.join(sorted(identity.scopes))}"


def _api(settings: Settings) -> tuple[Verdict, str]:
    path = settings.data_dir / "url"
    url = path.read_text(encoding="utf-8").strip() if path.is_file() else f"http://{settings.host}:{settings.port}"
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        status, said = response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        verdict: Verdict = "broken" if path.is_file() else "note"
        return verdict, f"nothing answers at {url} ({error}); `unroll-server up` or `api` starts it"
    finally:
        connection.close()
    if status == http.HTTPStatus.OK:
        return "ok", f"{url}/readyz answers {status}"
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return "broken", f"{url}/readyz answers {status}: {json.loads(said)['detail']}"
    return "broken", f"{url}/readyz answers {status}"


def _workers(settings: Settings) -> tuple[Verdict, str]:
    if _no_database_yet(settings):
        return "note", "none has started yet"
    alive = _alive(settings)
    if not alive:
        return "note", "none is alive; jobs wait until one starts"
    devices = ", ".join(sorted(f"{worker.host} ({worker.device})" for worker in alive))
    return "ok", f"{len(alive)} alive: {devices}"


def _alive(settings: Settings) -> list[Worker]:
    from store.fleet import HEARTBEATS, list_workers

    db = open_database(settings)
    try:
        return [worker for worker in list_workers(db, "", HEARTBEATS * settings.reconcile_seconds) if worker.alive]
    finally:
        db.close()


def _threads(settings: Settings) -> tuple[Verdict, str]:
    """Tell how many threads a trainer uses, as a worker with this command's cores would choose it."""
    from store import cores

    found = cores.allowed()
    if settings.threads:
        verdict: Verdict = "note" if settings.threads > found else "ok"
        return verdict, f"{settings.threads} a trainer (UNROLL_THREADS); {_of(found, 'core')} may be used here"
    here = [] if _no_database_yet(settings) else [one for one in _alive(settings) if one.host == platform.node()[:255]]
    sharing = max(settings.workers, len(here))
    shared = f"{_of(found, 'core')} for {_of(sharing, 'worker')}"
    return "ok", f"at most {cores.share(sharing)} a trainer, fewer for a small network: {shared}"


def _of(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


CHECKS: dict[str, Callable[[Settings], tuple[Verdict, str]]] = {
    "python": _python,
    "unroll": _unroll,
    "torch": _torch,
    "kernel": _kernel,
    "data folder": _data_folder,
    "temporary files": _temporary_files,
    "disk": _disk,
    "database": _database,
    "broker": _broker,
    "key": _key,
    "api": _api,
    "workers": _workers,
    "threads": _threads,
}
