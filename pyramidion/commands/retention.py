"""`pyramidion retention`: how long what is kept."""

import getpass
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pyramidion.output import err, out, print_json
from pyramidion.passwords import SignAs, password_of

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from db.retention.due import Act
    from db.retention.policy import Rule, Terms

_FOR_EVER = "for ever"

app = typer.Typer(
    help="Show and set how long images, maps and rows are kept; hold lots; let go what is due.",
    invoke_without_command=True,
)


class Verdict(StrEnum):
    OK = "ok"
    NG = "ng"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


Product = Annotated[str | None, typer.Option(help="For this product; else for all that have no rule.")]
OfVerdict = Annotated[
    Verdict | None, typer.Option("--verdict", help="For this verdict; else for all that have no rule.")
]
Lot = Annotated[str, typer.Argument(help="The lot.")]
Why = Annotated[str, typer.Option(help="Reason, kept in the audit trail.", prompt="Reason")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.callback()
def retention(context: typer.Context, as_json: AsJson = False) -> None:
    if context.invoked_subcommand is not None:
        return
    from db.retention import policy
    from pyramidion.context import open_context

    with open_context().reading() as session:
        rules, holds = policy.rules(session), list(policy.holds(session).values())
    if as_json:
        print_json({"rules": [_rule(rule) for rule in rules], "holds": [asdict(hold) for hold in holds]})
        return
    if rules:
        table = Table("product", "verdict", "images", "maps", "rows", "set (UTC)", "by", box=None)
        for rule in rules:
            days = [rule.terms.days(what) for what in ("images", "maps", "rows")]
            terms = [_FOR_EVER if one is None else f"{one} days" for one in days]
            when = f"{rule.at:%Y-%m-%d %H:%M}"
            table.add_row(rule.product or "any", rule.verdict or "any", *terms, when, rule.by)
        out.print(table)
    else:
        out.print("no rule: all is kept for ever; `pyramidion retention set` makes one")
    for hold in holds:
        out.print(
            f"lot {hold.lot} is held since {hold.at:%Y-%m-%d} by {hold.by}: {hold.why}",
            markup=False,
            highlight=False,
        )


@app.command("set")
def set_(
    why: Why,
    product: Product = None,
    verdict: OfVerdict = None,
    images_days: Annotated[int | None, typer.Option(help="Days for images; unset: as long as rows.")] = None,
    maps_days: Annotated[int | None, typer.Option(help="Days for maps; unset: as long as rows.")] = None,
    rows_days: Annotated[int | None, typer.Option(help="Days for rows; unset: for ever.")] = None,
    sign_as: SignAs = None,
) -> None:
    """Set the terms of a product and a verdict; the rule that names most of them counts."""
    from db.retention import policy

    _set(product, verdict, policy.Terms(images_days, maps_days, rows_days), why, sign_as)


@app.command()
def remove(why: Why, product: Product = None, verdict: OfVerdict = None, sign_as: SignAs = None) -> None:
    """Take a rule back; the next wider one counts then."""
    _set(product, verdict, None, why, sign_as)


def _set(
    product: str | None, verdict: Verdict | None, terms: "Terms | None", why: str, sign_as: str | None
) -> None:
    from db import signatures
    from db.retention import policy
    from pyramidion.context import open_context

    of = None if verdict is None else verdict.value
    context, password = open_context(), password_of(sign_as)
    with context.sessions.begin() as session:
        signature = signatures.approval(session, "policy", sign_as, password, f"approval: {why}")
        policy.set_rule(session, product, of, terms, _actor(signature), why, signature)
    done = "has no rule of its own" if terms is None else "is kept as said"
    out.print(f"product {product or 'any'}, verdict {of or 'any'} {done}; nothing is let go before its turn")


@app.command()
def hold(lot: Lot, why: Why) -> None:
    """Keep all of LOT, whatever its terms, until the hold is lifted."""
    from db.retention import by_hand, policy
    from pyramidion.context import open_context

    with open_context().sessions.begin() as session:
        policy.hold(session, lot, getpass.getuser(), why)
        there, went = by_hand.of_lot(session, lot)
    note = "" if there or went else "; no inspection has that lot yet: is it written so?"
    if went:
        note = f"; {went} of its inspections went before: `pyramidion lot {lot}`"
    out.print(f"lot {lot} is held{note}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def lift(lot: Lot, why: Why, sign_as: SignAs = None) -> None:
    """Lift the hold of LOT: its terms count again."""
    from db import signatures
    from db.retention import policy
    from pyramidion.context import open_context

    context, password = open_context(), password_of(sign_as)
    with context.sessions.begin() as session:
        signature = signatures.approval(session, "retention", sign_as, password, f"approval: {why}")
        policy.lift(session, lot, _actor(signature), why, signature)
    out.print(f"lot {lot} is no longer held", markup=False, highlight=False)


@app.command()
def apply(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is due.")] = False,
    sign_as: SignAs = None,
    as_json: AsJson = False,
) -> None:
    """Let go now what is due; a worker does it every day."""
    from db import signatures
    from db.retention import acts, by_hand
    from pyramidion.context import open_context

    context = open_context()
    if dry_run:
        with context.reading() as session:
            _report(acts.plan(session, datetime.now(UTC)), as_json, done=False)
        return
    password = password_of(sign_as)

    def sign(session: "Session") -> tuple[str, dict[str, Any] | None]:
        signature = signatures.approval(session, "retention", sign_as, password, "approval: let go")
        return _actor(signature), signature

    with err.status("letting go what is due"):
        archive = context.settings.retention_archive
        done = by_hand.apply(context.engine, context.store, sign, archive=archive)
    _report(done.acts, as_json, done=True)
    for what in done.left:
        err.print(f"due, and left for the next time: {what}", style="yellow", highlight=False, soft_wrap=True)


def _report(acts: "list[Act]", as_json: bool, *, done: bool) -> None:
    if as_json:
        print_json([asdict(act) for act in acts])
        return
    if not acts:
        out.print("nothing is due")
    for act in acts:
        month = "" if act.month is None else f" of {act.month:%Y-%m}, as a whole"
        of = "" if act.product is None else f" of {act.product}, {act.verdict}"
        out.print(
            f"{'let go' if done else 'due:'} the {act.what} of {act.inspections} inspections{of}{month}",
            markup=False,
            highlight=False,
        )


def _actor(signature: dict[str, Any] | None) -> str:
    return getpass.getuser() if signature is None else str(signature["user"])


def _rule(rule: "Rule") -> dict[str, Any]:
    return {
        "product": rule.product,
        "verdict": rule.verdict,
        **asdict(rule.terms),
        "event": rule.event,
        "at": rule.at,
        "by": rule.by,
    }
