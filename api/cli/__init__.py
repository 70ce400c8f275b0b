"""`unroll-server`: run the service, manage its database and keys, and find out what is wrong with a machine.

Everything is configured by environment variables (store/settings.py); the few options here set the same variables for
one command. Commands import what they need when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from api.cli.failures import WRONG_SETTINGS, Failure, known

Output = Literal["table", "json"]

app = typer.Typer(
    name="unroll-server",
    help="Train recurrent networks by backpropagation through time, and serve them, over HTTP.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
key_commands = typer.Typer(help="API keys of this server's database.", no_args_is_help=True)
app.add_typer(key_commands, name="key")
tenant_commands = typer.Typer(help="Weights and limits of tenants.", no_args_is_help=True)
app.add_typer(tenant_commands, name="tenant")

Host = Annotated[str | None, typer.Option(help="Address to listen on [UNROLL_HOST].", show_default=False)]
Port = Annotated[int | None, typer.Option(help="Port; 0 chooses a free one [UNROLL_PORT].", show_default=False)]
Processes = Annotated[
    int | None, typer.Option(help="API processes behind the address [UNROLL_API_PROCESSES].", show_default=False)
]
Given = Annotated[
    list[str] | None, typer.Argument(help="Limits to set; the value `null` removes one.", metavar="NAME=VALUE...")
]
Tenant = Annotated[str, typer.Option(help="Tenant of the keys. Tenants never see each other's models and jobs.")]


def main() -> None:
    """The console script. An expected failure is printed as one line on stderr, without a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path is shown in any encoding, if not in its own letters
    try:
        _refuse_windows()
        app()
    except Exception as error:
        failure = known(error)
        if failure is None:
            raise
        for line in str(failure).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(failure.exit_code)


def _refuse_windows() -> None:
    if sys.platform == "win32":  # processes there have no signals, no groups and no inherited sockets
        message = "unroll-server runs on Linux and macOS; on Windows run it in WSL (`wsl --install`)"
        raise Failure(message, WRONG_SETTINGS)


def _configure(**values: object) -> None:
    """Write options to the environment of this command and of the processes that it starts."""
    os.environ.update({f"UNROLL_{name.upper()}": str(value) for name, value in values.items() if value is not None})


@app.command()
def up(
    host: Host = None,
    port: Port = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes [UNROLL_WORKERS].", show_default=False)] = None,
    processes: Processes = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of database, queue and key [UNROLL_DATA_DIR].", show_default=False)
    ] = None,
    *,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="Stop when the process that started this one ends.")
    ] = False,
) -> None:
    """Run everything on this machine: migrate, make a key, start the API and workers, and keep them running."""
    from api.cli.up import run

    _configure(host=host, port=port, workers=workers, api_processes=processes, data_dir=data_dir)
    run(with_parent=with_parent)


@app.command()
def api(
    host: Host = None,
    port: Port = None,
    processes: Processes = None,
    *,
    together: Annotated[bool, typer.Option("--together", hidden=True, help="Be one of several behind it.")] = False,
    listener: Annotated[int | None, typer.Option(hidden=True, help="An inherited listening socket.")] = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="Stop when this process, the parent, ends.")] = None,
) -> None:
    """Run the API, in one process or in several behind one address. Several machines may share a database."""
    from api.cli import serve, several
    from api.cli.failures import load_settings

    _configure(host=host, port=port, api_processes=processes)
    settings = load_settings()
    if settings.api_processes > 1 and not together and listener is None:
        several.run(settings, parent)
    else:
        serve.run(settings, listener, parent, together=together)


@app.command()
def worker(
    device: Annotated[str | None, typer.Option(help="cpu or cuda [UNROLL_DEVICE].", show_default=False)] = None,
) -> None:
    """Run one worker, which trains one job at a time. Start one worker for each slot or device."""
    from api.cli.failures import load_settings
    from api.cli.processes import python

    _configure(device=device)
    load_settings()  # a wrong variable is better told here, before Celery starts
    command = python("worker")
    # a fresh image: the worker's memory holds nothing of this command's
    os.execv(command[0], command)  # noqa: S606 - our own interpreter and module


