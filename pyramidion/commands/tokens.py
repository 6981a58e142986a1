"""`pyramidion tokens`: what stations and other machines show the page and its API instead of a password."""

import getpass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pyramidion.output import err, out, print_json

app = typer.Typer(
    help="Make, list and revoke the tokens of stations and other machines.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="The token's name; events say `token NAME` did it.")]
Why = Annotated[str, typer.Option(help="Reason, kept in the audit trail.", prompt="Reason")]


@app.command()
def make(
    name: Name,
    scope: Annotated[
        list[str],
        typer.Option("--scope", metavar="SCOPE", help="read, upload or metrics; repeat it for several."),
    ],
    station: Annotated[
        str | None, typer.Option(help="The only station that it may hand images in for; else any.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Days after which it expires; else never.")
    ] = None,
) -> None:
    """Make a token, and print its text on standard output: it is shown once, nobody can show it again."""
    from db import tokens
    from pyramidion.context import open_context

    until = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with open_context().sessions.begin() as session:
        token, text = tokens.make(session, name, scope, getpass.getuser(), station=station, expires_at=until)
    what = " and ".join(token.scopes) + (f" for station {token.station}" if token.station else "")
    ends = "" if until is None else f", until {until:%Y-%m-%d %H:%M} UTC"
    err.print(
        f"token {token.name}: {what}{ends}. Keep it now, as a secret of the machine: it is not shown again",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    typer.echo(text)


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List tokens, newest first, with when each was last used; their texts are kept nowhere."""
    from db import tokens
    from pyramidion.context import open_context

    with open_context().reading() as session:
        found = tokens.everything(session)
    now = datetime.now(UTC)
    if as_json:
        shown = ("id", "name", "scopes", "station", "created_by", "created_at", "expires_at")
        print_json(
            [
                {
                    **{key: getattr(token, key) for key in (*shown, "used_at", "revoked_at", "revoked_by")},
                    "state": tokens.state(token, now),
                }
                for token in found
            ]
        )
        return
    if not found:
        out.print("no token yet; `pyramidion tokens make NAME --scope SCOPE` makes one")
        return
    columns = ("token", "scopes", "station", "made (UTC)", "by", "expires (UTC)", "last used (UTC)", "state")
    table = Table(*columns, box=None)
    for token in found:
        table.add_row(
            escape(token.name),
            ", ".join(token.scopes),
            "any" if token.station is None else escape(token.station),
            f"{token.created_at:%Y-%m-%d %H:%M}",
            escape(token.created_by),
            "never" if token.expires_at is None else f"{token.expires_at:%Y-%m-%d %H:%M}",
            "never" if token.used_at is None else f"{token.used_at:%Y-%m-%d %H:%M}",
            tokens.state(token, now),
        )
    out.print(table)


@app.command()
def revoke(name: Name, why: Why) -> None:
    """Let a token open nothing any more, from its next request on."""
    from db import tokens
    from pyramidion.context import open_context

    with open_context().sessions.begin() as session:
        tokens.revoke(session, name, getpass.getuser(), why)
    out.print(f"token {name} is revoked", markup=False, highlight=False)
