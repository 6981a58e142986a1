"""`pyramidion audit replay`: whether the stored model still says of the stored image what it said."""

from typing import Annotated

import typer

from pyramidion.errors import FAILED, UserError
from pyramidion.output import err, out, print_json

_LISTED = 20


def replay(
    inspection: Annotated[
        str | None, typer.Argument(metavar="ID", help="An inspection's id, or the beginning of it.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Replay so many verdicts, drawn at random, and leave an event.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Score stored images again with the models that judged them; exit code 1 where something differs."""
    if (inspection is None) == (sample is None):
        raise UserError("name one inspection, or a number of them with --sample")
    import getpass

    from pyramidion.commands.show import find_one
    from pyramidion.context import open_context
    from workers.replay import replay as replay_ids
    from workers.replay import replay_sample
    from workers.runtime import runtime

    with err.status("replaying"):
        if inspection is not None:
            with open_context().reading() as session:
                id_ = find_one(session, inspection)
            found = list(replay_ids(runtime(), [id_]))
        else:
            open_context()
            found = replay_sample(runtime(), sample or 0, getpass.getuser())
    different = [one for one in found if not one.equal]
    if as_json:
        print_json(
            {
                "replayed": len(found),
                "equal": len(found) - len(different),
                "different": len(different),
                "verdicts": [{**vars(one), "differences": list(one.differences)} for one in found],
            }
        )
    else:
        for one in different[:_LISTED]:
            for why in one.differences:
                out.print(f"BAD {one.inspection_id}: {why}", style="red", markup=False, soft_wrap=True)
        if len(different) > _LISTED:
            out.print(f"... and {len(different) - _LISTED} more; --json lists them", style="red")
        out.print(f"{len(found)} verdicts replayed, {len(found) - len(different)} equal", highlight=False)
    if different:
        raise typer.Exit(FAILED)
