"""`pyramidion retrain`: a new model from what the line itself has produced."""

import getpass
import time
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import typer

from pyramidion.errors import FAILED
from pyramidion.output import err, out, print_json

if TYPE_CHECKING:
    from db.tables import TrainingRun
    from pyramidion.context import Context

_LOOK_EVERY_S: Final = 1.0


def retrain(
    product: Annotated[str, typer.Argument(help="The product.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the run has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as one JSON document.")] = False,
) -> None:
    """Ask a training worker for a new model of PRODUCT, of its parts that passed for good.

    One that passes the gate (`pyramidion policy`) becomes challenger, and scores beside the champion; where
    the product has none, it judges.
    """
    from db import retraining, runs
    from pyramidion.commands.runs import as_dict
    from pyramidion.context import open_context
    from workers import queue

    context = open_context()
    with context.sessions.begin() as session:
        run = retraining.ask(session, product, getpass.getuser())
    try:
        queue.wake_trainer()
    except queue.BrokerUnavailableError as error:
        err.print(f"note: {error}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    ended = _await_end(context, run) if wait else None
    if as_json:
        with context.reading() as session:
            print_json(as_dict(runs.find(session, run)))
    elif ended is None:
        out.print(f"run {run} is requested; `pyramidion runs show {run}` tells how it goes", highlight=False)
    elif ended.state == "succeeded":
        _tell(context, ended)
    if ended is not None and ended.state != "succeeded":
        why = "" if ended.reason is None else f": {ended.reason}"
        err.print(f"run {run} is {ended.state}{why}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(FAILED)


def _tell(context: "Context", run: "TrainingRun") -> None:
    """Say of a run that succeeded what its model is by now, and why."""
    from db import models

    with context.reading() as session:
        champion, challenger = models.champion(session, run.product), models.challenger(session, run.product)
    version = run.model_version or ""
    if champion is not None and champion.id == version:
        stands = "it judges"
    elif challenger is not None and challenger.model_version == version:
        stands = "it is the challenger, and scores beside the champion"
    elif run.gate_passed is False:
        stands = "the gate refused it, and nothing else changes"
    else:
        stands = f"it does not judge: pyramidion models promote {run.product} {version[:12]}"
    for line in (f"trained {run.product}: model {version[:12]}; {stands}", *(run.gate_said or ())):
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _await_end(context: "Context", id_: UUID) -> "TrainingRun":
    from db import runs
    from pyramidion.commands.runs import progress

    with err.status(f"run {id_}; Ctrl-C leaves it to its trainer") as status:
        while True:
            with context.reading() as session:
                run = runs.find(session, id_)
            if run.state not in runs.OPEN:
                return run
            status.update(f"run {id_} is {run.state} {progress(run)}; Ctrl-C leaves it to its trainer")
            time.sleep(_LOOK_EVERY_S)
