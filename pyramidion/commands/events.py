"""`pyramidion audit events`: who did what, and when."""

from datetime import datetime
from typing import Annotated, Any

import typer

from db.said import signed
from pyramidion.output import out, print_json_array

SHOWN = 20


def events(
    kind: Annotated[
        str | None, typer.Option(help="Only this kind, such as model.promoted, or all that begin so: user.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Only what was done to this: a product, user, lot.")
    ] = None,
    since: Annotated[datetime | None, typer.Option(help="Only at or after this time (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only before this time (UTC).")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"At most so many; people are shown {SHOWN}, JSON has all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array.")] = False,
) -> None:
    """List the trail of events, newest first: promotions, policies, accounts, refused signatures, backups."""
    from db.events import Asked, told
    from pyramidion.commands.filters import utc
    from pyramidion.commands.show import columns
    from pyramidion.context import open_context

    asked = Asked(kind, subject, utc(since), utc(until))
    with open_context().reading() as session:
        if as_json:
            print_json_array(columns(event) for event in told(session, asked, limit))
            return
        found = list(told(session, asked, (limit or SHOWN) + 1))
    if not found:
        out.print("no event matches")
    for event in found[: limit or SHOWN]:
        detail = dict(event.detail)
        signature = detail.pop("signature", None)
        _say_changes(detail)
        words = "".join(f", {name} {_plain(value)}" for name, value in detail.items() if value is not None)
        what = event.kind if event.subject is None else f"{event.kind} {event.subject}"
        out.print(
            f"{event.at:%Y-%m-%d %H:%M:%S} {what} by {event.actor}{words}{signed(signature)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if len(found) > (limit or SHOWN):
        out.print(f"only the newest {limit or SHOWN} are shown; --limit or --json gives more")


def _say_changes(detail: dict[str, Any]) -> None:
    """Leave of an account's states, which `audit verify` compares, what the event changed; no hashes."""
    after, before = detail.pop("state", None), detail.get("before")
    if isinstance(after, dict) and isinstance(before, dict):
        del detail["before"]  # so that it stands beside what came after
        changed = [name for name in after if after[name] != before.get(name) and name != "credential"]
        detail["before"] = {name: before.get(name) for name in changed}
        detail["after"] = {name: after[name] for name in changed}


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {_plain(one)}" for name, one in value.items()) + ")"
    return str(value)
