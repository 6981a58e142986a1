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

    from db.evidence import hand_out
    from db.evidence.collect import Subject
    from db.ledger.settings import LedgerSettings
    from pyramidion.commands.show import find_one
    from pyramidion.context import open_context
    from pyramidion.drafts import whole
    from web.audit.drawing import as_jpeg

    given = [(what, value) for what, value in (("lot", lot), ("serial", serial)) if value is not None]
    if len(given) + (inspection is not None) != 1:
        raise UserError("name what the evidence is about: one of --lot, --serial and --inspection")
    if not output.absolute().parent.is_dir():
        raise UserError(f"there is no folder {output.absolute().parent} to write {output.name} in")
    if output.exists():
        raise UserError(f"{output} is there already: name another file with -o, or remove it")
    context = open_context()
    if inspection is not None:
        with context.reading() as session:
            given = [("inspection", str(find_one(session, inspection)))]
    subject = Subject(*given[0])
    with err.status("gathering evidence"):
        try:
            with whole(output) as draft, draft.open("xb") as file:
                stated = hand_out.make(
                    context.engine, context.store, LedgerSettings(), subject, file, as_jpeg
                )
        except OSError as error:
            raise UserError(
                f"cannot write {output}: {error.strerror or error}; make room or name another place with -o. "
                "Nothing was left there"
            ) from None
        hand_out.note(context.sessions, getpass.getuser(), subject, stated)
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
