"""`pyramidion audit`: proving that the history is what it was."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyramidion.commands.events import events
from pyramidion.commands.evidence import export
from pyramidion.commands.filters import utc
from pyramidion.commands.replay import replay
from pyramidion.errors import FAILED, UserError
from pyramidion.output import err, out, print_json

if TYPE_CHECKING:
    from db.ledger.status import Status
    from db.ledger.verify import Report

_BLOBS = "200"

app = typer.Typer(
    help="Seal the history, verify it, hand out evidence, replay verdicts.", no_args_is_help=True
)

app.command()(export)
app.command()(replay)
app.command()(events)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def seal(as_json: AsJson = False) -> None:
    """Seal now what waits to be sealed, and tell the new block heads outside."""
    from db.ledger import anchors
    from db.ledger.seal import seal as seal_facts
    from db.ledger.settings import LedgerSettings
    from pyramidion.context import open_context

    context, settings = open_context(), LedgerSettings()
    sealed = seal_facts(context.engine, settings)
    failed = anchors.tell(context.sessions, settings)
    if as_json:
        print_json({"blocks": sealed.blocks, "facts": sealed.facts, "anchors_failed": failed})
        return
    out.print(f"sealed {sealed.facts} facts in {sealed.blocks} blocks", highlight=False)
    for place, why in failed.items():
        err.print(f"the heads can't be told to {place}: {why}", style="yellow", markup=False, highlight=False)


@app.command()
def verify(
    since: Annotated[datetime | None, typer.Option(help="Only facts sealed at or after this (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only facts sealed before this time (UTC).")] = None,
    blobs: Annotated[
        str, typer.Option(help="Images and maps whose bytes are hashed: all, or a random sample of so many.")
    ] = _BLOBS,
    heads: Annotated[
        list[Path] | None,
        typer.Option(help="File of block heads told outside, to compare with; beside that of the settings."),
    ] = None,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            help="Key that you trust, by 16 or more digits of its id; it must be one of the ledger's."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that everything is as it was sealed; exit code 1, and what is wrong first, where it is not.

    Leaves an event that says what was verified, what is wrong, and how long it took.
    """
    import getpass
    import time

    from sqlalchemy.exc import DBAPIError

    from db.engine import session_factory
    from db.ledger import verified
    from db.ledger.blobs import Blobs
    from db.ledger.settings import LedgerSettings
    from db.ledger.signers import open_signer
    from db.ledger.verify import Wanted
    from db.ledger.verify import verify as verify_ledger
    from pyramidion.context import open_context

    sample = _sample(blobs)
    trusted = [_key(one) for one in trust or ()]
    for file in heads or ():
        if not file.is_file():
            raise UserError(f"there is no file {file}: name one of block heads with --heads")
    context, settings = open_context(), LedgerSettings()
    wanted = Wanted(
        since=utc(since),
        until=utc(until),
        trusted=trusted,
        signer=open_signer(settings),
        heads=[settings.anchor_file(), *(heads or ())],
    )
    looking = Blobs(context.store, session_factory(context.engine, read_only=True), sample)
    began = time.monotonic()
    with err.status("verifying"):
        report = verify_ledger(context.engine, wanted, looking)
    try:
        with context.sessions.begin() as session:
            seconds = time.monotonic() - began
            verified.record(session, wanted, sample, report, seconds, getpass.getuser())
    except DBAPIError as error:  # an auditor who may only read verifies all the same
        err.print(f"no event was left that says so: {error.orig}", style="yellow", markup=False)
    if as_json:
        print_json(_as_dict(report))
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(FAILED)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show how far sealing has come, with which keys, and where the heads were told."""
    from db.ledger.status import look
    from pyramidion.context import open_context

    with open_context().reading() as session:
        found = look(session)
    if as_json:
        print_json(_status(found))
        return
    out.print(
        f"{found.blocks} blocks" + (f", the newest of {found.sealed_at}" if found.sealed_at else ""),
        highlight=False,
    )
    if found.head is not None:
        out.print(f"head {found.head}", highlight=False, soft_wrap=True)
    out.print(f"{found.waiting.facts} facts wait, for {found.waiting.lag_s:.0f} s", highlight=False)
    for key in found.keys:
        out.print(f"key {key.id}, introduced {key.introduced_at}", highlight=False, soft_wrap=True)
    for anchor in found.anchors:
        failing = "" if anchor.failing_since is None else f", failing since {anchor.failing_since}"
        out.print(f"{anchor.place}: told up to block {anchor.block}{failing}", markup=False, highlight=False)


@app.command()
def rotate(
    to: Annotated[
        Path | None, typer.Option(help="File of the new key, made unless it is there; else the key file.")
    ] = None,
    overlap_days: Annotated[
        float, typer.Option(min=0, max=366, help="For so long the present key may sign as well.")
    ] = 7,
    lost: Annotated[
        bool, typer.Option("--lost", help="The present key is lost: the new one signs for itself.")
    ] = False,
) -> None:
    """Seal with a new key from now on; blocks that the present one has signed stay valid."""
    from db.ledger.rotate import rotate as rotate_key
    from db.ledger.settings import LedgerSettings
    from pyramidion.context import open_context

    context = open_context()
    new, file = rotate_key(context.sessions, LedgerSettings(), to, timedelta(days=overlap_days), lost=lost)
    out.print(f"key {new.key_id} in {file} may sign from now on", highlight=False, soft_wrap=True)
    if lost:
        out.print(
            "verify reports it until it is told to trust it: --trust " + new.key_id[:16], soft_wrap=True
        )


def _sample(blobs: str) -> int | None:
    if blobs == "all":
        return None
    if not blobs.isdecimal():
        raise UserError(f"--blobs {blobs!r} is neither `all` nor a number, such as {_BLOBS}")
    return int(blobs)


def _key(text: str) -> str:
    key = text.lower().strip()
    if len(key) < 16 or not set(key) <= set("0123456789abcdef"):
        raise UserError(f"--trust {text!r}: give 16 or more hexadecimal digits of the key's id")
    return key


def _as_dict(report: "Report") -> dict[str, Any]:
    bad = [vars(one) for one in report.bad]
    return {
        "ok": report.ok,
        "facts": report.facts,
        "released": report.released,
        "blocks": report.blocks,
        "blobs": report.blobs,
        "unsealed": report.unsealed,
        "head": report.head,
        "keys": report.keys,
        "faults": report.faults,
        "first_bad": bad[0] if bad else None,
        "bad": bad,
    }


def _print(report: "Report") -> None:
    for one in report.bad:
        named = f"{one.kind} {one.id}" if one.kind else ""
        block = f"block {one.block}" if one.block else ""
        where = ", ".join(part for part in (block, named) if part)
        out.print(
            f"BAD {where}: {one.why}" if where else f"BAD {one.why}",
            style="red",
            markup=False,
            soft_wrap=True,
        )
    if report.faults > len(report.bad):
        out.print(f"... and {report.faults - len(report.bad)} more", style="red")
    out.print(
        f"{report.facts} facts in {report.blocks} blocks, {report.blobs} images, maps and weights: "
        + ("all as they were sealed" if report.ok else f"{report.faults} faults"),
        highlight=False,
        soft_wrap=True,
    )
    if report.released:
        out.print(f"{report.released} of them were let go by retention, as its acts say", highlight=False)
    if report.unsealed:
        out.print(f"{report.unsealed} facts wait for their block", highlight=False)
    if report.head is not None:
        out.print(f"head {report.head}", highlight=False, soft_wrap=True)
    for key in report.keys:
        out.print(f"signed with key {key}", highlight=False, soft_wrap=True)


def _status(found: "Status") -> dict[str, Any]:
    return {
        "blocks": found.blocks,
        "sealed_at": found.sealed_at,
        "head": found.head,
        "unsealed": found.waiting.facts,
        "lag_s": round(found.waiting.lag_s, 3),
        "late": found.late,
        "keys": [
            {
                "id": key.id,
                "public_key": key.public_key.hex(),
                "introduced_at": key.introduced_at,
                "overlap_until": key.overlap_until,
            }
            for key in found.keys
        ],
        "anchors": [
            {
                "place": one.place,
                "block": one.block,
                "failing_since": one.failing_since,
                "last_error": one.last_error,
            }
            for one in found.anchors
        ],
    }
