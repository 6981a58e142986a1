"""`pyramidion audit export`: evidence to hand out."""

from pathlib import Path
from typing import Annotated

import typer

from pyramidion.errors import UserError
from pyramidion.output import err, out, print_json


def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The zip file to write.")],
    lot: Annotated[str | None, typer.Option(help="All inspections of this lot.")] = None,
    serial: Annotated[str | None, typer.Option(help="All inspections of this serial.")] = None,
    inspection: Annotated[str | None, typer.Option(help="One, by its id or the beginning of it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Write evidence that can be verified without Pyramidion: images, maps, verdicts, reviews, proofs.

    What waits to be sealed is sealed before.
    """
    import getpass

    from sqlalchemy.orm import Session

    from db import events, partitions
    from db.ledger import keys
    from db.ledger.seal import seal, snapshot
    from db.ledger.settings import LedgerSettings
    from pyramidion.commands.show import find_one
    from pyramidion.context import open_context
    from pyramidion.evidence.archive import write
    from pyramidion.evidence.collect import Subject

    given = [(what, value) for what, value in (("lot", lot), ("serial", serial)) if value is not None]
    if len(given) + (inspection is not None) != 1:
        raise UserError("name what the evidence is about: one of --lot, --serial and --inspection")
    if not output.absolute().parent.is_dir():
        raise UserError(f"there is no folder {output.absolute().parent} to write {output.name} in")
    context, settings = open_context(), LedgerSettings()
    with err.status("gathering evidence"):
        seal(context.engine, settings)
        with context.sessions.begin() as session:
            signer = keys.signer_for(session, settings)
        with snapshot(context.engine) as connection, Session(connection) as session:
            partitions.keep(connection)
            if inspection is not None:
                given = [("inspection", str(find_one(session, inspection)))]
            stated = write(session, context.store, signer, Subject(*given[0]), output)
        detail = {"about": stated["about"], "completeness": stated["completeness"], "key": stated["key"]}
        with context.sessions.begin() as session:
            events.record(session, "evidence.exported", getpass.getuser(), given[0][1], detail)
    if as_json:
        print_json({key: value for key, value in stated.items() if key not in {"files", "inspections"}})
        return
    counts = ", ".join(
        f"{number} {name.replace('_', ' ')}" for name, number in stated["completeness"].items()
    )
    out.print(f"{output}: {counts}", markup=False, highlight=False, soft_wrap=True)
    for one in stated["let_go"]:
        what = f"{one['inspections']} {one['verdict']} of {one['product']}"
        said = f"{what} were let go by retention at {one['at']}, act {one['act']}, and are not in it"
        err.print(said, style="yellow", markup=False, highlight=False, soft_wrap=True)
    for one in stated["missing"]:
        err.print(f"missing: {one['file']}: {one['why']}", style="yellow", markup=False, highlight=False)
    if stated["unsealed"]:
        err.print(f"{stated['unsealed']} facts came too late to be sealed and are not in it", style="yellow")
    out.print(
        f"signed with key {stated['key']}; verify.py in it verifies it", highlight=False, soft_wrap=True
    )
