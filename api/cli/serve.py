"""Runs one API process under uvicorn; see several.py for more of them."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket

from api.cli.failures import WRONG_SETTINGS, Failure, hash_secret, open_database, require_data_folder
from store.settings import Settings

GRACE_SECONDS = 5
"""Seconds for active requests at SIGTERM. Event streams are cut, and clients reconnect with Last-Event-ID."""
BACKLOG = 2048
MOST_DESCRIPTORS = 65_536


def listen(host: str, port: int, *, else_free: bool = False, together: bool = False) -> socket.socket:
    """Return a listening socket. If the port is in use, raises Failure, or with `else_free` uses a free port.

    With `together`, other processes of this user may have the same address, and the socket does not listen yet.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE, proto=socket.IPPROTO_TCP
        )[0]
    except socket.gaierror as error:
        raise Failure(
            f"UNROLL_HOST: {host} is no address of this machine ({error.strerror})", WRONG_SETTINGS
        ) from error
    try:
        if together:
            return _bind_together(family, address[:2])
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and else_free:
            return socket.create_server((address[0], 0), family=family, backlog=BACKLOG)
        if error.errno == errno.EADDRINUSE:
            raise Failure(f"Port {port} of {host} is in use; choose another with --port or UNROLL_PORT") from error
        message = f"Cannot listen on {host}, port {port}: {(error.strerror or str(error)).lower()}"
        raise Failure(message, WRONG_SETTINGS) from error


def _bind_together(family: int, address: tuple[str, int] | tuple[int, bytes]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:  # as socket.create_server does
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def raise_descriptor_limit() -> None:
    """Allow this process as many open files as the system lets it have: every event stream is one.

    Many systems start processes with a limit of 1,024, which is meant for programs that use select().
    """
    try:
        import resource
    except ImportError:  # not every system has it
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS has a further limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(settings: Settings, inherited: int | None, parent: int | None = None, *, together: bool = False) -> None:
    """Serve until SIGTERM, on an inherited socket if its descriptor is given, otherwise on the settings' address.

    With `together` this is one of several processes behind that address (api/cli/several.py). If `parent` is given,
    serving also ends when that process, which started this one, does.
    """
    if parent is not None:
        from store.parent import follow

        follow(parent)
    raise_descriptor_limit()
    require_data_folder(settings, always=not settings.broker_url)
    hash_secret(settings)
    open_database(settings).close()  # a schema that is not ours is one clear line here, a traceback in the lifespan
    if inherited is not None:
        listener = socket.socket(fileno=inherited)
    else:
        listener = listen(settings.host, settings.port, together=together)

    import uvicorn

    from api import memory
    from api.app import create_app
    from api.short_way.protocol import config
    from store import logs

    logs.configure(settings.log_level, logs.API, logs.Background())
    app = create_app(settings)
    memory.return_freed_memory()
    server = uvicorn.Server(
        config(
            app,
            settings.body_seconds,
            # under a supervisor, which announces the address itself, only what goes wrong
            log_level="warning" if together or inherited is not None else settings.log_level,
            access_log=False,  # the app writes its own, with the request id
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            backlog=BACKLOG,
        )
    )
    # after its graceful shutdown uvicorn raises the signal once more for whoever listened before: nobody, so exit 0
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])
    if not server.started:
        raise Failure("The API could not start; the reason is above.")
