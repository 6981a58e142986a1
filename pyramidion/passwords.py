"""Asking for passwords: unseen on the terminal, or as lines of standard input; never as arguments."""

import getpass
import sys
from typing import Annotated

import typer

from pyramidion.errors import UserError

SignAs = Annotated[
    str | None,
    typer.Option(
        "--sign-as",
        metavar="USER",
        help="Sign it as this user, whose password is asked for, or read from standard input.",
    ),
]


def password_of(user: str | None) -> str | None:
    """Ask a user for the password, None for nobody's. Raises UserError where none is given."""
    return None if user is None else ask(f"Password of {user}: ")


def ask(prompt: str) -> str:
    """Ask for a password; where standard input is no terminal, its next line is one."""
    given = getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not given:
        raise UserError(
            f"no password was given ({prompt.rstrip(': ')}): type it, or give it as a line of standard input"
        )
    return given


def ask_new(user: str) -> str:
    """Ask for a new password, on a terminal twice. Raises UserError where the two differ."""
    new = ask(f"New password of {user}: ")
    if sys.stdin.isatty() and getpass.getpass("Once more: ") != new:
        raise UserError("the two passwords differ: nothing was changed")
    return new
