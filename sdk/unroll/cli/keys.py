"""Commands on keys: `unroll me`, and `unroll keys list`, `create`, `limit` and `revoke`."""

from __future__ import annotations

from typing import Annotated, cast

import typer
from pydantic import ValidationError

from unroll.cli.output import Format, Output, say, show_fields, show_json, show_table
from unroll.cli.values import parameters
from unroll.client import Client
from unroll.contract import Key, Limits, Scope

KeyId = Annotated[str, typer.Argument(help="The key's id.", metavar="KEY")]
Given = Annotated[
    list[str] | None,
    typer.Argument(
        help=f"Limits to set: {', '.join(Limits.model_fields)}. The value `null` removes one.", metavar="NAME=VALUE..."
    ),
]

keys = typer.Typer(
    help="The tenant's keys, for a key with the scope admin.",
    epilog="Example: unroll keys limit KEY queued_jobs=50",
    no_args_is_help=True,
)


def me(context: typer.Context, output: Output = Format.TABLE) -> None:
    """Show your key, and the limits of the key and of its tenant beside what is used of them."""
    client: Client = context.obj
    found = client.me()
    if output is Format.JSON:
        show_json(found)
    else:
        show_fields(found.table())


@keys.command("list", epilog="Example: unroll keys list")
def list_(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the tenant's keys, without their secrets."""
    client: Client = context.obj
    found = list(client.keys.list())
    if output is Format.JSON:
        show_json(found)
        return
    header = ("key", "name", "scopes", "expires", "jobs at most", "limits")
    show_table(header, [(key.id, key.name, key.scopes, key.expires_at, *_limits(key)) for key in found])


@keys.command(epilog="Example: unroll keys create student --limit queued_jobs=20 --limit running_jobs=2")
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name by which people recognise the key.")],
    scopes: Annotated[str, typer.Option(help="Scopes, separated by commas.")] = "read,write,predict",
    max_active_jobs: Annotated[int | None, typer.Option(min=1, help="Quota of jobs that have not ended.")] = None,
    limit: Annotated[list[str] | None, typer.Option(help="A limit; repeatable.", metavar="NAME=VALUE")] = None,
    output: Output = Format.TABLE,
) -> None:
    """Create a key. Its secret is printed on standard output, and is shown only this once."""
    client: Client = context.obj
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    made = client.keys.create(
        name,
        scopes=cast("list[Scope]", wanted),  # the contract checks them
        max_active_jobs=max_active_jobs,
        limits=_read(limit, "--limit"),
    )
    if output is Format.JSON:
        show_json(made)
        return
    say(f"{made.id} of {made.tenant}, {', '.join(made.scopes)}. Keep the secret:")
    typer.echo(made.secret)


@keys.command(epilog="Example: unroll keys limit KEY queued_jobs=50 job_seconds=3600 streams=null")
def limit(context: typer.Context, key_id: KeyId, given: Given = None, output: Output = Format.TABLE) -> None:
    """Set limits of a key, or show them. A key with limits of its own cannot set any."""
    client: Client = context.obj
    found = client.keys.limit(key_id, _read(given, "NAME=VALUE")) if given else client.keys.get(key_id)
    if output is Format.JSON:
        show_json(found)
    else:
        show_fields({"key": found.id, "name": found.name, **found.limits.model_dump(exclude_none=True)})


@keys.command(epilog="Example: unroll keys revoke KEY")
def revoke(context: typer.Context, key_id: KeyId) -> None:
    """Revoke a key at once. Jobs that it submitted continue."""
    client: Client = context.obj
    client.keys.delete(key_id)
    say(f"{key_id} is revoked")


def _limits(key: Key) -> tuple[object, object]:
    return key.max_active_jobs, key.limits.model_dump(exclude_none=True) or None


def _read(given: list[str] | None, option: str) -> Limits:
    """Read limits. Raises typer.BadParameter for what is none."""
    try:
        return Limits.model_validate(parameters(given or [], option))
    except ValidationError as error:
        wrong = error.errors()[0]
        said = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']} (there are {', '.join(Limits.model_fields)})"
        raise typer.BadParameter(said, param_hint=option) from None
