"""`pyramidion users`: accounts of the people who sign and use the page."""

import getpass
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pyramidion.output import out, print_json
from pyramidion.passwords import ask, ask_new

app = typer.Typer(
    help="Open, change and disable the accounts of who signs and uses the page.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="The user's name; it is never given to another person.")]
Roles = Annotated[
    list[str] | None,
    typer.Option(
        "--role",
        metavar="ROLE",
        help="What the page lets this person do: viewer, inspector, engineer, auditor or admin; repeat it "
        "for several. Without one the account only signs.",
    ),
]
Why = Annotated[str, typer.Option(help="Reason, kept in the audit trail.", prompt="Reason")]


@app.command()
def add(
    name: Name,
    full_name: Annotated[str, typer.Option(help="As it is printed in signatures.", prompt="Full name")],
    role: Roles = None,
) -> None:
    """Open an account. Its owner changes the password first, on the page or by `users password NAME`."""
    from db import roles, users
    from pyramidion.context import open_context

    context = open_context()
    wanted = roles.roles(role or [])  # a mistyped one is told before the password is asked for
    password = ask_new(name)
    with context.sessions.begin() as session:
        user = users.add(session, name, full_name, password, getpass.getuser(), wanted)
    what = f" as {' and '.join(wanted)}" if wanted else ""
    out.print(
        f"{user.name} ({user.full_name}) has an account{what}, and may sign after choosing a password: on "
        f"the page, or by pyramidion users password {user.name}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def password(
    name: Name,
    reset: Annotated[
        bool,
        typer.Option(
            "--reset", help="Without the present password: its owner then has to change it before signing."
        ),
    ] = False,
) -> None:
    """Change a password: the present one is asked for first."""
    from db import users
    from pyramidion.context import open_context

    context = open_context()
    present = "" if reset else ask(f"Present password of {name}: ")
    new = ask_new(name)
    with context.sessions.begin() as session:
        if reset:
            users.reset_password(session, name, new, getpass.getuser())
        else:
            users.change_password(session, name, present, new)
    out.print(f"the password of {name} is changed", markup=False, highlight=False)


@app.command("roles")
def roles_(name: Name, why: Why, role: Roles = None) -> None:
    """Give an account these roles on the page and no others; without any it only signs."""
    from db import users
    from pyramidion.context import open_context

    with open_context().sessions.begin() as session:
        users.set_roles(session, name, role or [], getpass.getuser(), why)
    out.print(
        f"{name} is {' and '.join(role)} now" if role else f"{name} only signs now",
        markup=False,
        highlight=False,
    )


@app.command()
def disable(name: Name, why: Why) -> None:
    """Let nobody sign by an account from now on; what was signed with it stays."""
    from db import users
    from pyramidion.context import open_context

    with open_context().sessions.begin() as session:
        users.disable(session, name, getpass.getuser(), why)
    out.print(f"{name} is disabled", markup=False, highlight=False)


@app.command()
def enable(name: Name, why: Why) -> None:
    """Let the same person sign by a disabled account again."""
    from db import users
    from pyramidion.context import open_context

    with open_context().sessions.begin() as session:
        users.enable(session, name, getpass.getuser(), why)
    out.print(f"{name} is enabled", markup=False, highlight=False)


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List accounts, with how old their passwords are and what is wrong with them."""
    from datetime import UTC, datetime

    from db import users
    from pyramidion.context import open_context

    with open_context().reading() as session:
        found = users.everyone(session)
    if as_json:
        shown = ("name", "full_name", "roles", "created_at", "password_changed_at", "failed_attempts")
        rows = [
            {key: getattr(user, key) for key in (*shown, "locked_until", "disabled_at")} for user in found
        ]
        print_json(rows)
        return
    if not found:
        out.print("no account yet; `pyramidion users add NAME` opens one")
        return
    table = Table("user", "full name", "roles", "since (UTC)", "password of", "state", box=None)
    for user in found:
        own = user.password_changed_at
        state = "may sign" if own is not None else "has to change the password"
        if user.locked_until is not None and user.locked_until > datetime.now(UTC):
            state = f"locked until {user.locked_until:%Y-%m-%d %H:%M} UTC"
        if user.disabled_at is not None:
            state = f"disabled {user.disabled_at:%Y-%m-%d}"
        if user.failed_attempts:
            state += f", {user.failed_attempts} wrong passwords"
        since = f"{user.created_at:%Y-%m-%d}"
        table.add_row(
            user.name,
            escape(user.full_name),
            ", ".join(user.roles),
            since,
            f"{own:%Y-%m-%d}" if own else "",
            state,
        )
    out.print(table)