@app.command()
def migrate() -> None:
    """Bring the database's schema to this version. It is safe to run twice, or at once on several machines."""
    from api.cli.failures import load_settings, open_database, require_data_folder
    from store.schema import migrate as upgrade

    settings = load_settings()
    require_data_folder(settings)
    open_database(settings, checked=False).close()  # tells a wrong URL from a failed migration
    upgrade(settings)
    print("The database's schema is up to date.")


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")]) -> None:
    """Write everything but logs to one file: models, jobs, metrics, checkpoints, artifacts, keys. Jobs may run."""
    from api.cli.backups import write

    write(file)


@app.command()
def restore(
    file: Annotated[
        Path, typer.Argument(help="A backup, made on SQLite or on PostgreSQL, by this version or an older one.")
    ],
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Delete what the database has now.")] = False,
) -> None:
    """Verify a backup and restore it, all or nothing, where no API and no worker runs. The database must be empty."""
    from api.cli.backups import restore as run

    run(file, replace=replace)


@app.command()
def prune(
    older_than: Annotated[str, typer.Option(help="Age since the end of a job: 12h, 30d, 8w.", show_default=False)],
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's jobs; otherwise all.")] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Make SQLite's file smaller too. Nobody can write meanwhile.")
    ] = False,
    output: Annotated[Output, typer.Option("-o", "--output")] = "table",
) -> None:
    """Delete old ended jobs that no model serves and no other job needs, and checkpoints beside the needed ones."""
    from api.cli.backups import prune as run

    run(older_than, tenant, dry_run=dry_run, shrink=shrink, as_json=output == "json")


@key_commands.command("create")
def key_create(
    name: Annotated[str, typer.Option(help="A name by which people recognise the key.")],
    tenant: Tenant = "default",
    scopes: Annotated[
        str, typer.Option(help="Scopes, separated by commas: read, write, predict, admin.")
    ] = "read,write,predict",
    expires_days: Annotated[float | None, typer.Option(min=0, help="Days until it expires; without it, never.")] = None,
    max_active_jobs: Annotated[int | None, typer.Option(min=1, help="Quota of jobs that have not ended.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="A limit, for example queued_jobs=20; repeatable.", metavar="NAME=VALUE")
    ] = None,
    output: Annotated[Output, typer.Option("-o", "--output")] = "table",
) -> None:
    """Create a key. Its secret is printed on standard output, and is shown only this once."""
    from api.cli.keys import create
    from api.cli.tenants import read_limits

    limits = read_limits(limit or [])
    create(tenant, name, scopes, expires_days, max_active_jobs, limits, as_json=output == "json")


@key_commands.command("list")
def key_list(tenant: Tenant = "default", output: Annotated[Output, typer.Option("-o", "--output")] = "table") -> None:
    """List a tenant's keys, without their secrets."""
    from api.cli.keys import show

    show(tenant, as_json=output == "json")


@key_commands.command("revoke")
def key_revoke(key: Annotated[str, typer.Argument(help="The key's id.")], tenant: Tenant = "default") -> None:
    """Revoke a key at once. Jobs that it submitted continue."""
    from api.cli.keys import revoke

    revoke(tenant, key)


@key_commands.command("limit")
def key_limit(
    key: Annotated[str, typer.Argument(help="The key's id.")],
    given: Given = None,
    tenant: Tenant = "default",
    max_active_jobs: Annotated[
        str | None, typer.Option(help="Quota of jobs that have not ended, or null.", show_default=False)
    ] = None,
) -> None:
    """Set limits of a key, and show them. For example: `unroll-server key limit KEY queued_jobs=20 streams=null`."""
    from api.cli.tenants import limit_key

    limit_key(tenant, key, given or [], max_active_jobs)


@tenant_commands.command("limit")
def tenant_limit(
    tenant: Annotated[str, typer.Argument(help="The tenant, which need not have a key yet.")],
    given: Given = None,
    weight: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Share of the workers, relative to other tenants.", show_default=False),
    ] = None,
) -> None:
    """Set a tenant's weight and limits, which hold for all its keys together, and show them."""
    from api.cli.tenants import limit_tenant

    limit_tenant(tenant, weight, given or [])


@tenant_commands.command("list")
def tenant_list(output: Annotated[Output, typer.Option("-o", "--output")] = "table") -> None:
    """List the tenants with a weight or limits of their own. Any other tenant has weight 1 and no limits."""
    from api.cli.tenants import show

    show(as_json=output == "json")


@app.command()
def doctor(output: Annotated[Output, typer.Option("-o", "--output")] = "table") -> None:
    """Check everything that the service needs. The exit code is 1 if something is broken."""
    from api.cli.doctor import run

    run(as_json=output == "json")
