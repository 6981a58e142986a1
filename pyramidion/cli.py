"""The command line. Heavy libraries are imported inside the commands that need them: `--help` is instant."""

import errno
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pyramidion.commands import audit, bench, golden, models, rescore, retention, runs, schedule, users
from pyramidion.commands.backup import backup, restore
from pyramidion.commands.capture import capture
from pyramidion.commands.deadline import deadline
from pyramidion.commands.demo import demo
from pyramidion.commands.doctor import doctor
from pyramidion.commands.evaluate import evaluate
from pyramidion.commands.export import export
from pyramidion.commands.lot import lot
from pyramidion.commands.presets import presets
from pyramidion.commands.processes import beat, migrate, serve, worker
from pyramidion.commands.results import results
from pyramidion.commands.retrain import retrain
from pyramidion.commands.review import review
from pyramidion.commands.settings import settings
from pyramidion.commands.show import show
from pyramidion.commands.status import status
from pyramidion.commands.train import train
from pyramidion.commands.trend import trend
from pyramidion.commands.up import up
from pyramidion.errors import FAILED, INTERRUPTED, StoppedError, known_errors, sentence
from pyramidion.output import err

# What the machine refuses, wherever it was asked: a full disk, a folder of somebody else.
_REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run the command; `pyramidion results --csv | head` may close the pipe, which is no failure."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what Python flushes at its end
            sys.exit(0)


app = typer.Typer(
    cls=_Commands,
    help="Visual inspection: cameras queue parts, workers score them with a pyramid autoencoder, "
    "every verdict is kept with its anomaly map.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
commands: tuple[Callable[..., None], ...] = (
    demo,
    up,
    train,
    retrain,
    presets,
    evaluate,
    capture,
    results,
    show,
    deadline,
    review,
    lot,
    trend,
    export,
    backup,
    restore,
    status,
    doctor,
    settings,
)
for command in commands:
    app.command()(command)
app.add_typer(models.app, name="models")
app.add_typer(runs.app, name="runs")
app.add_typer(schedule.app, name="schedule")
app.add_typer(golden.app, name="golden")
app.add_typer(rescore.app, name="rescore")
app.add_typer(audit.app, name="audit")
app.add_typer(users.app, name="users")
app.add_typer(retention.app, name="retention")
app.add_typer(bench.app, name="bench")
services: tuple[Callable[..., None], ...] = (worker, beat, serve, migrate)
for command in services:
    app.command(rich_help_panel="What services run")(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("pyramidion"))
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command; a user's mistake or a missing service ends with a sentence and exit code 1.

    Ctrl-C that no command heeds is Typer's: it exits with 130.
    """
    try:
        app()
    except known_errors() as error:
        err.print("[red]error:[/red] ", end="")
        err.print(sentence(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(FAILED)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        err.print(
            f"error: {error}; cure that, or set PYRAMIDION_HOME elsewhere", markup=False, soft_wrap=True
        )
        sys.exit(FAILED)
    except StoppedError:
        err.print("interrupted")
        sys.exit(INTERRUPTED)
